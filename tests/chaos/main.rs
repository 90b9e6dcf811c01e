//! Real processes under every fault we can make: two Envoys with two workers each, the store and two businesses carry a
//! steady load of signed pushes, while a seeded schedule kills, freezes, cuts off, fills up and reloads them. In the end
//! the promises are checked by what Huawei was answered, what the store holds and what the businesses themselves counted.

mod calls;
mod faults;
mod huawei;
mod journal;
mod memory;
mod processes;
mod report;
mod stack;
mod store;
mod tally;
mod verdict;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::time::Instant;

use crate::faults::{Misfortune, Plan};
use crate::huawei::Huawei;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::report::Report;
use crate::stack::Stack;

const HELP: &str = "\
What is run is built first: `cargo xtask test` does, or set PRIVATENUMBER_MODULE, PRIVATENUMBER_STORE and
PRIVATENUMBER_SIM. Configurations, data and logs stay under target/end-to-end/chaos*.

Exit codes:
  0  every promise held
  1  a promise was broken; which, and the seed, are the last lines
  2  the run could not be carried out

Examples:
  chaos --quick
  chaos --minutes 60 --seed 7";

/// Break everything that can break, and check the promises P1 to P8
///
/// Everything listens on 127.0.0.1, and ends with this process.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos", after_help = HELP)]
struct Options {
    /// How long to make faults; settling and checking come on top, about two minutes at most
    #[arg(long, default_value_t = 5.0, value_name = "MINUTES", value_parser = minutes)]
    minutes: f64,
    /// What decides the faults and the pushes; processes of their own being what they are, it does not decide the order
    /// in which they run [default: a random one, shown at the start]
    #[arg(long)]
    seed: Option<u64>,
    /// Pushes per second, of five CDRs on average
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// A run short enough for every change: 75 seconds of faults, about two minutes in all
    #[arg(long, conflicts_with = "minutes")]
    quick: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| (1.0..=10_000.0).contains(minutes));
    minutes.ok_or_else(|| "give minutes, from 1 to 10000".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (1.0..=1_000.0).contains(rate));
    rate.ok_or_else(|| "give pushes per second, from 1 to 1000".to_owned())
}

impl Options {
    fn duration(&self) -> Duration {
        if self.quick { Duration::from_secs(75) } else { Duration::from_secs_f64(self.minutes * 60.0) }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(random_seed);
    say(&format!("chaos: {} s of faults, {} pushes/s, seed {seed}", options.duration().as_secs(), options.rate));
    match run(&options, seed).await {
        Ok(report) => {
            say(&report.to_string());
            say(&report.json());
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "chaos: the run could not be carried out (seed {seed}): {error:#}");
            ExitCode::from(2)
        }
    }
}

/// From the process's number and the time: another one each time, and shown.
fn random_seed() -> u64 {
    let millis = u64::try_from(privatenumber_sim::clock::epoch_millis()).unwrap_or_default();
    millis.wrapping_mul(1_000_003).wrapping_add(u64::from(std::process::id())) % 1_000_000_000
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn run(options: &Options, seed: u64) -> Result<Report> {
    let began = Instant::now();
    let stack = Stack::start().await?;
    let journal = Arc::new(Journal::default());
    let huawei = Huawei::new(stack.gateway_urls(), seed)?;
    let end = Instant::now() + options.duration();
    let memory = Memory::watch(stack.memory_marks(), options.duration());
    let load = tokio::spawn(Arc::clone(&huawei).push_until(end, options.rate));
    let progress = tokio::spawn(progress(Arc::clone(&huawei), Arc::clone(&journal), began));

    let misfortune = Misfortune { plan: Plan::new(seed, end, Arc::clone(&journal)) };
    let stack = misfortune.strike(stack).await;
    // From here on nothing more goes wrong by our doing.
    let settled = match stack {
        Ok(stack) => {
            load.await.context("Huawei ended early")??;
            stack.settle(&huawei).await
        }
        Err(error) => Err(error),
    };
    progress.abort();
    let ended = settled?;
    Ok(report::report(seed, began.elapsed(), options, &huawei, &journal, &memory.stop(), ended))
}

/// A line every ten seconds.
async fn progress(huawei: Arc<Huawei>, journal: Arc<Journal>, began: Instant) {
    let mut beat = tokio::time::interval(Duration::from_secs(10));
    beat.tick().await;
    loop {
        beat.tick().await;
        say(&format!("{:>5} s  {}  {} faults", began.elapsed().as_secs(), huawei.progress(), journal.total()));
    }
}
