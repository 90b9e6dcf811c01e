//! The store on a file system that is full, which must be mounted first.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use harness::products;

use super::report::{Report, Tests};
use super::run_tests;
use crate::command::cargo;

const NAME: &str = "store on a full disk";

/// Mounts a file system of 16 MB on `$0` and becomes `$@`.
const WITH_SMALL_DISK: &str = r#"mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@""#;

/// Where the tests are that must not run without: they are marked as ignored.
pub const MODULE: &str = "full_disk::";

/// Runs the tests in a mount namespace of their own, where the system lets a user have one.
pub fn story(report: &mut Report, filter: Option<&str>) {
    let directory = match directory() {
        Ok(directory) => directory,
        Err(error) => return report.fail(NAME, &format!("not run: {error:#}")),
    };
    match inside(&directory, "true").stdin(Stdio::null()).output() {
        Ok(tried) if tried.status.success() => report.tests(NAME, || run(&directory, filter)),
        _ => report.skip(NAME, "this system lets no user mount a file system (unshare --map-root-user --mount)"),
    }
}

/// Where the file system is mounted.
fn directory() -> Result<PathBuf> {
    let directory = products::target_directory()?.join("small-disk");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// `program` where `directory` is a file system of its own, which ends with it.
fn inside(directory: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", WITH_SMALL_DISK]).arg(directory).arg(program);
    command
}

fn run(directory: &Path, filter: Option<&str>) -> Result<Tests> {
    let mut test = cargo(["test", "-p", "privatenumber-store", "--test", "store"]);
    test.args(filter).args(["--", "--ignored"]);
    let mut command = inside(directory, test.get_program());
    command.args(test.get_args()).envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PRIVATENUMBER_SMALL_DISK", directory);
    run_tests(NAME, command)
}
