//! 0.1.0, built from the history: the benchmark compares today's filter with its, and tests run either beside the other.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use harness::products;

use crate::build::{FILTER, WASM_TARGET};
use crate::command::{cargo, run, succeed};

/// The commit that 0.1.0 is.
const COMMIT: &str = "6ba3f31";

/// What of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The module.
    Module,
    /// The module and the store.
    All,
}

/// Builds what is wanted, unless that is there already, and puts its `envoy.yaml` beside. Returns the directory of all; `None`
/// where the repository lacks that history.
///
/// # Errors
///
/// When it does not compile.
pub fn build(parts: Parts) -> Result<Option<PathBuf>> {
    let target = products::target_directory()?;
    let directory = target.join("v0.1.0");
    let mut git = Command::new("git");
    git.args(["cat-file", "-e", &format!("{COMMIT}^{{commit}}")]);
    if !run("find 0.1.0", git).is_ok_and(|done| done.success) {
        return Ok(None);
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let module = directory.join("target").join(WASM_TARGET).join("module/private_number_gateway.wasm");
    if !module.is_file() || !directory.join("envoy.yaml").is_file() {
        let archive = target.join("v0.1.0.tar");
        let mut git = Command::new("git");
        git.args(["archive", "--format", "tar", "--output"]).arg(&archive).arg(COMMIT);
        succeed("git archive of 0.1.0", git)?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&archive).arg("-C").arg(&directory);
        succeed("unpack 0.1.0", tar)?;
        let mut build = cargo(["build", "--locked", "--profile", "module", "--target", WASM_TARGET, "-p", FILTER]);
        build.arg("--manifest-path").arg(directory.join("Cargo.toml"));
        build.arg("--target-dir").arg(directory.join("target"));
        succeed("build the module of 0.1.0", build)?;
    }
    if parts == Parts::All && !directory.join("target/debug/privatenumber-store").is_file() {
        let mut build = cargo(["build", "--locked", "-p", "privatenumber-store"]);
        build.arg("--manifest-path").arg(directory.join("Cargo.toml"));
        build.arg("--target-dir").arg(directory.join("target"));
        succeed("build the store of 0.1.0", build)?;
    }
    Ok(Some(directory))
}
