//! The rounds: every arm has its turn in each, and a ratio is taken within a round.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::arm::{Arm, Running};
use crate::load::{self, Done, Pace, Times};
use crate::median::{median, percentile};
use crate::sinks::Sinks;
use crate::table::{Table, number};
use crate::targets::Report;

/// Everything that runs, and what came out so far.
pub struct Bench {
    sinks: Sinks,
    running: Vec<Running>,
    rounds: u32,
    duration: Duration,
    report: Report,
    /// Pushes a second at saturation, one CDR each.
    capacity: BTreeMap<Arm, f64>,
}

type ByArm<T> = BTreeMap<Arm, Vec<T>>;

impl Bench {
    /// Ready for its parts.
    pub fn new(sinks: Sinks, running: Vec<Running>, rounds: u32, duration: Duration, envoy: String) -> Self {
        let report = Report::new(envoy, rounds, duration);
        Self { sinks, running, rounds, duration, report, capacity: BTreeMap::new() }
    }

    /// What is left when all parts are through; ends the arms.
    pub fn finish(self) -> (Sinks, Report) {
        (self.sinks, self.report)
    }

    /// One CDR a push.
    pub async fn single(&mut self) -> Result<()> {
        let saturated = self.saturate("one CDR a push, saturation", 1, &Arm::COMPARED).await?;
        for (arm, rounds) in &saturated {
            self.capacity.insert(*arm, median_of(rounds, Done::rate));
        }
        let half = self.at_share("one CDR a push, half load", 0.5, Duration::ZERO).await?;
        let columns = [
            "",
            "CPU µs a push, half load",
            "× control",
            "CPU µs a push, saturated",
            "× control",
            "pushes/s",
            "× control",
        ];
        let mut table = Table::new("One CDR a push: cost and capacity", &columns);
        for arm in saturated.keys() {
            let cost = Done::cpu_per_push;
            let (half_cost, half_ratio) = with_ratio(&half, *arm, Arm::Control, |times| cost(&times.done));
            let (full_cost, full_ratio) = with_ratio(&saturated, *arm, Arm::Control, cost);
            let (rate, rate_ratio) = with_ratio(&saturated, *arm, Arm::Control, Done::rate);
            self.report.note(*arm, "half load cost", half_cost, half_ratio);
            self.report.note(*arm, "saturated cost", full_cost, full_ratio);
            self.report.note(*arm, "capacity", rate, rate_ratio);
            let cells = [half_cost, half_ratio, full_cost, full_ratio, rate, rate_ratio].map(number);
            table.row([arm.title().to_owned()].into_iter().chain(cells));
        }
        self.report.table(table);
        self.times_table("One CDR a push, half load: times in milliseconds", &half, "half load p99");
        Ok(())
    }

    /// 10 and 50 CDRs a push.
    pub async fn batches(&mut self) -> Result<()> {
        for size in crate::pushes::CONTROL_BATCHES {
            let title = format!("{size} CDRs a push");
            let saturated = self.saturate(&title, size, &Arm::COMPARED).await?;
            let mut table = Table::new(
                format!("{title}: cost and capacity"),
                &["", "CPU µs a call", "× control", "calls/s", "× control", "outcomes in a request"],
            );
            for (arm, rounds) in &saturated {
                let (cost, ratio) = with_ratio(&saturated, *arm, Arm::Control, Done::cpu_per_push);
                let (rate, rate_ratio) = with_ratio(&saturated, *arm, Arm::Control, Done::rate);
                let calls = size as f64;
                let outcomes =
                    median_of(rounds, |done| done.pushes as f64 * calls / done.outcome_requests.max(1) as f64);
                let outcomes = if arm.reports_outcomes() { number(outcomes) } else { "–".to_owned() };
                self.report.note(*arm, &format!("cost of {size}"), cost / calls, ratio);
                let cells = [cost / calls, ratio, rate * calls, rate_ratio].map(number);
                table.row([arm.title().to_owned()].into_iter().chain(cells).chain([outcomes]));
            }
            self.report.table(table);
        }
        Ok(())
    }

    /// Businesses that take their time, beside one that takes none. Callbacks that wait cost an arm more than such that are
    /// over, so half load would not be half of what it takes.
    pub async fn slow(&mut self) -> Result<()> {
        for milliseconds in [0, 50, 1000] {
            let delay = Duration::from_millis(milliseconds);
            let what = format!("a business that takes {milliseconds} ms");
            let times = self.at_share(&what, 0.25, delay).await?;
            let title = format!("A business that takes {milliseconds} ms, quarter load: times in milliseconds");
            self.times_table(&title, &times, &format!("p99 with {milliseconds} ms"));
        }
        Ok(())
    }

