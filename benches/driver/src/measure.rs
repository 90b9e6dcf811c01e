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

/// How long the store takes where it takes its time.
const SLOW_STORE: Duration = Duration::from_millis(3);

/// Everything that runs, and what came out so far.
pub struct Bench {
    sinks: Sinks,
    running: Vec<Running>,
    rounds: u32,
    duration: Duration,
    report: Report,
    /// Of the arms that stand side by side, one CDR a push.
    capacity: Capacity,
}

type ByArm<T> = BTreeMap<Arm, Vec<T>>;

/// Pushes a second at saturation.
type Capacity = BTreeMap<Arm, f64>;

/// What came of one load after the other at the same rate for every arm.
struct AtRate {
    /// Pushes a second.
    rate: f64,
    times: ByArm<Times>,
    /// The arms that take less than that, and how much they take.
    too_slow: Capacity,
}

impl Bench {
    /// Ready for its parts.
    pub fn new(sinks: Sinks, running: Vec<Running>, rounds: u32, duration: Duration, report: Report) -> Self {
        Self { sinks, running, rounds, duration, report, capacity: Capacity::new() }
    }

    /// What is left when all parts are through; ends the arms.
    pub fn finish(self) -> (Sinks, Report) {
        (self.sinks, self.report)
    }

    /// One CDR a push.
    pub async fn single(&mut self) -> Result<()> {
        let saturated = self.saturate("one CDR a push, saturation", 1, &Arm::COMPARED).await?;
        self.capacity = capacity(&saturated);
        let half = self.at_share("one CDR a push, half load", 0.5, Duration::ZERO).await?;
        self.cost_table("One CDR a push: cost and capacity", Arm::Control, &saturated, &half, "");
        self.times_table("One CDR a push, half load: times in milliseconds", Arm::Control, &half, "half load");
        Ok(())
    }

    /// The gateway and the real store together.
    pub async fn whole_stack(&mut self) -> Result<()> {
        let saturated = self.saturate("whole stack, saturation", 1, &Arm::WHOLE_STACK).await?;
        let capacity = capacity(&saturated);
        let Some(base) = base(&capacity, Arm::StackRust) else { return Ok(()) };
        let half = self.at_rate("whole stack, half load", &capacity, base * 0.5, Duration::ZERO).await?;
        let title = "Gateway and store together, one CDR a push: cost and capacity";
        self.cost_table(title, Arm::StackRust, &saturated, &half, "");
        let title = "Gateway and store together, half of what Rust takes: times in milliseconds";
        self.times_table(title, Arm::StackRust, &half, "half load");
        Ok(())
    }

    /// A store that takes its time.
    pub async fn slow_store(&mut self) -> Result<()> {
        self.sinks.store_takes(SLOW_STORE);
        let saturated = self.saturate("a slow store, saturation", 1, &Arm::SLOW_STORE).await?;
        let capacity = capacity(&saturated);
        let Some(base) = base(&capacity, Arm::Rust) else { return Ok(()) };
        let half = self.at_rate("a slow store, half load", &capacity, base * 0.5, Duration::ZERO).await?;
        self.sinks.store_takes(Duration::ZERO);
        let what = format!("A store that takes {} ms, one CDR a push", SLOW_STORE.as_millis());
        self.cost_table(&format!("{what}: cost and capacity"), Arm::Rust, &saturated, &half, "slow store ");
        let title = format!("{what}, half of what Rust takes: times in milliseconds");
        self.times_table(&title, Arm::Rust, &half, "slow store half load");
        Ok(())
    }

