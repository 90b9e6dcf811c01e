//! The store alone: how many pushes it commits durably, in its own process and over HTTP.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use harness::directory::Directory;
use harness::products;
use tokio::process::Command;

use crate::cores;
use crate::median::median;
use crate::table::{Table, number};
use crate::targets::{Report, Throughput};

/// The ways of the example: what the report calls it, and its first argument where it has one.
const WAYS: [(&str, Option<&str>); 2] = [("in-process", None), ("http-batches-16", Some("http"))];
/// Pushes in one run.
const PUSHES: &str = "100000";
/// How many of them are under way at a time.
const AT_A_TIME: &str = "256";
/// Runs, of which the median counts; fewer where there are fewer rounds.
const RUNS: u32 = 3;

/// Runs the store's own example `throughput` on both cores, its file in the target directory.
///
/// # Errors
///
/// When it is not built or fails.
pub async fn measure(rounds: u32, report: &mut Report) -> Result<()> {
    let directory = Directory::fresh("bench-throughput")?;
    let program = products::target_directory()?.join("release/examples/throughput");
    let mut runs: BTreeMap<&str, Vec<Throughput>> = BTreeMap::new();
    for _ in 0..rounds.min(RUNS) {
        for (way, mode) in WAYS {
            let output = {
                let _pinned = cores::Pinned::to_both()?;
                let mut command = Command::new(&program);
                command.args(mode).args([PUSHES, AT_A_TIME]).arg(directory.path()).kill_on_drop(true);
                command.output().await.with_context(|| format!("cannot run {}", program.display()))?
            };
            let text = String::from_utf8_lossy(&output.stdout);
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "throughput, {way}, failed: {error}");
            let throughput = text.lines().find_map(read);
            let throughput = throughput.with_context(|| format!("throughput, {way}, printed no figures: {text}"))?;
            eprintln!("store, {way}: {:.0} pushes/s, {:.1} µs", throughput.pushes_per_second, throughput.cpu_per_push);
            runs.entry(way).or_default().push(throughput);
        }
    }
    let mut table = Table::new("The store alone, one CDR a push", &["", "pushes/s", "CPU µs a push"]);
    for (way, runs) in runs {
        let middle = |value: fn(&Throughput) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
        let throughput = Throughput {
            pushes_per_second: middle(|run| run.pushes_per_second),
            cpu_per_push: middle(|run| run.cpu_per_push),
        };
        table.row([way.to_owned(), number(throughput.pushes_per_second), number(throughput.cpu_per_push)]);
        report.note_throughput(way.to_owned(), throughput);
    }
    report.table(table);
    Ok(())
}

/// Reads `PUSHES pushes, NUMBER at a time: NUMBER pushes/s, NUMBER µs CPU a push, …`.
fn read(line: &str) -> Option<Throughput> {
    let (_, figures) = line.split_once(" at a time: ")?;
    let mut figures = figures.split(", ");
    let pushes_per_second = figures.next()?.strip_suffix(" pushes/s")?.parse().ok()?;
    let cpu_per_push = figures.next()?.strip_suffix(" µs CPU a push")?.parse().ok()?;
    Some(Throughput { pushes_per_second, cpu_per_push })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_line_of_the_store_is_read() {
        let line = "100000 pushes, 256 at a time: 29412 pushes/s, 26.3 µs CPU a push, slowest 80.1 ms";
        let throughput = read(line).unwrap();
        assert_eq!((throughput.pushes_per_second, throughput.cpu_per_push), (29412.0, 26.3));
        assert!(read("privatenumber_store_group_size_sum 100000").is_none());
    }
}
