//! The store, as a handle: where it is, what it holds, and how it goes away.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use privatenumber_contract::{Binding, CallPage, CallView, ParkedPage, RegisteredBinding, paths};

use crate::containers::Service;
use crate::directory::Directory;
use crate::http;
use crate::process::{Process, Start};
use crate::products;

/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store that runs, or has run: its data and its address outlive the process.
#[derive(Debug)]
pub struct Store {
    address: String,
    place: Place,
    process: Process,
}

#[derive(Clone, Debug)]
enum Place {
    Process { data: PathBuf, log: PathBuf },
    Container(Service),
}

impl Store {
    /// Starts one on a free port, its data in `directory`.
    ///
    /// # Errors
    ///
    /// When it is not built, or does not become ready.
    pub async fn start(directory: &Directory) -> Result<Self> {
        Self::start_at("127.0.0.1:0", directory.join("store.sqlite3"), directory.join("store.log")).await
    }

    /// Starts one at `listen` with its data in the file `data`.
    ///
    /// # Errors
    ///
    /// When it is not built, or does not become ready.
    pub async fn start_at(listen: &str, data: PathBuf, log: PathBuf) -> Result<Self> {
        let mut process = Start::new("privatenumber-store", products::store()?, &log)
            .arguments(["--listen", listen, "--data"])
            .argument(&data)
            .run()?;
        let address = process.line("privatenumber-store listening on http://", PATIENCE).await?;
        Ok(Self { address: address.trim().to_owned(), place: Place::Process { data, log }, process })
    }

    /// Starts the one in a container.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_in(service: Service) -> Result<Self> {
        let mut process = service.start()?;
        process.line("privatenumber-store listening on http://", PATIENCE).await?;
        Ok(Self { address: service.address().to_owned(), place: Place::Container(service), process })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process: freeze it, read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it in order (SIGTERM).
    ///
    /// # Errors
    ///
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(PATIENCE).await?;
        anyhow::ensure!(status.success(), "the store stopped with {status}:\n{}", self.process.tail(20));
        Ok(())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill): same address, same data.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.is_running() {
            self.process.kill().await?;
        }
        *self = match self.place.clone() {
            Place::Process { data, log } => Self::start_at(&self.address, data, log).await?,
            Place::Container(service) => Self::start_in(service).await?,
        };
        Ok(())
    }

    /// The URL of a path of the contract, see [`paths`].
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Registers a binding.
    ///
    /// # Errors
    ///
    /// When the store does not take it.
    pub async fn register(&self, subscription_id: &str, binding: &Binding) -> Result<RegisteredBinding> {
        let url = self.url(&format!("{}/{subscription_id}", paths::BINDINGS));
        let answer = http::send_json(Method::PUT, &url, binding).await?;
        if answer.status.as_u16() != 201 {
            return answer.expect(200)?.json();
        }
        answer.json()
    }

    /// The newest calls, at most 500; `query` is like `state=answered&ak=…`, or empty.
    ///
    /// # Errors
    ///
    /// When the store does not answer them.
    pub async fn calls(&self, query: &str) -> Result<Vec<CallView>> {
        let url = self.url(&format!("{}?limit=500&{query}", paths::CALLS));
        let url = url.trim_end_matches('&');
        let page: CallPage = http::get(url).await?.expect(200)?.json()?;
        Ok(page.calls)
    }

    /// One call.
    ///
    /// # Errors
    ///
    /// When the store does not have it.
    pub async fn call(&self, call_id: &str) -> Result<CallView> {
        http::get(&self.url(&format!("{}/{call_id}", paths::CALLS))).await?.expect(200)?.json()
    }

    /// The newest parked CDRs, at most 500.
    ///
    /// # Errors
    ///
    /// When the store does not answer them.
    pub async fn parked(&self) -> Result<ParkedPage> {
        http::get(&self.url(&format!("{}?limit=500", paths::PARKED))).await?.expect(200)?.json()
    }

    /// The store's metrics, as Prometheus reads them.
    ///
    /// # Errors
    ///
    /// When the store does not answer them.
    pub async fn metrics(&self) -> Result<String> {
        let answer = http::get(&self.url(paths::METRICS)).await.context("the store's metrics")?;
        Ok(answer.expect(200)?.text())
    }
}
