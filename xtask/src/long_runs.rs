//! Runs that take as long as one likes: their programs decide what they do, this builds what they need.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use harness::products;

use crate::build;
use crate::command::{cargo, succeed};

/// The simulation's seeds in `cargo xtask test`.
const SEEDS: &str = "2000";

/// Runs the simulation with these arguments, its output where it can be seen.
pub fn simulate(arguments: &[String]) -> Result<ExitCode> {
    shown(cargo(["run", "--quiet", "--release", "-p", "simulation", "--"]), arguments)
}

/// Runs `program` of the end-to-end package, in release as all it starts, with these arguments.
pub fn end_to_end(program: &str, arguments: &[String]) -> Result<ExitCode> {
    println!("building the module, the store and the simulator (some minutes the first time)");
    build::wasm_target()?;
    build::module()?;
    let programs = ["build", "--release", "-p", "privatenumber-store", "-p", "privatenumber-sim"];
    succeed("build store and simulator", cargo(programs))?;
    let built = products::target_directory()?.join("release");
    let mut command = cargo(["run", "--quiet", "--release", "-p", "end-to-end", "--bin", program, "--"]);
    command.env("PRIVATENUMBER_STORE", built.join("privatenumber-store"));
    command.env("PRIVATENUMBER_SIM", built.join("privatenumber-sim"));
    shown(command, arguments)
}

/// The simulation's part in `cargo xtask test`: some thousand seeds.
pub fn simulation_check() -> Result<()> {
    succeed("simulation", cargo(["run", "--quiet", "--release", "-p", "simulation", "--", "--seeds", SEEDS]))
}

/// The chaos run's part in `cargo xtask test`: about two minutes.
pub fn chaos_check() -> Result<()> {
    succeed("chaos", cargo(["run", "--quiet", "-p", "end-to-end", "--bin", "chaos", "--", "--quick"]))
}

fn shown(mut command: Command, arguments: &[String]) -> Result<ExitCode> {
    let program = command.get_program().display().to_string();
    let status = command.args(arguments).current_dir(products::repository()).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
