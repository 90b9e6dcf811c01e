//! A business system: takes callbacks, remembers each, and behaves as it is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use privatenumber_contract::Record;
use privatenumber_sim::business::Temper;
use serde::Deserialize;

use crate::containers::Service;
use crate::directory::Directory;
use crate::http;
use crate::process::{self, Process};
use crate::products;

/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A callback as the business saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct Callback {
    /// Counts callbacks from 1.
    pub number: u64,
    /// The path and query it came to.
    pub path: String,
    /// Its headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Its body as it came.
    pub body: String,
    /// The call's id.
    pub webhook_id: Option<String>,
    /// Whether its signature holds; `None` where it was not checked.
    pub signature_valid: Option<bool>,
    /// Whether its body is a record: 26 fields in their order.
    pub record_valid: bool,
}

impl Callback {
    /// The record it carried.
    ///
    /// # Errors
    ///
    /// When the body is none.
    pub fn record(&self) -> Result<Record> {
        serde_json::from_str(&self.body).context("the callback's body is no record")
    }

    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All callbacks, counted.
#[derive(Clone, Debug, Deserialize)]
pub struct Counts {
    /// Callbacks read in full.
    pub total: u64,
    /// Different calls among them, by `webhook-id`.
    pub calls: u64,
    /// Callbacks for the call that was called back most often: 1 is what the gateway promises.
    pub max_per_call: u32,
    /// Callbacks whose signature was checked and does not hold.
    pub invalid_signatures: u64,
    /// Callbacks whose body is not a record.
    pub invalid_records: u64,
    /// Requests that ended before they were read in full.
    pub incomplete: u64,
    /// Callbacks for each `webhook-id`.
    #[serde(default)]
    pub by_webhook_id: BTreeMap<String, u32>,
}

/// How a business is started, see [`Stack::business`](crate::stack::Stack::business).
#[derive(Clone, Debug)]
pub struct Start {
    listen: String,
    name: String,
    log: PathBuf,
    arguments: Vec<String>,
}

impl Start {
    /// On a free port, called `name` in messages and for its log in `directory`.
    pub fn new(directory: &Directory, name: &str) -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            name: name.to_owned(),
            log: directory.join(format!("{name}.log")),
            arguments: Vec::new(),
        }
    }

    /// At this address, `HOST:PORT`.
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// With more arguments of `privatenumber-sim business`, such as `--signing-secret`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the simulator is not built, or does not become ready.
    pub async fn start(self) -> Result<Business> {
        let mut process = process::Start::new(&self.name, products::simulator()?, &self.log)
            .arguments(["business", "--listen", &self.listen])
            .arguments(&self.arguments)
            .run()?;
        let address = process.line("privatenumber-sim business listening on http://", PATIENCE).await?;
        Ok(Business { address: address.trim().to_owned(), place: Place::Process(self), process })
    }
}

/// A business that runs.
#[derive(Debug)]
pub struct Business {
    address: String,
    place: Place,
    process: Process,
}

#[derive(Clone, Debug)]
enum Place {
    Process(Start),
    Container(Service),
}

impl Business {
    /// Starts one in a container.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_in(service: Service) -> Result<Self> {
        let mut process = service.start()?;
        process.line("privatenumber-sim business listening on http://", PATIENCE).await?;
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

    /// All callbacks it remembers, oldest first.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn callbacks(&self) -> Result<Vec<Callback>> {
        http::get(&self.control("callbacks")).await?.expect(200)?.json()
    }

    /// How many callbacks there were, also those it no longer remembers.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn counts(&self) -> Result<Counts> {
        http::get(&self.control("counts")).await?.expect(200)?.json()
    }

    /// Changes how it behaves from now on.
    ///
    /// # Errors
    ///
    /// When it can not behave so.
    pub async fn behave(&self, temper: &Temper) -> Result<()> {
        let answer = http::send_json(Method::PUT, &self.control("temper"), temper).await?;
        answer.expect(200).map(drop)
    }

    /// Changes how it behaves to callbacks whose path starts with `/segment/` or is `/segment`.
    ///
    /// # Errors
    ///
    /// When it can not behave so.
    pub async fn behave_at(&self, segment: &str, temper: &Temper) -> Result<()> {
        let answer = http::send_json(Method::PUT, &self.control(&format!("temper/{segment}")), temper).await?;
        answer.expect(200).map(drop)
    }

    /// Forgets all callbacks and counts.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn forget(&self) -> Result<()> {
        let answer = http::send(Method::DELETE, &self.control("callbacks"), &[], "").await?;
        ensure!(answer.status.is_success(), "answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    /// Ends it: connections to it are refused from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn go_away(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again after [`go_away`](Self::go_away), at the same address, with nothing remembered.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn come_back(&mut self) -> Result<()> {
        if self.process.is_running() {
            self.process.kill().await?;
        }
        *self = match self.place.clone() {
            Place::Process(start) => start.listen(&self.address).start().await?,
            Place::Container(service) => Self::start_in(service).await?,
        };
        Ok(())
    }

    fn control(&self, place: &str) -> String {
        format!("http://{}/__control/{place}", self.address)
    }
}
