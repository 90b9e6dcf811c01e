//! What everybody's memory comes to at one moment.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::directory::Directory;
use harness::gateway::Gateway;
use harness::memory::Resident;
use serde::Serialize;

/// See the [module](self). Memory is resident memory, KiB.
#[derive(Debug, Serialize)]
pub struct Sample {
    phase: &'static str,
    pushes: u64,
    seconds: f64,
    pushes_per_second: f64,
    envoy_kib: u64,
    /// The most it ever was.
    envoy_peak_kib: u64,
    store_kib: u64,
    business_kib: u64,
    /// What Envoy's allocator counts as in use, bytes: V8's heaps and the VMs' memories are beside it.
    envoy_allocated_bytes: u64,
    pending_calls: u64,
    pending_bytes: u64,
    /// VMs there are; one more would be one that was rebuilt.
    wasm_vms: u64,
}

impl Sample {
    /// Takes one.
    pub async fn take(
        phase: &'static str,
        pushes: u64,
        elapsed: Duration,
        directory: &Directory,
        gateway: &Gateway,
    ) -> Result<Self> {
        let statistics = gateway.statistics().await?;
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let envoy = memory_of(&path("envoy.json"))?;
        let seconds = elapsed.as_secs_f64();
        Ok(Self {
            phase,
            pushes,
            seconds,
            pushes_per_second: pushes as f64 / seconds.max(f64::EPSILON),
            envoy_kib: envoy.now / 1024,
            envoy_peak_kib: envoy.peak / 1024,
            store_kib: memory_of(&path("store.sqlite3"))?.now / 1024,
            business_kib: memory_of("business")?.now / 1024,
            envoy_allocated_bytes: statistics.get("server.memory_allocated"),
            pending_calls: statistics.filter("privatenumber_pending_calls"),
            pending_bytes: statistics.filter("privatenumber_pending_bytes"),
            wasm_vms: statistics.get("wasm.envoy.wasm.runtime.v8.active"),
        })
    }

    /// One line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Memory of the child of this process that was given `argument`.
fn memory_of(argument: &str) -> Result<Resident> {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let child = fs::read_dir("/proc").context("cannot read /proc")?.flatten().find(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|given| given == argument.as_bytes())
            && fs::read_to_string(entry.path().join("status")).is_ok_and(|status| status.contains(&parent))
    });
    let child = child.with_context(|| format!("no child of this process was given {argument}"))?;
    Resident::of(child.file_name().display())
}