    /// One business or a thousand.
    pub async fn businesses(&mut self) -> Result<()> {
        let arms = [Arm::Filter, Arm::FilterThousand];
        let saturated = self.saturate("a thousand businesses", 1, &arms).await?;
        let mut table = Table::new("Businesses configured: cost", &["", "CPU µs a push", "× one business"]);
        for arm in saturated.keys() {
            let (cost, ratio) = with_ratio(&saturated, *arm, Arm::Filter, Done::cpu_per_push);
            self.report.note(*arm, "businesses", cost, ratio);
            table.row([arm.title().to_owned(), number(cost), number(ratio)]);
        }
        self.report.table(table);
        Ok(())
    }

    fn times_table(&mut self, title: &str, times: &ByArm<Times>, p99: &str) {
        let columns = ["", "pushes/s", "answer p50", "p99", "p99.9", "p99 × control", "callback p50", "p99"];
        let mut table = Table::new(title, &columns);
        for (arm, rounds) in times {
            let answer = |share: f64| median_of(rounds, |times| percentile(&times.answers, share));
            let callback = |share: f64| median_of(rounds, |times| percentile(&times.callbacks, share));
            let (_, ratio) = with_ratio(times, *arm, Arm::Control, |times| percentile(&times.answers, 0.99));
            self.report.note(*arm, p99, answer(0.99), ratio);
            let rate = median_of(rounds, |times| times.answers.len() as f64 / self.duration.as_secs_f64());
            let cells = [rate, answer(0.5), answer(0.99), answer(0.999), ratio, callback(0.5), callback(0.99)];
            table.row([arm.title().to_owned()].into_iter().chain(cells.map(number)));
        }
        self.report.table(table);
    }

    async fn saturate(&mut self, what: &str, size: usize, wanted: &[Arm]) -> Result<ByArm<Done>> {
        let mut results = ByArm::new();
        // The first round warms up: connections, code, caches.
        for round in 0..=self.rounds {
            for index in self.turns(round) {
                let Some(running) = self.running.get_mut(index).filter(|running| wanted.contains(&running.arm)) else {
                    continue;
                };
                self.sinks.behave(Duration::ZERO, running.arm.businesses());
                let done = load::saturate(running, &self.sinks, size, self.duration).await;
                let done = running.explain(done).await?;
                if round > 0 {
                    let (cost, rate) = (done.cpu_per_push(), done.rate());
                    eprintln!("{what}, round {round}: {:?}: {cost:.1} µs a push, {rate:.0} pushes/s", running.arm);
                    results.entry(running.arm).or_default().push(done);
                }
            }
        }
        Ok(results)
    }

    /// At this share of what the control takes, or of what the arm itself takes if that is less.
    async fn at_share(&mut self, what: &str, share: f64, delay: Duration) -> Result<ByArm<Times>> {
        if self.capacity.is_empty() {
            let saturated = self.saturate("capacity", 1, &Arm::COMPARED).await?;
            self.capacity = saturated.iter().map(|(arm, rounds)| (*arm, median_of(rounds, Done::rate))).collect();
        }
        let most = self.capacity.get(&Arm::Control).copied().unwrap_or(f64::MAX);
        let mut results = ByArm::new();
        for round in 1..=self.rounds {
            for index in self.turns(round) {
                let Some(running) = self.running.get_mut(index) else { continue };
                let Some(own) = self.capacity.get(&running.arm) else { continue };
                self.sinks.behave(delay, 1);
                let rate = own.min(most) * share;
                let slow = rate * delay.as_secs_f64();
                let pace = Pace {
                    size: 1,
                    rate,
                    // As many callbacks are under way by then as there will be, each with its connection.
                    ramp: delay * 2,
                    duration: self.duration,
                    most_open: 256 + (slow * 1.5) as u64,
                };
                let times = load::at_rate(running, &self.sinks, pace).await;
                let times = running.explain(times).await?;
                let p99 = percentile(&times.answers, 0.99);
                let cost = times.done.cpu_per_push();
                eprintln!("{what}, round {round}: {:?}: {cost:.1} µs a push, p99 {p99:.2} ms", running.arm);
                results.entry(running.arm).or_default().push(times);
            }
        }
        Ok(results)
    }

    /// Who begins changes with the round.
    fn turns(&self, round: u32) -> impl Iterator<Item = usize> + use<> {
        let arms = self.running.len();
        (0..arms).map(move |index| (index + round as usize) % arms)
    }
}

fn median_of<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> f64 {
    median(&rounds.iter().map(value).collect::<Vec<_>>())
}

/// The median of an arm's values, and the median of the ratios to those of `base` in the same round.
fn with_ratio<T>(results: &ByArm<T>, arm: Arm, base: Arm, value: impl Fn(&T) -> f64) -> (f64, f64) {
    let rounds = |arm| results.get(&arm).map(Vec::as_slice).unwrap_or_default();
    let ratios = rounds(arm).iter().zip(rounds(base)).map(|(own, base)| value(own) / value(base));
    (median_of(rounds(arm), &value), median(&ratios.collect::<Vec<_>>()))
}
