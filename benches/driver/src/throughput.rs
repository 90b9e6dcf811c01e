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

/// How each line begins that a figure is read from.
const LINE: &str = "throughput: ";
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
    let mut runs: BTreeMap<String, Vec<Throughput>> = BTreeMap::new();
    for _ in 0..rounds.min(RUNS) {
        let output = {
            let _pinned = cores::Pinned::to_both()?;
            let mut command = Command::new(&program);
            command.args([PUSHES, AT_A_TIME]).arg(directory.path()).kill_on_drop(true);
            command.output().await.with_context(|| format!("cannot run {}", program.display()))?
        };
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "throughput failed: {}", String::from_utf8_lossy(&output.stderr));
        for (way, throughput) in text.lines().filter_map(read) {
            eprintln!("store, {way}: {:.0} pushes/s, {:.1} µs", throughput.pushes_per_second, throughput.cpu_per_push);
            runs.entry(way.to_owned()).or_default().push(throughput);
        }
    }
    let mut table = Table::new("The store alone, one CDR a push", &["", "pushes/s", "CPU µs a push"]);
    for (way, runs) in runs {
        let middle = |value: fn(&Throughput) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
        let throughput = Throughput {
            pushes_per_second: middle(|run| run.pushes_per_second),
            cpu_per_push: middle(|run| run.cpu_per_push),
        };
        table.row([way.clone(), number(throughput.pushes_per_second), number(throughput.cpu_per_push)]);
        report.note_throughput(way, throughput);
    }
    report.table(table);
    Ok(())
}

/// Reads `throughput: WAY pushes_per_second=NUMBER cpu_us_per_push=NUMBER`.
fn read(line: &str) -> Option<(&str, Throughput)> {
    let mut words = line.strip_prefix(LINE)?.split_ascii_whitespace();
    let way = words.next()?;
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    Some((way, Throughput { pushes_per_second: value("pushes_per_second")?, cpu_per_push: value("cpu_us_per_push")? }))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_line_of_the_store_is_read() {
        let (way, throughput) =
            read("throughput: http-batches-16 pushes_per_second=12345.6 cpu_us_per_push=70.5").unwrap();
        assert_eq!((way, throughput.pushes_per_second, throughput.cpu_per_push), ("http-batches-16", 12345.6, 70.5));
        assert!(read("100000 pushes, 256 at a time: 6200 pushes/s, slowest 80.1 ms").is_none());
    }
}
