//! The store as a process that can also be denied room on its disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::directory::Directory;
use harness::process::{Process, Start};
use harness::{http, products};
use hyper::Method;
use privatenumber_contract::{Binding, CallPage, CallView, ParkedPage, ParkedView, paths};

use crate::processes;

/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// A process that writes beyond its file size limit gets a signal that kills it, unless it ignores it; then the write
/// fails, as on a full disk. What a shell ignores, the program it becomes ignores as well.
const IGNORING_THE_SIGNAL: &str = r#"trap '' XFSZ; exec "$0" "$@""#;

/// See the [module](self).
pub struct Store {
    address: String,
    data: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Store {
    /// Starts one on a free port, its data in `directory`.
    pub async fn start(directory: &Directory) -> Result<Self> {
        Self::start_at("127.0.0.1:0", directory.join("store.sqlite3"), directory.join("store.log")).await
    }

    async fn start_at(listen: &str, data: PathBuf, log: PathBuf) -> Result<Self> {
        let mut process = Start::new("privatenumber-store", "sh", &log)
            .arguments(["-c", IGNORING_THE_SIGNAL])
            .argument(products::store()?)
            .arguments(["--listen", listen, "--data"])
            .argument(&data)
            .run()?;
        let address = process.line("privatenumber-store listening on http://", PATIENCE).await?;
        Ok(Self { address: address.trim().to_owned(), data, log, process })
    }

    /// Starts it again after it was killed: same address, same data.
    pub async fn restart(&mut self) -> Result<()> {
        *self = Self::start_at(&self.address, self.data.clone(), self.log.clone()).await?;
        Ok(())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What tells its command line from others.
    pub fn mark(&self) -> String {
        self.data.display().to_string()
    }

    /// The process: kill it, freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// From now on no file of its can grow beyond `bytes`; `None` takes that back. Returns whether this system can do it.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<bool> {
        let pids = processes::children(&self.mark());
        for pid in &pids {
            if !limit_files_of(*pid, bytes).context("the store's file size can not be limited")? {
                return Ok(false);
            }
        }
        Ok(!pids.is_empty())
    }

    /// How long its write-ahead log is, bytes.
    pub fn log_length(&self) -> u64 {
        let mut name = self.data.clone().into_os_string();
        name.push("-wal");
        std::fs::metadata(Path::new(&name)).map_or(0, |data| data.len())
    }

    /// Registers a binding.
    pub async fn register(&self, subscription_id: &str, binding: &Binding) -> Result<()> {
        let url = format!("http://{}{}/{subscription_id}", self.address, paths::BINDINGS);
        http::send_json(Method::PUT, &url, binding).await?.expect(201).map(drop)
    }

    /// All calls.
    pub async fn calls(&self) -> Result<Vec<CallView>> {
        let mut calls = Vec::new();
        let mut cursor = None;
        loop {
            let page: CallPage = self.page(paths::CALLS, "", cursor.as_deref()).await?;
            calls.extend(page.calls);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(calls),
            }
        }
    }

    /// Whether any call is pending.
    pub async fn has_pending_calls(&self) -> Result<bool> {
        let page: CallPage = self.page(paths::CALLS, "&state=pending", None).await?;
        Ok(!page.calls.is_empty())
    }

    /// All parked CDRs.
    pub async fn parked(&self) -> Result<Vec<ParkedView>> {
        let mut parked = Vec::new();
        let mut cursor = None;
        loop {
            let page: ParkedPage = self.page(paths::PARKED, "", cursor.as_deref()).await?;
            parked.extend(page.parked);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(parked),
            }
        }
    }

    async fn page<T: serde::de::DeserializeOwned>(&self, path: &str, more: &str, cursor: Option<&str>) -> Result<T> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        http::get(&format!("http://{}{path}?limit=500{more}{cursor}", self.address)).await?.expect(200)?.json()
    }
}

#[cfg(target_os = "linux")]
fn limit_files_of(pid: i32, bytes: Option<u64>) -> Result<bool> {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    // The hard limit stays what this process has and its children were given.
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: bytes.or(maximum), maximum };
    let pid = Pid::from_raw(pid).context("the store has no process id")?;
    prlimit(Some(pid), Resource::Fsize, limit)?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn limit_files_of(_pid: i32, _bytes: Option<u64>) -> Result<bool> {
    Ok(false)
}
