//! What passed, what failed, what was skipped, and the one line that says so.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::command::Done;

/// What a run of `cargo test` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tests {
    passed: u64,
    failed: u64,
    /// By name.
    ignored: Vec<String>,
    /// The end of the output, where something went wrong.
    trouble: Option<String>,
}

impl Tests {
    /// Adds up the result lines of all test programs in `output`.
    pub fn read(output: &str) -> Self {
        let mut tests = Self::default();
        for line in output.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                tests.passed += count(result, "passed");
                tests.failed += count(result, "failed");
            } else if let Some((name, _)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ignored"))
            {
                tests.ignored.push(name.to_owned());
            }
        }
        tests
    }

    /// How many passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether there were tests and none of them failed.
    pub fn all_passed(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }

    /// The end of the output, where something went wrong.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored.extend(other.ignored);
        let troubles = [self.trouble.take(), other.trouble];
        let troubles: Vec<_> = troubles.into_iter().flatten().collect();
        self.trouble = (!troubles.is_empty()).then(|| troubles.join("\n"));
    }

    /// The run as a whole failed: keeps what it said, and counts at least one failure.
    pub fn told_by(&mut self, done: &Done) {
        self.failed = self.failed.max(1);
        self.trouble = Some(match failures(&done.output) {
            // It did not get as far as to run tests.
            None => done.tail(60),
            Some(failures) => format!("{failures}\n(all of it: {})", done.log.display()),
        });
    }
}

/// What the test programs say under `failures:`.
fn failures(output: &str) -> Option<String> {
    let mut inside = false;
    let lines = output.lines().filter(|line| {
        inside = (inside || *line == "failures:") && !line.starts_with("test result: ");
        inside
    });
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// From `ok. 12 passed; 0 failed; 1 ignored; …`.
fn count(result: &str, what: &str) -> u64 {
    let before = result.split(&format!(" {what}")).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// All results so far.
#[derive(Debug, Default)]
pub struct Report {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    tests: u64,
}

impl Report {
    /// Runs a check that holds no tests; it counts as one. Returns whether it passed.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        let started = start(name);
        match check() {
            Ok(()) => {
                println!("ok ({:.1} s)", started.elapsed().as_secs_f32());
                self.passed += 1;
                true
            }
            Err(error) => {
                println!("FAILED ({:.1} s)\n{error:#}", started.elapsed().as_secs_f32());
                self.failed += 1;
                false
            }
        }
    }

    /// Runs tests and counts each.
    pub fn tests(&mut self, name: &str, run: impl FnOnce() -> Result<Tests>) {
        let started = start(name);
        let tests =
            run().unwrap_or_else(|error| Tests { failed: 1, trouble: Some(format!("{error:#}")), ..Tests::default() });
        let word = if tests.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "{word}: {} passed, {} failed, {} ignored ({:.1} s)",
            tests.passed,
            tests.failed,
            tests.ignored.len(),
            started.elapsed().as_secs_f32()
        );
        if let Some(trouble) = tests.trouble {
            println!("{trouble}");
        }
        self.passed += tests.passed;
        self.failed += tests.failed;
        self.tests += tests.passed + tests.failed;
        self.skipped.extend(tests.ignored);
    }

    /// Says that something was left out, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("{name} ... skipped: {why}");
        self.skipped.push(format!("{name} ({why})"));
    }

    /// Says that something failed before it began.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name} ... FAILED: {why}");
        self.failed += 1;
    }

    /// A run that ran no tests shows nothing.
    pub fn fail_if_no_tests(&mut self, why: &str) {
        if self.tests == 0 {
            self.fail("tests", why);
        }
    }

    /// The last lines, and the exit code.
    pub fn finish(self) -> ExitCode {
        if !self.skipped.is_empty() {
            println!("skipped: {}", self.skipped.join(", "));
        }
        println!("test: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len());
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Says what begins, on a line that its end completes.
pub fn start(name: &str) -> Instant {
    print!("{name} ... ");
    let _ = std::io::stdout().flush();
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{Tests, failures};

    #[test]
    fn the_results_of_several_test_programs_are_added_up() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... ignored, needs a disk\n\
            test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.31s\n\
            test c ... FAILED\n\
            test result: FAILED. 11 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        let tests = Tests::read(output);
        assert_eq!((tests.passed, tests.failed, tests.ignored.as_slice()), (12, 2, &["b".to_owned()][..]));
        assert_eq!(Tests::read("error: could not compile"), Tests::default());
    }

    #[test]
    fn of_a_failed_run_only_the_failures_are_shown() {
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nno\n\nfailures:\n    b\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored\ntest c ... ok\n";
        assert_eq!(failures(output).unwrap(), "failures:\n\n---- b stdout ----\nno\n\nfailures:\n    b\n");
        assert_eq!(failures("error: could not compile"), None);
    }
}
