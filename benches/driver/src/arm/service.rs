//! The same job as a service of its own, to which Envoy passes pushes on.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::configuration::Configuration;
use harness::demo;
use harness::directory::Directory;
use harness::process::{Process, Start};
use harness::products;
use serde_json::json;

use super::Arm;
use super::control::replace_filter;
use crate::pushes::PUSH_PATH;

/// How long a service may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether `arm` is such a service.
pub const fn is_one(arm: Arm) -> bool {
    matches!(arm, Arm::Rust | Arm::RustBatch | Arm::Node | Arm::StackRust | Arm::StackRustBatch)
}

/// Starts the service of `arm` with the addresses of store and business and returns it with its own, `127.0.0.1:PORT`.
pub async fn start(
    arm: Arm,
    directory: &Directory,
    store: &str,
    business: &str,
    workers: u32,
) -> Result<(Process, String)> {
    let log = directory.join("service.log");
    let rust = |log| -> Result<Start> {
        Ok(Start::new("the Rust service", products::target_directory()?.join("peer/peer-service"), log))
    };
    let start = match arm {
        Arm::Rust | Arm::StackRust => rust(log)?,
        Arm::RustBatch | Arm::StackRustBatch => rust(log)?.argument("--batch"),
        Arm::Node => Start::new("the Node service", "node", log).argument(node_service()?.join("server.mjs")),
        _ => bail!("{arm:?} has no service"),
    };
    let mut process = start
        .arguments(["--listen", "127.0.0.1:0"])
        .arguments(["--store", &format!("http://{store}")])
        .arguments(["--business", &format!("http://{business}")])
        .arguments(["--workers", &workers.to_string()])
        .environment("HUAWEI_APP_KEY", demo::APP_KEY)
        .environment("HUAWEI_APP_SECRET", demo::SECRET)
        .environment("AK", demo::AK)
        .environment("NODE_ENV", "production")
        .run()?;
    let address = process.line("peer-service listening on http://", PATIENCE).await?;
    Ok((process, address.trim().to_owned()))
}

/// Where `cargo xtask bench` has put the Node service together with its dependencies.
fn node_service() -> Result<PathBuf> {
    let given = env::var_os("PRIVATENUMBER_NODE_PEER").map(PathBuf::from);
    given.context("PRIVATENUMBER_NODE_PEER does not say where the Node service is: run `cargo xtask bench`")
}

/// Takes the filter out: pushes go to the service as they are. The service is the cluster `store`.
pub fn behind_envoy(configuration: &mut Configuration) -> Result<()> {
    let route = json!({ "match": { "path": PUSH_PATH }, "route": { "cluster": "store", "timeout": "60s" } });
    replace_filter(configuration, None, vec![route])
}
