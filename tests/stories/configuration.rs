//! Envoy refuses a bad configuration, and says where it is bad.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use harness::configuration::Configuration;
use harness::demo::{self, SECRET_VARIABLE};
use harness::directory::Directory;
use harness::envoy_binary;
use harness::products;
use serde_json::{Value, json};

/// Puts `value` at `path` of the shipped plugin configuration and lets Envoy validate the whole.
fn validate(directory: &Directory, path: &str, value: Value, secret: Option<&str>) -> Result<(bool, String)> {
    let mut configuration = Configuration::shipped()?;
    configuration.module(&products::module()?)?;
    let plugin = configuration.plugin()?;
    match path.rsplit_once('/') {
        None => *plugin = value,
        Some((parent, name)) => match plugin.pointer_mut(parent) {
            Some(Value::Object(object)) => drop(object.insert(name.to_owned(), value)),
            Some(Value::Array(entries)) => entries[name.parse::<usize>()?] = value,
            _ => bail!("the shipped configuration has no {parent}"),
        },
    }
    let file = directory.join("envoy.json");
    configuration.write(&file)?;
    let mut command = Command::new(envoy_binary::for_tests()?.path);
    command.args(["--mode", "validate", "--disable-hot-restart", "-c"]).arg(&file).env_remove(SECRET_VARIABLE);
    if let Some(secret) = secret {
        command.env(SECRET_VARIABLE, secret);
    }
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn the_shipped_configuration_is_valid() -> Result<()> {
    let directory = Directory::fresh("validate-shipped")?;
    let (valid, said) = validate(&directory, "/revision", json!("shipped"), Some(demo::SECRET))?;
    ensure!(valid, "{said}");
    Ok(())
}

#[test]
fn a_bad_configuration_is_refused_with_the_path_of_what_is_bad() -> Result<()> {
    let directory = Directory::fresh("validate-bad")?;
    let table = [
        ("/push_path", json!("huawei/fee"), "/push_path: must be a path as it is on the wire"),
        (
            "/push_path",
            json!(false),
            "/push_path: must be a path as it is on the wire: starts with /, no query or fragment, no spaces, no //, no . or .. between slashes, no escapes of letters, digits or -._~/\\, found a boolean",
        ),
        ("/headers", json!("buffer"), "/headers: must be one of: hold, pass"),
        ("/push_pth", json!("/huawei/fee"), "/push_pth: is not a field; the fields here are: revision, push_path,"),
        ("/authentication", json!({"schemes": ["basic"]}), "/authentication/schemes/0: must be one of: aksk, wsse"),
        ("/applications", json!([]), "/applications: must have 1 to 1000 entries, found 0"),
        ("/applications/0/app_key", json!(7), "/applications/0/app_key: must be 1 to 256 printable ASCII characters"),
        ("/applications/0/secrets", json!([{}]), "/applications/0/secrets/0: must have exactly one of: value, env"),
        (
            "/applications/0/secrets/0/env",
            json!("MISSING"),
            "/applications/0/secrets/0/env: environment variable MISSING is not set",
        ),
        (
            "/store",
            json!({"claim_deadline_seconds": 1}),
            "/store/claim_deadline_seconds: must be a whole number from 60 to 86400, found 1",
        ),
        (
            "/businesses/0/timeout_ms",
            json!(0),
            "/businesses/0/timeout_ms: must be a whole number from 1 to 60000, found 0",
        ),
        (
            "/businesses/0/headers",
            json!({"x-envoy-retry-on": "5xx"}),
            "/businesses/0/headers/x-envoy-retry-on: the name must be",
        ),
        ("/businesses/0/path", json!("callback"), "/businesses/0/path: must be a path that starts with /"),
        (
            "/businesses/0/signing_secrets",
            json!([{"value": "whsec_short"}]),
            "/businesses/0/signing_secrets/0/value: must be whsec_",
        ),
        (
            "/limits",
            json!({"max_body_bytes": "1MiB"}),
            "/limits/max_body_bytes: must be a whole number from 1024 to 16777216, found a text",
        ),
        ("", json!("nothing"), "is not JSON"),
    ];
    for (path, value, expected) in table {
        let (valid, said) = validate(&directory, path, value, Some(demo::SECRET))?;
        ensure!(!valid, "{path}: Envoy took it");
        ensure!(said.contains(expected), "{path}: expected to be told {expected}\n{said}");
        ensure!(!said.contains(demo::SECRET), "{path}: the secret is in the log");
    }
    let (valid, said) = validate(&directory, "/revision", json!("no secret"), None)?;
    ensure!(
        !valid && said.contains("/applications/0/secrets/0/env: environment variable HUAWEI_APP_SECRET is not set"),
        "{said}"
    );
    Ok(())
}