    /// 10 and 50 CDRs a push.
    pub async fn batches(&mut self) -> Result<()> {
        for size in crate::pushes::CONTROL_BATCHES {
            let title = format!("{size} CDRs a push");
            let saturated = self.saturate(&title, size, &Arm::MANY_CDRS).await?;
            let mut table = Table::new(
                format!("{title}: cost and capacity"),
                &["", "CPU µs a call", "× control", "calls/s", "× control", "outcomes in a request"],
            );
            for (arm, rounds) in &saturated {
                let calls = size as f64;
                let cost = |done: &Done| done.cpu_per_push() / calls;
                let rate = |done: &Done| done.rate() * calls;
                let outcomes =
                    median_of(rounds, |done| done.pushes as f64 * calls / done.outcome_requests.max(1) as f64);
                self.report.note(*arm, &format!("cost of {size}"), rounds.iter().map(cost).collect());
                let cells = [
                    median_of(rounds, cost),
                    ratio(&saturated, *arm, Arm::Control, cost),
                    median_of(rounds, rate),
                    ratio(&saturated, *arm, Arm::Control, rate),
                    outcomes.filter(|_| arm.reports_outcomes()),
                ];
                table.row([arm.title().to_owned()].into_iter().chain(cells.map(cell)));
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
            self.times_table(&title, Arm::Control, &times, &format!("with {milliseconds} ms"));
        }
        Ok(())
    }

    /// One business or a thousand.
    pub async fn businesses(&mut self) -> Result<()> {
        let saturated = self.saturate("a thousand businesses", 1, &Arm::BUSINESSES).await?;
        let mut table = Table::new("Businesses configured: cost", &["", "CPU µs a push", "× one business"]);
        for (arm, rounds) in &saturated {
            self.report.note(*arm, "businesses", rounds.iter().map(Done::cpu_per_push).collect());
            let ratio = ratio(&saturated, *arm, Arm::Filter, Done::cpu_per_push);
            let cells = [median_of(rounds, Done::cpu_per_push), ratio].map(cell);
            table.row([arm.title().to_owned()].into_iter().chain(cells));
        }
        self.report.table(table);
        Ok(())
    }

    /// Cost at half load and saturated, and capacity. The report calls them `what` and `half load cost` and so on.
    fn cost_table(&mut self, title: &str, base: Arm, saturated: &ByArm<Done>, half: &AtRate, what: &str) {
        let times_base = format!("× {}", base.short());
        let columns = [
            "",
            "CPU µs a push, half load",
            &times_base,
            "CPU µs a push, saturated",
            &times_base,
            "pushes/s",
            &times_base,
            "pushes in a request",
        ];
        let mut table = Table::new(title, &columns);
        for (arm, rounds) in saturated {
            let cost = Done::cpu_per_push;
            let half_cost = |times: &Times| cost(&times.done);
            let at_half = half.times.get(arm).map(Vec::as_slice).unwrap_or_default();
            let together = median_of(rounds, |done| done.pushes as f64 / done.push_requests.max(1) as f64);
            let notes: [(&str, Vec<f64>); 3] = [
                ("half load cost", at_half.iter().map(half_cost).collect()),
                ("saturated cost", rounds.iter().map(cost).collect()),
                ("capacity", rounds.iter().map(Done::rate).collect()),
            ];
            for (name, rounds) in notes {
                self.report.note(*arm, &format!("{what}{name}"), rounds);
            }
            let cells = [
                median_of(at_half, half_cost),
                ratio(&half.times, *arm, base, half_cost),
                median_of(rounds, cost),
                ratio(saturated, *arm, base, cost),
                median_of(rounds, Done::rate),
                ratio(saturated, *arm, base, Done::rate),
                together.filter(|_| !arm.has_store()),
            ];
            table.row([arm.title().to_owned()].into_iter().chain(cells.map(cell)));
        }
        self.report.table(table);
    }

    /// Times at the same rate for every arm. The report calls them `what` and ` p50` or ` p99`.
    fn times_table(&mut self, title: &str, base: Arm, at: &AtRate, what: &str) {
        let times_base = format!("p99 × {}", base.short());
        let columns = ["", "pushes/s", "answer p50", "p99", "p99.9", &times_base, "callback p50", "p99"];
        let mut table = Table::new(title, &columns);
        for (arm, rounds) in &at.times {
            let answer = |share: f64| move |times: &Times| percentile(&times.answers, share);
            let callback = |share: f64| move |times: &Times| percentile(&times.callbacks, share);
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                self.report.note(*arm, &format!("{what} {name}"), rounds.iter().map(answer(share)).collect());
            }
            let cells = [
                median_of(rounds, |times| times.answers.len() as f64 / self.duration.as_secs_f64()),
                median_of(rounds, answer(0.5)),
                median_of(rounds, answer(0.99)),
                median_of(rounds, answer(0.999)),
                ratio(&at.times, *arm, base, answer(0.99)),
                median_of(rounds, callback(0.5)),
                median_of(rounds, callback(0.99)),
            ];
            table.row([arm.title().to_owned()].into_iter().chain(cells.map(cell)));
        }
        for (arm, most) in &at.too_slow {
            let rate = format!("takes {} of {}", number(*most), number(at.rate));
            let nothing = std::iter::repeat_n("–".to_owned(), columns.len() - 2);
            table.row([arm.title().to_owned(), rate].into_iter().chain(nothing));
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

    /// All arms side by side at this share of what the control takes.
    async fn at_share(&mut self, what: &str, share: f64, delay: Duration) -> Result<AtRate> {
        if self.capacity.is_empty() {
            let saturated = self.saturate("capacity", 1, &Arm::COMPARED).await?;
            self.capacity = capacity(&saturated);
        }
        let capacity = self.capacity.clone();
        let rate = base(&capacity, Arm::Control).unwrap_or_default() * share;
        self.at_rate(what, &capacity, rate, delay).await
    }

    /// Every arm at the same rate, besides those that do not take that much.
    async fn at_rate(&mut self, what: &str, capacity: &Capacity, rate: f64, delay: Duration) -> Result<AtRate> {
        let too_slow: Capacity =
            capacity.iter().filter(|(_, own)| **own < rate).map(|(arm, own)| (*arm, *own)).collect();
        let mut times = ByArm::new();
        let slow = rate * delay.as_secs_f64();
        let pace = Pace {
            size: 1,
            rate,
            // As many callbacks are under way by then as there will be, each with its connection.
            ramp: delay * 2,
            duration: self.duration,
            most_open: 256 + (slow * 1.5) as u64,
        };
        for round in 1..=self.rounds {
            for index in self.turns(round) {
                let Some(running) = self.running.get_mut(index) else { continue };
                if !capacity.contains_key(&running.arm) || too_slow.contains_key(&running.arm) {
                    continue;
                }
                self.sinks.behave(delay, 1);
                let measured = load::at_rate(running, &self.sinks, pace).await;
                let measured = running.explain(measured).await?;
                let (p50, p99) = (percentile(&measured.answers, 0.5), percentile(&measured.answers, 0.99));
                let cost = measured.done.cpu_per_push();
                eprintln!(
                    "{what}, round {round}: {:?}: {cost:.1} µs a push, p50 {p50:.2} ms, p99 {p99:.2} ms",
                    running.arm
                );
                times.entry(running.arm).or_insert_with(Vec::new).push(measured);
            }
        }
        Ok(AtRate { rate, times, too_slow })
    }

    /// Who begins changes with the round.
    fn turns(&self, round: u32) -> impl Iterator<Item = usize> + use<> {
        let arms = self.running.len();
        (0..arms).map(move |index| (index + round as usize) % arms)
    }
}

fn capacity(saturated: &ByArm<Done>) -> Capacity {
    saturated.iter().filter_map(|(arm, rounds)| Some((*arm, median_of(rounds, Done::rate)?))).collect()
}

/// What `wanted` takes, or where it is left out what any arm takes.
fn base(capacity: &Capacity, wanted: Arm) -> Option<f64> {
    capacity.get(&wanted).copied().or_else(|| capacity.values().copied().min_by(f64::total_cmp))
}

fn median_of<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> Option<f64> {
    (!rounds.is_empty()).then(|| median(&rounds.iter().map(value).collect::<Vec<_>>()))
}

/// The median of the ratios of an arm's values to those of `base` in the same round.
fn ratio<T>(results: &ByArm<T>, arm: Arm, base: Arm, value: impl Fn(&T) -> f64) -> Option<f64> {
    let ratios = results.get(&arm)?.iter().zip(results.get(&base)?).map(|(own, base)| value(own) / value(base));
    Some(median(&ratios.collect::<Vec<_>>()))
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}
