//! The store as a process that can also be denied room on its disk.

use anyhow::{Context, Result};
use harness::http;
use harness::process::Process;
use harness::stack::Stack;
use privatenumber_contract::{Binding, CallPage, CallView, ParkedPage, ParkedView, paths};

use crate::processes;

/// See the [module](self).
pub struct Store(harness::store::Store);

impl Store {
    /// Starts one of this stack.
    pub async fn start(stack: &Stack) -> Result<Self> {
        stack.store().outlives_a_full_disk().start().await.map(Self)
    }

    /// Starts it again after it was killed: same address, same data.
    pub async fn restart(&mut self) -> Result<()> {
        self.0.restart().await
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// What tells its command line from others.
    pub fn mark(&self) -> String {
        self.0.data().map(|data| data.display().to_string()).unwrap_or_default()
    }

    /// The process: kill it, freeze it.
    pub fn process(&mut self) -> &mut Process {
        self.0.process()
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
        std::fs::metadata(format!("{}-wal", self.mark())).map_or(0, |data| data.len())
    }

    /// Registers a binding.
    pub async fn register(&self, subscription_id: &str, binding: &Binding) -> Result<()> {
        self.0.register(subscription_id, binding).await.map(drop)
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
        http::get(&self.0.url(&format!("{path}?limit=500{more}{cursor}"))).await?.expect(200)?.json()
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
