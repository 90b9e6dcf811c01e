//! What arms hold and what they take to start.

use std::time::Duration;

use anyhow::Result;
use harness::envoy_binary::EnvoyBinary;
use tokio::time::Instant;

use crate::arm::{Arm, Running};
use crate::cores::Used;
use crate::load::{self, Pace};
use crate::sinks::Sinks;
use crate::table::{Table, number};
use crate::targets::Report;

/// Workers an arm is started with.
const WORKERS: [u32; 3] = [1, 2, 4];
/// Callbacks that are to be under way at the same time.
const IN_FLIGHT: u64 = 10_000;
/// How long the business takes while they are gathered.
const HELD: Duration = Duration::from_secs(20);

const MIB: f64 = 1024.0 * 1024.0;

/// Starts every arm anew with 1, 2 and 4 workers and loads it for a while; then fills the filter with callbacks under way.
///
/// # Errors
///
/// When an arm fails.
pub async fn measure(envoy: &EnvoyBinary, sinks: &Sinks, arms: &[Arm], report: &mut Report) -> Result<()> {
    let columns = ["", "1 worker", "2 workers", "4 workers", "for one more worker", "CPU ms to start, 1", "4"];
    let mut table = Table::new("Resident memory after load, MiB", &columns);
    sinks.behave(Duration::ZERO, 1);
    for &arm in arms {
        let (mut resident, mut to_start) = (Vec::new(), Vec::new());
        for workers in WORKERS {
            let mut running = Running::start(arm, envoy, sinks, workers).await?;
            to_start.push(running.at_ready.cpu.as_secs_f64() * 1e3);
            load::saturate(&mut running, sinks, 1, Duration::from_secs(2)).await?;
            resident.push(running.used()?.resident as f64 / MIB);
            eprintln!("memory, {workers} workers: {arm:?}: {:.1} MiB", resident.last().copied().unwrap_or_default());
        }
        let (first, last) = (resident.first().copied().unwrap_or(0.0), resident.last().copied().unwrap_or(0.0));
        let one_more = (last - first) / 3.0;
        report.note(arm, "one more worker", vec![one_more]);
        let starts = [to_start.first(), to_start.last()].map(|start| number(start.copied().unwrap_or(0.0)));
        let cells = resident.iter().map(|value| number(*value)).chain([number(one_more)]).chain(starts);
        table.row([arm.title().to_owned()].into_iter().chain(cells));
    }
    report.table(table);
    in_flight(envoy, sinks, report).await
}

async fn in_flight(envoy: &EnvoyBinary, sinks: &Sinks, report: &mut Report) -> Result<()> {
    let mut running = Running::start(Arm::Filter, envoy, sinks, 1).await?;
    sinks.behave(Duration::ZERO, 1);
    load::saturate(&mut running, sinks, 1, Duration::from_secs(2)).await?;
    let before = running.used()?.resident as f64 / MIB;
    sinks.behave(HELD, 1);
    let pids = running.pids();
    let watching = async {
        let patience = Instant::now() + HELD * 2;
        while sinks.most_callbacks_open() < IN_FLIGHT * 9 / 10 && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Used::by(&pids).map(|used| used.resident as f64 / MIB)
    };
    // Fifty calls a push, over half of the time that a callback takes.
    let gathering = HELD / 2;
    let rate = IN_FLIGHT as f64 / 50.0 / gathering.as_secs_f64();
    let pace = Pace { size: 50, rate, ramp: Duration::ZERO, duration: gathering, most_open: u64::MAX };
    let pushing = load::at_rate(&mut running, sinks, pace);
    let (pushed, most) = tokio::join!(pushing, watching);
    let (calls, most) = (pushed?.done.pushes * 50, most?);
    let open = sinks.most_callbacks_open();
    eprintln!("memory: {open} callbacks of {calls} calls under way: {most:.1} MiB");
    sinks.behave(Duration::ZERO, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = running.used()?.resident as f64 / MIB;
    let each = (most - before) * 1024.0 / open.max(1) as f64;
    let columns = ["callbacks under way", "before", "with them", "KiB a callback", "when they are over"];
    let mut table = Table::new("Resident memory of the filter with callbacks under way, MiB", &columns);
    table.row([open.to_string()].into_iter().chain([before, most, each, after].map(number)));
    report.table(table);
    Ok(())
}
