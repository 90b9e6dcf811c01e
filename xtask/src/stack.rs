//! What `up` and `demo` have running, with the demonstration's binding.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use harness::business::Business;
use harness::demo;
use harness::envoy_binary::{self, EnvoyBinary};
use harness::gateway::Gateway;
use harness::store::Store;

use crate::build;

/// Whatever is running.
#[derive(Default)]
pub struct Running {
    pub store: Option<Store>,
    pub business: Option<Business>,
    pub gateway: Option<Gateway>,
}

impl Running {
    /// Ends everything in order: nothing new comes in, then what is under way is kept.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(gateway) = &mut self.gateway {
            gateway.stop().await?;
        }
        if let Some(store) = &mut self.store {
            store.stop().await?;
        }
        if let Some(business) = &mut self.business {
            business.go_away().await?;
        }
        Ok(())
    }

    /// The name of a process that has ended by itself, with the end of its log.
    pub fn ended(&mut self) -> Option<(&'static str, String)> {
        let Self { store, business, gateway } = self;
        let processes = [
            ("the gateway", gateway.as_mut().map(Gateway::process)),
            ("the store", store.as_mut().map(Store::process)),
            ("the business", business.as_mut().map(Business::process)),
        ];
        processes.into_iter().find_map(|(name, process)| {
            let process = process?;
            (!process.is_running()).then(|| (name, process.tail(20)))
        })
    }

    /// The ends of all logs.
    pub fn logs(&mut self) -> String {
        let Self { store, business, gateway } = self;
        let processes = [
            gateway.as_mut().map(Gateway::process),
            store.as_mut().map(Store::process),
            business.as_mut().map(Business::process),
        ];
        let tails = processes
            .into_iter()
            .flatten()
            .map(|process| format!("{} ({}):\n{}", process.name(), process.log().display(), process.tail(15)));
        tails.collect()
    }
}

/// Builds everything and finds Envoy, telling what it does.
///
/// # Errors
///
/// When something does not compile or Envoy cannot be had.
pub fn prepare(version: Option<&str>) -> Result<EnvoyBinary> {
    build::wasm_target()?;
    println!("building the module, the store and the simulator (some minutes the first time)");
    build::module()?;
    build::programs()?;
    let envoy = envoy_binary::find(version, |what| println!("{what}"))?;
    println!("Envoy {}: {}", envoy.version, envoy.path.display());
    Ok(envoy)
}

/// Registers the demonstration's binding.
///
/// # Errors
///
/// When the store does not take it.
pub async fn register_demo_binding(store: &Store) -> Result<()> {
    let registered = store.register(demo::SUBSCRIPTION_ID, &demo::binding()).await;
    registered.context("the store did not take the binding").map(drop)
}

/// A number that is another one the next time: calls made up from it are new to any store.
pub fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
