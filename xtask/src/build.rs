//! Building what the stack is made of.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run, succeed};

/// What the module is compiled for.
pub const WASM_TARGET: &str = "wasm32-wasip1";
/// The package of the filter.
pub const FILTER: &str = "private-number-gateway";

/// Makes sure that Rust can compile for [`WASM_TARGET`].
///
/// # Errors
///
/// When the target is missing and cannot be added; with the remedy.
pub fn wasm_target() -> Result<()> {
    if has_wasm_target()? {
        return Ok(());
    }
    println!("adding Rust's target {WASM_TARGET}");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", WASM_TARGET]);
    let remedy = format!(
        "install Rust with rustup (https://rustup.rs) and run `rustup target add {WASM_TARGET}`, or add your \
         distribution's package of Rust's standard library for {WASM_TARGET}"
    );
    let added = run("rustup", rustup).with_context(|| format!("Rust has no target {WASM_TARGET}: {remedy}"))?;
    if !added.success || !has_wasm_target()? {
        bail!("rustup could not add {WASM_TARGET}: {remedy}. It said:\n{}", added.tail(20));
    }
    Ok(())
}

fn has_wasm_target() -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]);
    let answer = run("rustc", rustc)?;
    let sysroot = answer.output.lines().last().context("rustc names no sysroot")?.to_owned();
    Ok(Path::new(&sysroot).join("lib/rustlib").join(WASM_TARGET).join("lib").is_dir())
}

/// Downloads the crates, so that building needs no network.
///
/// # Errors
///
/// When cargo cannot.
pub fn fetch_crates() -> Result<()> {
    succeed("cargo fetch", cargo(["fetch", "--locked"]))
}

/// Builds the module as it is shipped.
///
/// # Errors
///
/// When it does not compile.
pub fn module() -> Result<()> {
    succeed("build module", cargo(["build", "--profile", "module", "--target", WASM_TARGET, "-p", FILTER]))
}

/// Builds the store and the simulator.
///
/// # Errors
///
/// When they do not compile.
pub fn programs() -> Result<()> {
    succeed("build store and simulator", cargo(["build", "-p", "privatenumber-store", "-p", "privatenumber-sim"]))
}
