//! What is aimed at, and whether it was reached.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::arm::Arm;
use crate::table::{Table, number};

/// All tables, and the figures that targets are about.
pub struct Report {
    head: String,
    tables: Vec<Table>,
    /// A value and its ratio, by arm and what it is.
    figures: BTreeMap<(Arm, String), (f64, f64)>,
}

impl Report {
    /// An empty one.
    pub fn new(envoy: String, rounds: u32, duration: Duration) -> Self {
        let head = format!(
            "Envoy {envoy}, one worker; medians of {rounds} rounds of {} s for each arm.\n",
            duration.as_secs_f64()
        );
        Self { head, tables: Vec::new(), figures: BTreeMap::new() }
    }

    /// One more table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// A figure: its value, and its ratio to what it is compared with.
    pub fn note(&mut self, arm: Arm, what: &str, value: f64, ratio: f64) {
        self.figures.insert((arm, what.to_owned()), (value, ratio));
    }

    /// Everything, the targets last.
    pub fn to_markdown(&self) -> String {
        let mut text = self.head.clone();
        for table in self.tables.iter().chain([&self.targets()]) {
            let _ = write!(text, "\n{}", table.to_markdown());
        }
        text
    }

    fn value(&self, arm: Arm, what: &str) -> Option<f64> {
        self.figures.get(&(arm, what.to_owned())).map(|(value, _)| *value)
    }

    fn ratio(&self, arm: Arm, what: &str) -> Option<f64> {
        self.figures.get(&(arm, what.to_owned())).map(|(_, ratio)| *ratio)
    }

    fn targets(&self) -> Table {
        let between = |what: &str, arm: Arm| Some(self.value(Arm::Filter, what)? / self.value(arm, what)?);
        let beyond_floor = |what: &str| Some(self.value(Arm::Filter, what)? - self.value(Arm::Floor, what)?);
        let faster = |arm: Arm| Some(self.value(arm, "capacity")? / self.value(Arm::Filter, "capacity")?);
        let slower = || Some(self.value(Arm::Filter, "p99 with 1000 ms")? / self.value(Arm::Filter, "p99 with 0 ms")?);
        let targets = [
            ("CPU a push, half load, × control", 0.80, self.ratio(Arm::Filter, "half load cost")),
            ("CPU a push, saturated, × control", 0.80, self.ratio(Arm::Filter, "saturated cost")),
            ("CPU a call, 50 CDRs a push, × control", 0.60, self.ratio(Arm::Filter, "cost of 50")),
            ("CPU a push, half load, × Rust service", 0.90, between("half load cost", Arm::Rust)),
            ("CPU a push, saturated, × Rust service", 0.90, between("saturated cost", Arm::Rust)),
            ("CPU a push, half load, × Node service", 0.50, between("half load cost", Arm::Node)),
            ("CPU a push, saturated, × Node service", 0.50, between("saturated cost", Arm::Node)),
            ("pushes/s of the Rust service, × filter", 0.90, faster(Arm::Rust)),
            ("pushes/s of the Node service, × filter", 0.50, faster(Arm::Node)),
            ("CPU beyond the floor, µs a push", 25.0, beyond_floor("saturated cost")),
            ("CPU beyond the floor, 50 CDRs a push, µs a CDR", 8.0, beyond_floor("cost of 50")),
            ("p99 of the answer, half load, × control", 1.3, self.ratio(Arm::Filter, "half load p99")),
            ("p99 of the answer, quarter load, a business that takes 1000 ms, × none", 1.1, slower()),
            ("memory of one more worker, MiB", 12.0, self.value(Arm::Filter, "one more worker")),
            ("CPU a push with 1000 businesses, × one", 1.05, self.ratio(Arm::FilterThousand, "businesses")),
        ];
        let mut table = Table::new("Targets", &["filter, hold", "at most", "measured", ""]);
        for (what, most, measured) in targets {
            let verdict = match measured {
                None => "not measured",
                Some(value) if value <= most => "met",
                Some(_) => "**missed**",
            };
            let measured = measured.map_or_else(|| "–".to_owned(), number);
            table.row([what.to_owned(), number(most), measured, verdict.to_owned()]);
        }
        table
    }
}
