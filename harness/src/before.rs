//! 0.1.0, the version before this one: its module, its store and its `envoy.yaml`, as `cargo xtask` builds them from the history.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::configuration::Configuration;
use crate::products;

/// The variable that names the directory with the sources of 0.1.0 and what is built of them.
pub const DIRECTORY: &str = "PRIVATENUMBER_BEFORE";
/// The module in that directory.
const MODULE: &str = "target/wasm32-wasip1/module/private_number_gateway.wasm";
/// The store in that directory.
const STORE: &str = "target/debug/privatenumber-store";

/// Whether `cargo xtask` could build its module: that needs the repository's history.
pub fn is_there() -> bool {
    directory().is_ok_and(|directory| directory.join(MODULE).is_file())
}

/// Its store.
///
/// # Errors
///
/// When it is not built.
pub fn store() -> Result<PathBuf> {
    built(STORE)
}

fn built(file: &str) -> Result<PathBuf> {
    let file = directory()?.join(file);
    ensure!(file.is_file(), "{} is not built: run `cargo xtask test` or `cargo xtask bench`", file.display());
    Ok(file)
}

fn directory() -> Result<PathBuf> {
    let given = env::var_os(DIRECTORY).filter(|value| !value.is_empty());
    let given = given.with_context(|| format!("{DIRECTORY} does not say where 0.1.0 is: run `cargo xtask test`"))?;
    Ok(products::repository().join(given))
}

/// Replaces all of `configuration` by that of 0.1.0, in front of these addresses.
///
/// # Errors
///
/// When 0.1.0 is not there.
pub fn as_it_was(configuration: &mut Configuration, store: &str, business: &str) -> Result<()> {
    let module = built(MODULE)?;
    let path = directory()?.join("envoy.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    *configuration.value() =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    let plugin = configuration.plugin()?;
    let json = plugin.as_str().context("the plugin configuration of 0.1.0 is not a text")?;
    let read: Value = serde_json::from_str(json).context("the plugin configuration of 0.1.0 is not JSON")?;
    *plugin = read;
    configuration.admin_port(0)?;
    configuration.gateway_port(0)?;
    configuration.module(&module)?;
    configuration.cluster("store", store)?;
    configuration.cluster("business", business)
}
