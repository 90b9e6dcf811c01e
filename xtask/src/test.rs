//! `cargo xtask test`: every check there is, one line each.

mod containers;
mod full_disk;
mod panicking_helpers;
pub mod report;
mod versions;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use harness::containers::Engine;
use harness::{envoy_binary, products};

use self::report::{Report, Tests};
use crate::build::{self, FILTER, WASM_TARGET};
use crate::command::{cargo, run as run_command, succeed};
use crate::instructions;
use crate::long_runs;
use crate::package;

/// The largest module that is shipped: every worker of Envoy compiles it at start.
pub const LARGEST_MODULE: u64 = 700 * 1024;

/// The checks that hold no tests; with a filter they are left out.
const STATIC_CHECKS: [&str; 6] =
    ["format", "clippy", "clippy for wasm", "no panicking helpers", "cargo deny", "module size"];

/// The checks of what is shipped.
const PACKAGING: [&str; 2] = ["package", "package is reproducible"];

/// The long runs, cut short.
const INSTRUCTIONS: &str = "instructions of the core";
const SIMULATION: &str = "simulation of 2000 seeds";
const CHAOS: &str = "chaos among real processes";

/// Runs all checks, or with `filter` the tests it selects, and says how many passed.
pub fn run(versions: &[String], compose: bool, filter: Option<&str>) -> ExitCode {
    // Said now, not after the minutes that everything else takes.
    if let (true, Err(error)) = (compose, Engine::find()) {
        eprintln!("error: --compose cannot be done here: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    report.check("wasm target", build::wasm_target);
    match filter {
        None => static_checks(&mut report),
        Some(_) => STATIC_CHECKS.iter().for_each(|name| report.skip(name, "a filter was given")),
    }
    report.tests("unit, store and simulator tests", || {
        tests("unit tests", &["--workspace", "--exclude", "end-to-end"], filter, None, &["--skip", full_disk::MODULE])
    });
    full_disk::story(&mut report, filter);
    let built = report.check("build module", build::module);
    if filter.is_none() && built {
        report.check("module size", module_size);
    }
    let built = report.check("build store and simulator", build::programs) && built;
    if filter.is_none() {
        packaging(&mut report, versions);
    } else {
        PACKAGING.iter().for_each(|name| report.skip(name, "a filter was given"));
    }
    end_to_end(&mut report, &all(versions), filter, built);
    versions::stories(&mut report, filter, built);
    containers::stories(&mut report, compose, filter);
    if filter.is_none() {
        instruction_counts(&mut report);
        report.check(SIMULATION, long_runs::simulation_check);
        report.check(CHAOS, long_runs::chaos_check);
    } else {
        [INSTRUCTIONS, SIMULATION, CHAOS].iter().for_each(|name| report.skip(name, "a filter was given"));
    }
    if filter.is_some() {
        report.fail_if_no_tests("no test has a name like this filter");
    }
    report.finish()
}

fn static_checks(report: &mut Report) {
    report.check("format", || succeed("format", cargo(["fmt", "--all", "--check", "--", "--color", "never"])));
    report.check("clippy", || {
        succeed("clippy", cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    report.check("clippy for wasm", || {
        succeed("clippy for wasm", cargo(["clippy", "--target", WASM_TARGET, "-p", FILTER, "--", "-D", "warnings"]))
    });
    report.check("no panicking helpers", panicking_helpers::check);
    if has_cargo_deny() {
        report.check("cargo deny", || succeed("cargo deny", cargo(["deny", "--workspace", "check"])));
    } else {
        report.skip("cargo deny", "not installed; `cargo install --locked cargo-deny` adds it");
    }
}

/// Whether a push costs more instructions than is recorded.
fn instruction_counts(report: &mut Report) {
    match instructions::reason_to_skip() {
        Ok(Some(reason)) => report.skip(INSTRUCTIONS, &reason),
        Ok(None) => {
            let mut cheaper = Vec::new();
            report.check(INSTRUCTIONS, || {
                cheaper = instructions::check()?;
                Ok(())
            });
            for line in cheaper {
                println!("{line}: worth recording, `cargo xtask bench --record-instructions`");
            }
        }
        Err(error) => report.fail(INSTRUCTIONS, &format!("{error:#}")),
    }
}

/// Makes the package and loads it as a mesh would; then makes its module a second time.
fn packaging(report: &mut Report, versions: &[String]) {
    let [load, again] = PACKAGING;
    let mut made = None;
    report.check(load, || {
        let package = package::make()?;
        let version = all(versions).into_iter().next();
        let version =
            version.or_else(|| std::env::var(envoy_binary::VERSION_VARIABLE).ok().filter(|text| !text.is_empty()));
        package.loads(&envoy_binary::find(version.as_deref(), |what| println!("{what}"))?)?;
        made = Some(package);
        Ok(())
    });
    match made {
        Some(package) => drop(report.check(again, || package.is_reproducible())),
        None => report.fail(again, "not run, because there is no package"),
    }
}

/// The versions of Envoy that are asked for, `all` told apart.
fn all(versions: &[String]) -> Vec<String> {
    let mut asked: Vec<String> = Vec::new();
    for version in versions {
        let meant =
            if version == "all" { envoy_binary::SUPPORTED.map(str::to_owned).to_vec() } else { vec![version.clone()] };
        asked.extend(meant);
    }
    asked.dedup();
    asked
}

fn has_cargo_deny() -> bool {
    let mut deny: Command = cargo(["deny", "--version"]);
    deny.output().is_ok_and(|answer| answer.status.success())
}

fn module_size() -> Result<()> {
    let path = products::module()?;
    let size = fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?.len();
    if size > LARGEST_MODULE {
        bail!("{} has {size} bytes, more than {LARGEST_MODULE}", path.display());
    }
    Ok(())
}

fn end_to_end(report: &mut Report, versions: &[String], filter: Option<&str>, built: bool) {
    let chosen: Vec<_> = if versions.is_empty() { vec![None] } else { versions.iter().map(Some).collect() };
    for version in chosen {
        let name =
            version.map_or("end-to-end tests".to_owned(), |version| format!("end-to-end tests on Envoy {version}"));
        if !built {
            report.fail(&name, "not run, because what they test was not built");
            continue;
        }
        let version = version.map(String::as_str);
        let asked = std::env::var(envoy_binary::VERSION_VARIABLE).ok().filter(|version| !version.is_empty());
        let envoy = match envoy_binary::find(version.or(asked.as_deref()), |what| println!("{what}")) {
            Ok(envoy) => envoy,
            Err(error) => {
                report.fail(&name, &format!("not run, because there is no Envoy: {error:#}"));
                continue;
            }
        };
        report.tests(&format!("{name} ({})", envoy.version), || {
            tests(&name, &["-p", "end-to-end"], filter, Some(&envoy.version), &[])
        });
    }
}

/// Runs `cargo test`, with `more` for the test programs themselves.
fn tests(name: &str, packages: &[&str], filter: Option<&str>, envoy: Option<&str>, more: &[&str]) -> Result<Tests> {
    let mut command = cargo(["test", "--no-fail-fast"]);
    command.args(packages).args(filter).arg("--").args(more);
    if let Some(version) = envoy {
        command.env(envoy_binary::VERSION_VARIABLE, version);
    }
    run_tests(name, command)
}

/// Runs test programs and reads from their output how many tests there were.
fn run_tests(name: &str, command: Command) -> Result<Tests> {
    let done = run_command(name, command)?;
    let mut tests = Tests::read(&done.output);
    if !done.success {
        tests.told_by(&done);
    }
    Ok(tests)
}
