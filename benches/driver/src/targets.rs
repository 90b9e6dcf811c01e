//! What is aimed at, and whether it was reached.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use harness::products;

use crate::arm::Arm;
use crate::median::median;
use crate::table::{Table, number};

/// How much of the store's work one process does.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Pushes of one CDR, committed durably.
    pub pushes_per_second: f64,
    /// Microseconds of both cores.
    pub cpu_per_push: f64,
}

/// All tables, and the figures that targets are about.
pub struct Report {
    head: String,
    tables: Vec<Table>,
    /// The values of the rounds, by arm and what they are.
    figures: BTreeMap<(Arm, String), Vec<f64>>,
    throughput: BTreeMap<String, Throughput>,
}

/// What a figure may be.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One target: what it is about, what it must be, what is aimed at, what was measured.
type Target<'a> = (&'a str, Bound, Option<f64>, Option<f64>);

impl Bound {
    /// Whether `value` keeps to `limit`, which is of the same side as this one.
    fn keeps(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtMost(_) => value <= limit,
            Self::AtLeast(_) => value >= limit,
        }
    }

    fn limit(self) -> f64 {
        let (Self::AtMost(limit) | Self::AtLeast(limit)) = self;
        limit
    }

    fn to_text(self) -> String {
        match self {
            Self::AtMost(limit) => number(limit),
            Self::AtLeast(limit) => format!("at least {}", number(limit)),
        }
    }
}

impl Report {
    /// An empty one.
    pub fn new(envoy: String, rounds: u32, duration: Duration) -> Self {
        let head = format!(
            "Envoy {envoy}, one worker; medians of {rounds} rounds of {} s for each arm.\n",
            duration.as_secs_f64()
        );
        Self { head, tables: Vec::new(), figures: BTreeMap::new(), throughput: BTreeMap::new() }
    }

    /// One more table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// A figure: its values, one for each round.
    pub fn note(&mut self, arm: Arm, what: &str, rounds: Vec<f64>) {
        self.figures.insert((arm, what.to_owned()), rounds);
    }

    /// What the store does alone in one way.
    pub fn note_throughput(&mut self, way: String, throughput: Throughput) {
        self.throughput.insert(way, throughput);
    }

    /// Everything, the targets last.
    pub fn to_markdown(&self) -> String {
        let mut text = self.head.clone();
        let targets = [self.done_when(), self.further_targets()];
        for table in self.tables.iter().chain(&targets) {
            let _ = write!(text, "\n{}", table.to_markdown());
        }
        text
    }

    fn rounds(&self, arm: Arm, what: &str) -> Option<&[f64]> {
        let rounds = self.figures.get(&(arm, what.to_owned()))?;
        (!rounds.is_empty()).then_some(rounds)
    }

    /// The median over the rounds.
    fn value(&self, arm: Arm, what: &str) -> Option<f64> {
        self.rounds(arm, what).map(median)
    }

    /// The median of the ratios within the rounds.
    fn ratio(&self, arm: Arm, base: Arm, what: &str) -> Option<f64> {
        let rounds = self.rounds(arm, what)?.iter().zip(self.rounds(base, what)?);
        Some(median(&rounds.map(|(own, base)| own / base).collect::<Vec<_>>()))
    }

    /// The targets of the claims in batches.
    fn done_when(&self) -> Table {
        use Bound::{AtLeast, AtMost};
        let to = |base: Arm, what: &str| self.ratio(Arm::Filter, base, what);
        let stack = |base: Arm, what: &str| self.ratio(Arm::StackFilter, base, what);
        let throughput = |way: &str, value: fn(&Throughput) -> f64| self.throughput.get(way).map(value);
        let module = products::module().and_then(|path| Ok(fs::metadata(path)?.len()));
        let (cost, half) = ("saturated cost", "half load cost");
        let targets: [Target<'_>; 19] = [
            ("CPU a push, one CDR, saturated, × control", AtMost(0.80), Some(0.73), to(Arm::Control, cost)),
            ("CPU a push, one CDR, half load, × control", AtMost(0.85), Some(0.78), to(Arm::Control, half)),
            ("CPU a push, saturated, × Rust service", AtMost(0.80), Some(0.70), to(Arm::Rust, cost)),
            ("CPU a push, half load, × Rust service", AtMost(0.80), Some(0.70), to(Arm::Rust, half)),
            ("CPU a push, saturated, × batching Rust service", AtMost(0.98), Some(0.85), to(Arm::RustBatch, cost)),
            ("CPU a push, half load, × batching Rust service", AtMost(0.98), Some(0.85), to(Arm::RustBatch, half)),
            (
                "CPU a push, saturated, a store that takes 3 ms, × Rust service",
                AtMost(0.90),
                Some(0.80),
                to(Arm::Rust, "slow store saturated cost"),
            ),
            ("CPU a push, 10 CDRs, × filter of 0.1.0", AtMost(1.10), Some(1.0), to(Arm::FilterBefore, "cost of 10")),
            ("CPU a push, 50 CDRs, × filter of 0.1.0", AtMost(1.10), Some(1.0), to(Arm::FilterBefore, "cost of 50")),
            ("p50 of the answer, half load, ms", AtMost(3.0), Some(2.0), self.value(Arm::Filter, "half load p50")),
            ("whole stack, CPU a push, saturated, × Rust", AtMost(0.85), Some(0.70), stack(Arm::StackRust, cost)),
            ("whole stack, CPU a push, half load, × Rust", AtMost(0.85), Some(0.70), stack(Arm::StackRust, half)),
            (
                "whole stack, CPU a push, saturated, × batching Rust",
                AtMost(1.05),
                Some(0.95),
                stack(Arm::StackRustBatch, cost),
            ),
            (
                "whole stack, CPU a push, half load, × batching Rust",
                AtMost(1.05),
                Some(0.95),
                stack(Arm::StackRustBatch, half),
            ),
            (
                "store, in process, 256 at a time, durable, pushes/s",
                AtLeast(20_000.0),
                Some(29_000.0),
                throughput("in-process", |run| run.pushes_per_second),
            ),
            ("store, in process, CPU µs a push", AtMost(45.0), None, throughput("in-process", |run| run.cpu_per_push)),
            (
                "store, over HTTP in batches of 16, pushes/s",
                AtLeast(12_000.0),
                None,
                throughput("http-batches-16", |run| run.pushes_per_second),
            ),
            (
                "store, over HTTP in batches of 16, CPU µs a push",
                AtMost(75.0),
                None,
                throughput("http-batches-16", |run| run.cpu_per_push),
            ),
            ("module, KiB", AtMost(600.0), None, module.ok().map(|bytes| bytes as f64 / 1024.0)),
        ];
        table("It is done when", &targets)
    }

