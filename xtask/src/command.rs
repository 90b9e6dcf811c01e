//! Running a command so that its output is there when it is needed, and out of the way when it is not.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use harness::products;

/// What a command did.
pub struct Done {
    /// Whether it says it succeeded.
    pub success: bool,
    /// All it printed, both streams in their order.
    pub output: String,
    /// Where that is kept.
    pub log: PathBuf,
}

impl Done {
    /// The last lines of the output, and where all of it is.
    pub fn tail(&self, lines: usize) -> String {
        let all: Vec<_> = self.output.lines().collect();
        let from = all.len().saturating_sub(lines);
        let shown = all.get(from..).unwrap_or_default().join("\n");
        format!("{shown}\n(all of it: {})", self.log.display())
    }
}

/// `cargo` with these arguments, to be run in the repository.
pub fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What is kept is read as text.
    command.args(arguments).env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs `command` in the repository's root and waits for its end; its output goes to a log called `name`.
///
/// # Errors
///
/// When it cannot be run. That it failed is no error here.
pub fn run(name: &str, mut command: Command) -> Result<Done> {
    let directory = products::target_directory()?.join("xtask");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let log = directory.join(format!("{}.log", name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    command.current_dir(products::repository()).stdin(Stdio::null()).stdout(file).stderr(copy);
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(Done { success: status.success(), output: String::from_utf8_lossy(&output).into_owned(), log })
}

/// As [`run`], where failure is an error that shows the end of the output.
///
/// # Errors
///
/// When it cannot be run or fails.
pub fn succeed(name: &str, command: Command) -> Result<()> {
    let done = run(name, command)?;
    if !done.success {
        bail!("{name} failed:\n{}", done.tail(60));
    }
    Ok(())
}
