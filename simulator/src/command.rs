//! The command line: options in, library calls, text out.

mod business;
mod output;
mod progress;
mod push;
mod signals;

use std::convert::Infallible;
use std::process::ExitCode;

use clap::Parser;
use privatenumber_contract::Private;

/// Plays Huawei and the business around the Private Number Gateway: pushes signed call detail records to a gateway, and
/// takes, checks and counts the callbacks.
#[derive(Debug, Parser)]
#[command(name = "privatenumber-sim", version)]
pub enum Command {
    Push(Box<push::Options>),
    Business(business::Options),
}

/// How a command ended, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 0
    Good,
    /// 1
    Bad,
}

/// Runs the command; what keeps it from being run at all goes to stderr and gives exit code 2, as clap gives for wrong
/// usage.
pub async fn run(command: Command) -> ExitCode {
    let ended = match command {
        Command::Push(options) => push::run(*options).await,
        Command::Business(options) => business::run(options).await,
    };
    match ended {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            output::complain(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// The value of an environment variable that an option names.
fn environment(option: &str, name: &str) -> anyhow::Result<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) => anyhow::bail!("--{option} {name}: the environment variable is empty"),
        Err(_) => anyhow::bail!("--{option} {name}: there is no such environment variable; `export {name}=…` first"),
    }
}

/// Takes a secret from the command line as it is, so that no error of the parser shows it.
fn private(text: &str) -> Result<Private<String>, Infallible> {
    Ok(Private::from(text))
}

/// Reads a share on the command line.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a number from 0 to 1 belongs here".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}
