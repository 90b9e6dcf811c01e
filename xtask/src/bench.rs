//! The benchmark: builds what is compared, has it measured, and writes the tables into the documentation.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use harness::products;

use crate::before;
use crate::build;
use crate::command::{cargo, succeed};
use crate::core_times::{self, Time};
use crate::instructions::{self, Case, Count};

/// Where the tables are written to, from the repository's root.
const DOCUMENT: &str = "docs/performance.md";
/// What is around the tables there.
const MARKS: [&str; 2] = ["<!-- tables: begin -->\n", "<!-- tables: end -->\n"];

/// Builds and measures everything. `options` go to the measurements side by side; with any of them that is
/// all that is measured, and it is only printed.
///
/// # Errors
///
/// When something cannot be built or measured, or an arm does not do the job.
pub fn run(print_only: bool, options: &[String]) -> Result<ExitCode> {
    if !options.is_empty() {
        println!("{}", side_by_side(options)?);
        return Ok(ExitCode::SUCCESS);
    }
    let tables = [side_by_side(options)?, core()?].join("\n");
    println!("{tables}");
    if !print_only {
        write(&tables)?;
        println!("written to {DOCUMENT}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts instructions anew and records them.
///
/// # Errors
///
/// See [`instructions::record`].
pub fn record_instructions() -> Result<()> {
    instructions::record()?.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn side_by_side(options: &[String]) -> Result<String> {
    eprintln!("building the module, the peers and the driver (some minutes the first time)");
    build::wasm_target()?;
    build::module()?;
    succeed("build the Rust peer", cargo(["build", "--profile", "peer", "-p", "peer-service"]))?;
    let driver = ["build", "--release", "-p", "bench", "-p", "privatenumber-store"];
    succeed("build the driver and the store", cargo(driver))?;
    let throughput = ["build", "--release", "-p", "privatenumber-store", "--example", "throughput"];
    succeed("build the store's throughput example", cargo(throughput))?;
    let release = products::target_directory()?.join("release");
    let mut driver = Command::new(release.join("bench"));
    driver.args(options).current_dir(products::repository());
    driver.env("PRIVATENUMBER_STORE", release.join("privatenumber-store"));
    if wants(options, "node") {
        driver.env("PRIVATENUMBER_NODE_PEER", node_peer()?);
    }
    if wants(options, "filter-before")
        && let Some(directory) = before::build(before::Parts::Module)?
    {
        driver.env("PRIVATENUMBER_BEFORE", directory);
    }
    // Its tables are kept, its progress is seen.
    let done = driver.stderr(Stdio::inherit()).output().context("cannot run the driver")?;
    ensure!(done.status.success(), "the driver said why above");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether `options` leave the arm `name` in.
fn wants(options: &[String], name: &str) -> bool {
    let mut values = options.iter().skip(1);
    let given = options.iter().find_map(|option| {
        let next = values.next();
        match option.strip_prefix("--arms")? {
            "" => next.map(String::as_str),
            value => value.strip_prefix('='),
        }
    });
    given.is_none_or(|arms| arms.split(',').any(|arm| arm == name))
}

/// The Node service with its dependencies, in a place of its own: nothing is installed into the sources.
fn node_peer() -> Result<PathBuf> {
    let (from, to) =
        (products::repository().join("benches/peers/node"), products::target_directory()?.join("peer-node"));
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).context("cannot copy the Node service")?;
        }
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--prefix"]).arg(&to);
    succeed("npm ci", npm)
        .context("the Node service needs Node 20.18.1 or later and npm; `-- --arms …` leaves it out")?;
    Ok(to)
}

fn core() -> Result<String> {
    eprintln!("measuring the filter's core");
    let counts = instructions::measure()?;
    let times = core_times::times()?;
    let mut text = String::from(
        "### The filter's core, by CDRs in a push\n\n\
         | part | CDRs | instructions a push | µs a push, native | µs a push, V8 |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for Count { case: Case { name, size }, instructions } in &counts {
        let time = times.iter().find(|time| time.case.name == *name && time.case.size == *size);
        let native = time.map_or_else(|| "–".to_owned(), |Time { native, .. }| format!("{native:.2}"));
        let v8 = time.and_then(|time| time.v8).map_or_else(|| "–".to_owned(), |v8| format!("{v8:.2}"));
        let _ = writeln!(text, "| `{name}` | {size} | {instructions} | {native} | {v8} |");
    }
    Ok(text)
}

fn write(tables: &str) -> Result<()> {
    let path = products::repository().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let [begin, end] = MARKS;
    let Some((before, rest)) = text.split_once(begin) else { bail!("{DOCUMENT} has no line {begin}") };
    let Some((_, after)) = rest.split_once(end) else { bail!("{DOCUMENT} has no line {end}") };
    fs::write(&path, format!("{before}{begin}\n{tables}\n{end}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
