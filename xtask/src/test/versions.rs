//! This version beside the one before it.

use harness::before::DIRECTORY;

use super::report::Report;
use super::run_tests;
use crate::before;
use crate::command::cargo;

const NAME: &str = "beside 0.1.0";

/// Builds 0.1.0 and runs the stories of both versions, where the history is there.
pub fn stories(report: &mut Report, filter: Option<&str>, built: bool) {
    if !built {
        return report.fail(NAME, "not run, because what it tests was not built");
    }
    match before::build(before::Parts::All) {
        Ok(Some(directory)) => report.tests(NAME, || {
            let mut command = cargo(["test", "-p", "end-to-end", "--test", "versions"]);
            command.args(filter).env(DIRECTORY, directory);
            run_tests(NAME, command)
        }),
        Ok(None) => report.skip(NAME, "this clone lacks the history of 0.1.0; `git fetch --unshallow` brings it"),
        Err(error) => report.fail(NAME, &format!("not run: {error:#}")),
    }
}
