//! `privatenumber-sim`: see `privatenumber-sim --help`.

mod command;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    command::run(command::Command::parse()).await
}