    /// The others.
    fn further_targets(&self) -> Table {
        use Bound::AtMost;
        let to = |base: Arm, what: &str| self.ratio(Arm::Filter, base, what);
        let beyond_floor = |what: &str| Some(self.value(Arm::Filter, what)? - self.value(Arm::Floor, what)?);
        let faster = |arm: Arm| self.ratio(arm, Arm::Filter, "capacity");
        let slower = || Some(self.value(Arm::Filter, "p99 with 1000 ms")? / self.value(Arm::Filter, "p99 with 0 ms")?);
        let thousand = self.ratio(Arm::FilterThousand, Arm::Filter, "businesses");
        let targets: [Target<'_>; 10] = [
            ("CPU a call, 50 CDRs a push, × control", AtMost(0.60), None, to(Arm::Control, "cost of 50")),
            ("CPU a push, saturated, × Node service", AtMost(0.50), None, to(Arm::Node, "saturated cost")),
            ("pushes/s of the Rust service, × filter", AtMost(0.90), None, faster(Arm::Rust)),
            ("pushes/s of the Node service, × filter", AtMost(0.50), None, faster(Arm::Node)),
            ("CPU beyond the floor, µs a push", AtMost(25.0), None, beyond_floor("saturated cost")),
            ("CPU beyond the floor, 50 CDRs a push, µs a CDR", AtMost(8.0), None, beyond_floor("cost of 50")),
            ("p99 of the answer, half load, × control", AtMost(1.3), None, to(Arm::Control, "half load p99")),
            ("p99 of the answer, quarter load, a business that takes 1000 ms, × none", AtMost(1.1), None, slower()),
            ("memory of one more worker, MiB", AtMost(12.0), None, self.value(Arm::Filter, "one more worker")),
            ("CPU a push with 1000 businesses, × one", AtMost(1.05), None, thousand),
        ];
        table("Further targets", &targets)
    }
}

fn table(title: &str, targets: &[Target<'_>]) -> Table {
    let mut table = Table::new(title, &["filter, hold", "at most", "aim", "measured", ""]);
    for &(what, bound, aim, measured) in targets {
        let verdict = match measured {
            None => "not measured",
            Some(value) if aim.is_some_and(|aim| bound.keeps(value, aim)) => "met, the aim too",
            Some(value) if bound.keeps(value, bound.limit()) => "met",
            Some(_) => "**missed**",
        };
        let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        table.row([what.to_owned(), bound.to_text(), cell(aim), cell(measured), verdict.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Bound, Report, Throughput, table};
    use crate::arm::Arm;

    #[test]
    fn a_target_is_met_or_missed_on_its_own_side() {
        let targets = [
            ("cost", Bound::AtMost(0.8), Some(0.7), Some(0.75)),
            ("rate", Bound::AtLeast(20_000.0), Some(29_000.0), Some(30_000.0)),
            ("slow", Bound::AtLeast(20_000.0), None, Some(6_200.0)),
            ("unknown", Bound::AtMost(1.0), None, None),
        ];
        let text = table("T", &targets).to_markdown();
        for row in [
            "| cost | 0.80 | 0.70 | 0.75 | met |",
            "| rate | at least 20000 | 29000 | 30000 | met, the aim too |",
            "| slow | at least 20000 | – | 6200 | **missed** |",
            "| unknown | 1.00 | – | – | not measured |",
        ] {
            assert!(text.contains(row), "{row} is not in {text}");
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_those_within_the_rounds() {
        let mut report = Report::new("1.40.0".to_owned(), 3, std::time::Duration::from_secs(1));
        report.note(Arm::Filter, "saturated cost", vec![50.0, 80.0, 300.0]);
        report.note(Arm::Control, "saturated cost", vec![100.0, 100.0, 200.0]);
        let throughput = Throughput { pushes_per_second: 1.0, cpu_per_push: 1.0 };
        report.note_throughput("in-process".to_owned(), throughput);
        assert_eq!(report.ratio(Arm::Filter, Arm::Control, "saturated cost"), Some(0.8));
        assert!(report.to_markdown().contains("saturated, × control | 0.80 | 0.73 | 0.80 | met |"));
        assert_eq!(report.ratio(Arm::Filter, Arm::Rust, "saturated cost"), None);
    }
}
