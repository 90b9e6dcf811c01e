//! A second build of the same sources in another place must give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use harness::directory::Directory;
use harness::products;

use super::digest;
use super::module::{self, Module};

/// Copies the sources, builds them with a target directory of their own, and compares.
///
/// # Errors
///
/// When git does not know which files are sources, the copy does not compile, or the bytes differ.
pub fn check(first: &Module) -> Result<()> {
    let elsewhere = Directory::fresh("reproducible")?;
    let copy = elsewhere.join("a place with another name");
    for file in sources()? {
        copy_to(&copy, &file)?;
    }
    let second = module::build_commit(&copy, &elsewhere.join("target"), &first.commit)?;
    if first.bytes != second.bytes {
        let kept = elsewhere.join("second.wasm");
        fs::write(&kept, &second.bytes).with_context(|| format!("cannot write {}", kept.display()))?;
        bail!(
            "two builds of the same sources differ: {} bytes with SHA-256 {}, then {} bytes with {} (kept as {})",
            first.bytes.len(),
            digest::hex(&first.bytes),
            second.bytes.len(),
            digest::hex(&second.bytes),
            kept.display()
        );
    }
    fs::remove_dir_all(elsewhere.path()).with_context(|| format!("cannot remove {}", elsewhere.path().display()))
}

/// All files that are, or would be, part of a commit, relative to the repository.
fn sources() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(products::repository());
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let answer = git.output().context("cannot run git, which knows what the sources are")?;
    if !answer.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    let names = String::from_utf8(answer.stdout).context("a source file's name is not UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

fn copy_to(copy: &Path, file: &Path) -> Result<()> {
    let (from, to) = (products::repository().join(file), copy.join(file));
    if !from.is_file() {
        // Removed, and git has not been told yet.
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::copy(&from, &to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
