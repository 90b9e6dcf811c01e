//! The store, as a handle: where it is, what it holds, and how it goes away.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use privatenumber_contract::{Binding, CallPage, CallView, ParkedPage, RegisteredBinding, paths};

use crate::containers::Service;
use crate::http;
use crate::process::{self, Process};
use crate::products;

/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that writes beyond its file size limit gets a signal that kills it, unless it ignores it; then the write
/// fails, as on a full disk. What a shell ignores, the program it becomes ignores as well.
const IGNORING_THE_SIGNAL: &str = r#"trap '' XFSZ; exec "$0" "$@""#;

/// How a store is started, see [`Stack::store`](crate::stack::Stack::store).
#[derive(Clone, Debug)]
pub struct Start {
    program: Option<PathBuf>,
    listen: String,
    data: PathBuf,
    log: PathBuf,
    arguments: Vec<OsString>,
    outlives_a_full_disk: bool,
}

impl Start {
    /// On a free port, with its data in the file `data` and its output in the file `log`.
    pub fn new(data: PathBuf, log: PathBuf) -> Self {
        Self {
            program: None,
            listen: "127.0.0.1:0".to_owned(),
            data,
            log,
            arguments: Vec::new(),
            outlives_a_full_disk: false,
        }
    }

    /// At this address, `HOST:PORT`.
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// With its data in this file.
    pub fn data(mut self, file: PathBuf) -> Self {
        self.data = file;
        self
    }

    /// With more arguments of `privatenumber-store`.
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Another build of the store than the one under test.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// A write beyond the limit of its file size fails, as on a full disk, instead of ending the process.
    pub fn outlives_a_full_disk(mut self) -> Self {
        self.outlives_a_full_disk = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it is not built, or does not become ready.
    pub async fn start(self) -> Result<Store> {
        let (address, process) = self.run().await?;
        Ok(Store { address, place: Place::Process(self), process })
    }

    async fn run(&self) -> Result<(String, Process)> {
        const NAME: &str = "privatenumber-store";
        let program = self.program.clone().map_or_else(products::store, Ok)?;
        let start = if self.outlives_a_full_disk {
            process::Start::new(NAME, "sh", &self.log).arguments(["-c", IGNORING_THE_SIGNAL]).argument(program)
        } else {
            process::Start::new(NAME, program, &self.log)
        };
        let start = start.arguments(["--listen", &self.listen, "--data"]).argument(&self.data);
        let mut process = start.arguments(&self.arguments).run()?;
        let address = process.line("privatenumber-store listening on http://", PATIENCE).await?;
        Ok((address.trim().to_owned(), process))
    }
}

/// A store that runs, or has run: its data and its address outlive the process.
#[derive(Debug)]
pub struct Store {
    address: String,
    place: Place,
    process: Process,
}

#[derive(Clone, Debug)]
enum Place {
    Process(Start),
    Container(Service),
}

impl Store {
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

    /// The file with its data; `None` where it is in a container.
    pub fn data(&self) -> Option<&Path> {
        match &self.place {
            Place::Process(start) => Some(&start.data),
            Place::Container(_) => None,
        }
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
            Place::Process(start) => start.listen(&self.address).start().await?,
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

    /// The newest calls, at most 500; `query` is like `state=delivered&ak=…`, or empty.
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
