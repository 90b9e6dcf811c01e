//! Measures the gateway side by side with what could be built in its place, on two cores and loopback.
//!
//! One core belongs to what is measured, the other to load generator and sinks. Arms take turns within a round, so that what
//! the machine does besides meets all of them; what is printed are medians over the rounds, and ratios taken within a round.

mod arm;
mod check;
mod cores;
mod load;
mod measure;
mod median;
mod memory;
mod pushes;
mod sinks;
mod table;
mod targets;
mod throughput;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use harness::{envoy_binary, open_files};

use crate::arm::{Arm, Running};
use crate::measure::Bench;
use crate::sinks::Sinks;
use crate::targets::Report;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The store alone: pushes it commits durably, in process and over HTTP
    Store,
    /// One CDR a push: cost, capacity, and times at half load
    Single,
    /// Gateway and store together: cost, capacity, and times at half load
    Stack,
    /// A store that takes 3 ms: cost, capacity, and times at half load
    SlowStore,
    /// 10 and 50 CDRs a push
    Batches,
    /// Businesses that take 0, 50 and 1000 ms: times at quarter load
    Slow,
    /// A thousand businesses
    Businesses,
    /// Memory by workers and with ten thousand callbacks under way, and what it takes to start
    Memory,
}

impl Part {
    /// The arms that must run for it.
    fn arms(self) -> &'static [Arm] {
        match self {
            Self::Single | Self::Slow => &Arm::COMPARED,
            Self::Stack => &Arm::WHOLE_STACK,
            Self::SlowStore => &Arm::SLOW_STORE,
            Self::Batches => &Arm::MANY_CDRS,
            Self::Businesses => &Arm::BUSINESSES,
            // They start what they need.
            Self::Store | Self::Memory => &[],
        }
    }
}

/// Measure the gateway side by side with what could be built in its place
///
/// What is run is built first: use `cargo xtask bench`. Tables go to standard output, progress to standard error.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Rounds in which every arm has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long one arm is under load in a round
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
    /// Only these arms; tables lack what is missing
    #[arg(long, value_delimiter = ',', value_enum)]
    arms: Vec<Arm>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_enum)]
    parts: Vec<Part>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.1..=600.0).contains(seconds));
    seconds.ok_or_else(|| "give seconds, from 0.1 to 600".to_owned())
}

impl Options {
    fn parts(&self) -> impl Iterator<Item = Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|part| self.parts.is_empty() || self.parts.contains(part))
    }

    fn wants(&self, arm: Arm) -> bool {
        self.arms.is_empty() || self.arms.contains(&arm)
    }

    /// The arms that must run all the time, each once.
    fn compared(&self) -> Vec<Arm> {
        let arms: BTreeSet<_> = self.parts().flat_map(Part::arms).copied().filter(|arm| self.wants(*arm)).collect();
        let (built, missing): (Vec<_>, Vec<_>) = arms.into_iter().partition(|arm| arm.is_built());
        missing.iter().for_each(|arm| eprintln!("{arm:?} is not built and is left out"));
        built
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        // Sinks and load share one thread: what they share needs no locks.
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, bench(&options)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Files that the load generator with the sinks, or an Envoy, may have open: a connection for each of ten thousand callbacks.
const OPEN_FILES: u64 = 16_384;

async fn bench(options: &Options) -> Result<()> {
    open_files::allow(OPEN_FILES)?;
    cores::take_ours()?;
    let envoy = envoy_binary::find(None, |what| eprintln!("{what}"))?;
    let sinks = Sinks::start().await?;
    let duration = Duration::from_secs_f64(options.seconds);
    let mut report = Report::new(envoy.version.to_string(), options.rounds, duration);
    if options.parts().any(|part| part == Part::Store) {
        throughput::measure(options.rounds, &mut report).await?;
    }
    let mut running = Vec::new();
    for arm in options.compared() {
        eprintln!("starting and checking: {arm:?}");
        let mut started = Running::start(arm, &envoy, &sinks, 1).await?;
        sinks.behave(Duration::ZERO, arm.businesses());
        let checked = check::check(&mut started, &sinks).await;
        started.explain(checked).await?;
        running.push(started);
    }
    let mut bench = Bench::new(sinks, running, options.rounds, duration, report);
    for part in options.parts() {
        match part {
            Part::Single => bench.single().await?,
            Part::Stack => bench.whole_stack().await?,
            Part::SlowStore => bench.slow_store().await?,
            Part::Batches => bench.batches().await?,
            Part::Slow => bench.slow().await?,
            Part::Businesses => bench.businesses().await?,
            Part::Store | Part::Memory => {}
        }
    }
    let (sinks, mut report) = bench.finish();
    if options.parts().any(|part| part == Part::Memory) {
        let arms: Vec<_> = Arm::MEMORY.into_iter().filter(|arm| options.wants(*arm)).collect();
        memory::measure(&envoy, &sinks, &arms, &mut report).await?;
    }
    println!("{}", report.to_markdown());
    Ok(())
}
