//! What the store is asked and told.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use privatenumber_contract::{OutcomeReport, Outcomes, Push, paths};
use tokio::sync::Semaphore;

use crate::client::{Client, USER_AGENT};

/// So many reports of outcomes are sent at a time: a store takes only so many connections.
const REPORTS_AT_A_TIME: usize = 256;

/// The store did not say that it has committed. Anything may have become of the request.
#[derive(Debug)]
pub struct NotCommitted;

/// The store's side of the contract.
pub struct Store {
    client: Client,
    pushes: Uri,
    batches: Uri,
    outcomes: Uri,
    reports: Semaphore,
}

impl Store {
    /// The store at `origin`.
    pub fn new(origin: &Uri) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(Duration::from_secs(30)),
            pushes: at(origin, paths::PUSHES)?,
            batches: at(origin, paths::PUSH_BATCHES)?,
            outcomes: at(origin, paths::OUTCOMES)?,
            reports: Semaphore::new(REPORTS_AT_A_TIME),
        })
    }

    /// Has a push committed. Returns the JSON of a [`PushAnswer`](privatenumber_contract::PushAnswer).
    pub async fn commit(&self, push: &Push<'_>) -> Result<Bytes, NotCommitted> {
        let request = post(&self.pushes, serde_json::to_vec(push)).ok_or(NotCommitted)?;
        let (status, headers, body) = self.client.send(request).await.map_err(|_| NotCommitted)?;
        let committed = headers.get(paths::COMMITTED_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        if status == StatusCode::OK && committed == Some(push.push_id) { Ok(body) } else { Err(NotCommitted) }
    }

    /// Has the pushes of a [`PushBatch`](privatenumber_contract::PushBatch) committed, of which `body` is the JSON. Returns the
    /// JSON of a [`PushBatchAnswer`](privatenumber_contract::PushBatchAnswer).
    pub async fn commit_batch(&self, body: Vec<u8>) -> Result<Bytes, NotCommitted> {
        let request = post(&self.batches, Ok(body)).ok_or(NotCommitted)?;
        match self.client.send(request).await {
            Ok((StatusCode::OK, _, body)) => Ok(body),
            _ => Err(NotCommitted),
        }
    }

    /// Tells what became of callbacks.
    pub async fn report(&self, outcomes: Vec<OutcomeReport>) -> Result<(), NotCommitted> {
        let _slot = self.reports.acquire().await.map_err(|_| NotCommitted)?;
        let outcomes = Outcomes { outcomes };
        let request = post(&self.outcomes, serde_json::to_vec(&outcomes)).ok_or(NotCommitted)?;
        match self.client.send(request).await {
            Ok((StatusCode::OK, _, _)) => Ok(()),
            _ => Err(NotCommitted),
        }
    }
}

/// The address of `path` at `origin`.
pub fn at(origin: &Uri, path: &'static str) -> anyhow::Result<Uri> {
    let mut parts = origin.clone().into_parts();
    parts.path_and_query = Some(path.parse()?);
    Ok(Uri::from_parts(parts)?)
}

fn post(uri: &Uri, body: serde_json::Result<Vec<u8>>) -> Option<Request<Full<Bytes>>> {
    Request::post(uri.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::from(body.ok()?))
        .ok()
}
