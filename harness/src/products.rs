//! Where the things under test are: the module, the store, the simulator.
//!
//! Cargo builds them, see `cargo xtask`; nothing is built here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target directory: `$CARGO_TARGET_DIR`, or what `cargo metadata` says.
///
/// # Errors
///
/// When cargo cannot be asked.
pub fn target_directory() -> Result<PathBuf> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = DIRECTORY.get() {
        return Ok(known.clone());
    }
    let found = match env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(directory) => repository().join(directory),
        None => ask_cargo()?,
    };
    Ok(DIRECTORY.get_or_init(|| found).clone())
}

fn ask_cargo() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .context("cannot run cargo to ask for the target directory; set CARGO_TARGET_DIR")?;
    if !answer.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).context("`cargo metadata` is not JSON")?;
    let directory = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(directory.context("`cargo metadata` names no target_directory")?.into())
}

/// The module Envoy loads: `$PRIVATENUMBER_MODULE`, or where `cargo xtask` builds it.
///
/// # Errors
///
/// When it is not there.
pub fn module() -> Result<PathBuf> {
    product("PRIVATENUMBER_MODULE", Path::new("wasm32-wasip1/module/private_number_gateway.wasm"))
}

/// The store: `$PRIVATENUMBER_STORE`, or where `cargo xtask` builds it.
///
/// # Errors
///
/// When it is not there.
pub fn store() -> Result<PathBuf> {
    product("PRIVATENUMBER_STORE", &Path::new("debug").join(program("privatenumber-store")))
}

/// The simulator: `$PRIVATENUMBER_SIM`, or where `cargo xtask` builds it.
///
/// # Errors
///
/// When it is not there.
pub fn simulator() -> Result<PathBuf> {
    product("PRIVATENUMBER_SIM", &Path::new("debug").join(program("privatenumber-sim")))
}

fn program(name: &str) -> String {
    format!("{name}{}", env::consts::EXE_SUFFIX)
}

fn product(variable: &str, built: &Path) -> Result<PathBuf> {
    if let Some(given) = env::var_os(variable).filter(|value| !value.is_empty()) {
        let path = repository().join(given);
        if !path.is_file() {
            bail!("{variable} names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let path = target_directory()?.join(built);
    if !path.is_file() {
        bail!("{} is not built: run `cargo xtask test`, or set {variable}", path.display());
    }
    Ok(path)
}
