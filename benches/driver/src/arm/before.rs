//! The filter of 0.1.0, with the `envoy.yaml` and the module of that version.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use harness::configuration::Configuration;
use harness::products;
use serde_json::{Value, json};

use super::{ROOM, TIMEOUT_MS};

/// The variable that names the directory with the sources of 0.1.0 and what is built of them.
const DIRECTORY: &str = "PRIVATENUMBER_BEFORE";
/// The module in that directory.
const MODULE: &str = "target/wasm32-wasip1/module/private_number_gateway.wasm";

/// Whether `cargo xtask bench` could build it: that needs the repository's history.
pub fn is_there() -> bool {
    directory().is_ok_and(|directory| directory.join(MODULE).is_file())
}

fn directory() -> Result<PathBuf> {
    let given = env::var_os(DIRECTORY).filter(|value| !value.is_empty());
    let given = given.with_context(|| format!("{DIRECTORY} does not say where 0.1.0 is: run `cargo xtask bench`"))?;
    Ok(products::repository().join(given))
}

/// Replaces all of `configuration` by that of 0.1.0, in front of these addresses.
pub fn as_it_was(configuration: &mut Configuration, store: &str, business: &str) -> Result<()> {
    let directory = directory()?;
    let module = directory.join(MODULE);
    ensure!(module.is_file(), "{} is not built: run `cargo xtask bench`", module.display());
    let path = directory.join("envoy.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    *configuration.value() =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    let plugin = configuration.plugin()?;
    let json = plugin.as_str().context("the plugin configuration of 0.1.0 is not a text")?;
    *plugin = serde_json::from_str(json).context("the plugin configuration of 0.1.0 is not JSON")?;
    configuration.admin_port(0)?;
    configuration.gateway_port(0)?;
    configuration.module(&module)?;
    configuration.cluster("store", store)?;
    configuration.cluster("business", business)?;
    let entry = configuration.plugin()?.pointer_mut("/businesses/0").and_then(Value::as_object_mut);
    let entry = entry.context("the configuration of 0.1.0 has no business")?;
    entry.insert("timeout_ms".to_owned(), TIMEOUT_MS.into());
    for name in ["pending_calls", "concurrency"] {
        entry.insert(name.to_owned(), json!(ROOM));
    }
    Ok(())
}
