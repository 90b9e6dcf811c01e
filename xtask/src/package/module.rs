//! Building the module so that the same sources give the same bytes, wherever that is done.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build::{FILTER, WASM_TARGET};
use crate::command::{cargo, run, succeed};

/// The profile the module is shipped in, see the workspace's `Cargo.toml`.
const PROFILE: &str = "module";

/// A module and where it comes from.
pub struct Module {
    pub bytes: Vec<u8>,
    pub version: String,
    /// As git names it; `-dirty` is appended when what the module is made of was changed since, and without git it is `unknown`.
    pub commit: String,
    /// All that cargo knows of its dependencies for [`WASM_TARGET`].
    pub metadata: Value,
    /// The lock file, for the checksums of the crates.
    pub lock: String,
}

/// Builds the workspace in `sources`, with `target` as cargo's target directory.
///
/// # Errors
///
/// When it does not compile.
pub fn build(sources: &Path, target: &Path) -> Result<Module> {
    build_commit(sources, target, &commit(sources)?)
}

/// As [`build`], where git does not know which commit it is.
///
/// # Errors
///
/// When it does not compile.
pub fn build_commit(sources: &Path, target: &Path, commit: &str) -> Result<Module> {
    let manifest = sources.join("Cargo.toml");
    let mut command = cargo(["build", "--locked", "--profile", PROFILE, "--target", WASM_TARGET, "-p", FILTER]);
    command.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(target);
    // What a user's own settings would add is not part of the commit.
    for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", without_paths(sources)?);
    command.env("PRIVATENUMBER_COMMIT", commit).env("PRIVATENUMBER_PROFILE", PROFILE);
    succeed("package build", command)?;
    let path = target.join(WASM_TARGET).join(PROFILE).join("private_number_gateway.wasm");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let metadata = metadata(&manifest)?;
    let packages = metadata.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let filter = packages.iter().find(|package| package.get("name").and_then(Value::as_str) == Some(FILTER));
    let version = filter.and_then(|filter| filter.get("version")).and_then(Value::as_str);
    let version = version.context("cargo metadata knows no version of the filter")?.to_owned();
    let lock = sources.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let module = Module { bytes, version, commit: commit.to_owned(), metadata, lock };
    module.names_no_place(sources)?;
    Ok(module)
}

impl Module {
    /// Where it was built is nobody's business, and would make another module of it in another place.
    fn names_no_place(&self, sources: &Path) -> Result<()> {
        let places = [sources.to_owned(), cargo_home()?, sysroot()?];
        for place in places.iter().filter_map(|place| place.to_str()).filter(|place| place.len() > 1) {
            if self.bytes.windows(place.len()).any(|window| window == place.as_bytes()) {
                bail!("the module names the directory {place}, in which it was built");
            }
        }
        Ok(())
    }
}

/// Compiler flags, separated as cargo wants them, that replace every directory of this machine by a name that is the same
/// everywhere: they stand in the messages of panics.
fn without_paths(sources: &Path) -> Result<String> {
    let mut names = vec![(sources.to_owned(), "/private-number-gateway".to_owned())];
    let registries = cargo_home()?.join("registry").join("src");
    // One directory for each registry, named after its address: a mirror's differs.
    for entry in fs::read_dir(&registries).into_iter().flatten().flatten() {
        names.push((entry.path(), "/crates".to_owned()));
    }
    names.push((sysroot()?.join("lib/rustlib/src/rust"), format!("/rustc/{}", compiler_commit()?)));
    let flags = names.iter().map(|(path, name)| {
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok(format!("--remap-path-prefix={path}={name}"))
    });
    Ok(flags.collect::<Result<Vec<_>>>()?.join("\u{1f}"))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    Ok(env::home_dir().context("there is no home directory; set CARGO_HOME")?.join(".cargo"))
}

fn sysroot() -> Result<PathBuf> {
    Ok(rustc(&["--print", "sysroot"])?.trim().into())
}

fn compiler_commit() -> Result<String> {
    let said = rustc(&["-vV"])?;
    let commit = said.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    Ok(commit.context("rustc -vV names no commit-hash")?.to_owned())
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("rustc");
    command.args(arguments);
    let done = run("rustc", command)?;
    if !done.success {
        bail!("rustc {} failed:\n{}", arguments.join(" "), done.tail(20));
    }
    Ok(done.output)
}

fn metadata(manifest: &Path) -> Result<Value> {
    let mut command = cargo(["metadata", "--locked", "--format-version", "1", "--filter-platform", WASM_TARGET]);
    command.arg("--manifest-path").arg(manifest);
    let answer = command.output().context("cannot run cargo metadata")?;
    if !answer.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    serde_json::from_slice(&answer.stdout).context("cargo metadata's answer is not JSON")
}

/// Which commit `sources` are.
fn commit(sources: &Path) -> Result<String> {
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(sources).args(arguments).output();
    let head = match git(&["rev-parse", "HEAD"]) {
        Ok(head) if head.status.success() => head,
        // No git, or an archive of the sources.
        _ => return Ok("unknown".to_owned()),
    };
    let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    let inputs = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "src", "cdr", "contract"];
    let mut arguments = vec!["status", "--porcelain", "--"];
    arguments.extend(inputs);
    let status = git(&arguments).context("cannot run git status")?;
    if !status.status.success() {
        bail!("git status failed: {}", String::from_utf8_lossy(&status.stderr).trim());
    }
    Ok(if status.stdout.is_empty() { head } else { format!("{head}-dirty") })
}
