//! A long run at full speed: pushes of one CDR each over connections that are kept, and what the memory of gateway, store and
//! business comes to on the way.
//!
//! Prints one line of JSON at each tenth of the run (and at 10,000 pushes), and one at the end. Ends with exit code 1 if a
//! push was not answered 200, a call was called back twice, or anything stays pending.

mod load;
mod sample;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::configuration::Configuration;
use harness::directory::Directory;
use harness::envoy_binary;
use harness::stack::Stack;
use harness::wait;
use load::Load;
use sample::Sample;

/// How long the last outcomes may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pushes to a gateway of its own for a long time and watches its memory.
///
/// Wants the module, the store and the simulator built, the latter two best with --release: PRIVATENUMBER_MODULE,
/// PRIVATENUMBER_STORE and PRIVATENUMBER_SIM name them where they are not under target/.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many pushes, one CDR each
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pushes: u64,
    /// How many connections push at the same time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
    /// Envoy's worker threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(arguments: &Arguments) -> Result<()> {
    let envoy = envoy_binary::find(None, |what| eprintln!("{what}"))?;
    let stack = Stack::new(Directory::fresh("soak")?, envoy);
    let directory = stack.directory();
    let store = stack.store().start().await?;
    let business = stack.business("business").start().await?;
    let gateway = stack.gateway(store.address(), business.address());
    let gateway = gateway.change(Configuration::keep_connections).concurrency(arguments.workers).start().await?;

    let start = Instant::now();
    let mut load = Load::start(gateway.address(), arguments.pushes, arguments.connections)?;
    let tenth = (arguments.pushes / 10).max(1);
    let mut marks: Vec<_> = (1..=10).map(|index| index * tenth).chain([10_000]).collect();
    marks.retain(|mark| *mark < arguments.pushes);
    marks.sort_unstable();
    marks.dedup();
    let progress = Arc::clone(&load.answered);
    for mark in marks {
        load.reach(mark).await?;
        let done = progress.load(std::sync::atomic::Ordering::Relaxed);
        println!("{}", Sample::take("running", done, start.elapsed(), directory, &gateway).await?.to_json());
    }
    load.finish().await?;
    let elapsed = start.elapsed();
    wait::until("nothing to be pending", PATIENCE, async || {
        let pending = gateway.statistics().await?.filter("privatenumber_pending_calls");
        ensure!(pending == 0, "{pending} calls are pending");
        Ok(())
    })
    .await?;
    println!("{}", Sample::take("done", arguments.pushes, elapsed, directory, &gateway).await?.to_json());

    let counts = business.counts().await?;
    ensure!(counts.max_per_call == 1, "a call was called back {} times", counts.max_per_call);
    ensure!(counts.total == arguments.pushes, "{} callbacks for {} calls", counts.total, arguments.pushes);
    let traps = gateway.statistics().await?.sum_of(|name| name.contains("vm_reload"));
    ensure!(traps == 0, "a VM trapped");
    store.calls("state=pending").await.context("the store")?.is_empty().then_some(()).context("a call is pending")
}
