//! `core-bench`: a part of a push's way through the filter's core, run to be measured.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use core_bench::case::{Bench, Case};
use core_bench::time;
use serde_json::json;

/// Runs a part of a push's way through the filter's core
///
/// With ITERATIONS it takes that many pushes through the part, for valgrind to count. With --time it measures and prints one
/// line of JSON, microseconds for each push. With --list it names the cases.
#[derive(Debug, Parser)]
#[command(name = "core-bench")]
struct Arguments {
    /// The case, such as push/50: the whole way of a push of 50 CDRs
    #[arg(required_unless_present = "list")]
    case: Option<Case>,
    /// How many pushes to take through it: whole stretches, see --list
    #[arg(required_unless_present_any = ["list", "time"], conflicts_with = "time", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Measure time instead
    #[arg(long)]
    time: bool,
    /// How long to run before measuring, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 400, requires = "time")]
    warm_up: u64,
    /// How long to measure, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 600, requires = "time")]
    measured: u64,
    /// Print the cases, one line of JSON each: its name, and how many pushes a stretch has
    #[arg(long, exclusive = true)]
    list: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        for case in Case::all() {
            let stretch = Bench::new(&case)?.stretch();
            print(&json!({"case": case.name(), "size": case.size, "stretch": stretch}))?;
        }
        return Ok(());
    }
    let case = arguments.case.context("no case is given")?;
    if arguments.time {
        let (warm_up, measured) = (Duration::from_millis(arguments.warm_up), Duration::from_millis(arguments.measured));
        let times = time::times(&case, warm_up, measured)?;
        return print(&json!({
            "case": case.name(),
            "size": case.size,
            "microseconds": times.median,
            "fastest": times.fastest,
            "stretches": times.stretches,
            "pushes": times.pushes_in_a_stretch,
        }));
    }
    let iterations = arguments.iterations.context("no number of iterations is given")?;
    let mut bench = Bench::new(&case)?;
    let stretch = u32::try_from(bench.stretch())?;
    ensure!(
        iterations.is_multiple_of(stretch),
        "{iterations} iterations are no whole number of stretches of {stretch}"
    );
    for _ in 0..iterations / stretch {
        bench.prepare()?;
        bench.run()?;
        bench.finish()?;
    }
    Ok(())
}

fn print(line: &serde_json::Value) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write the result")
}
