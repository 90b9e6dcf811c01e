//! The real store: its HTTP router, its writer and its SQLite database, in memory and under a clock that is set by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use privatenumber_contract::{CallDetail, ParkedView, ReplayView, paths};
use privatenumber_store::clock::Clock;
use privatenumber_store::database::{Database, Page};
use privatenumber_store::http::body::BodyLimits;
use privatenumber_store::http::{App, router};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::Writer;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// One request to the store.
#[derive(Clone, Debug)]
pub struct StoreRequest<'b> {
    /// `POST` or `PUT`.
    pub method: &'static str,
    /// Its path.
    pub path: &'b str,
    /// Its body, JSON.
    pub body: &'b [u8],
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAnswer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: Option<Vec<u8>>,
    /// The value of [`paths::COMMITTED_HEADER`].
    pub committed: Option<Vec<u8>>,
    /// The body.
    pub body: Vec<u8>,
}

/// See the [module](self).
pub struct Store {
    runtime: Runtime,
    router: Router,
    database: Database,
    clock: Arc<AtomicI64>,
}

impl Store {
    /// An empty store.
    ///
    /// # Errors
    /// SQLite or the runtime cannot be started.
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("no runtime")?;
        let database = runtime.block_on(Database::open_in_memory()).context("no database in memory")?;
        let clock = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&clock);
        let clock_of_store = Clock::new(move || told.load(Ordering::Relaxed));
        let metrics = Arc::new(Metrics::default());
        let (writer, _task) = {
            let _inside = runtime.enter();
            Writer::start(database.clone(), clock_of_store.clone(), Arc::clone(&metrics), 10_000)
        };
        let body_limits = BodyLimits {
            bytes: 4 * 1024 * 1024,
            time: Duration::from_secs(600),
            budget: Arc::new(Semaphore::new(256 * 1024 * 1024)),
        };
        let router = router(Arc::new(App {
            database: database.clone(),
            writer,
            clock: clock_of_store,
            metrics,
            body_limits,
            ready_timeout: Duration::from_secs(600),
            token: None,
            room: Semaphore::new(8_192),
            stopping: AtomicBool::new(false),
        }));
        Ok(Self { runtime, router, database, clock })
    }

    /// Serves `requests`, all at once as the writer would get them, at the time `now_ms` (epoch milliseconds of the store).
    ///
    /// # Errors
    /// An answer cannot be read.
    pub fn serve(&self, requests: &[StoreRequest<'_>], now_ms: i64) -> Result<Vec<StoreAnswer>> {
        self.clock.store(now_ms, Ordering::Relaxed);
        let answers = requests.iter().map(|request| self.serve_one(request));
        self.runtime.block_on(join_all(answers)).into_iter().collect()
    }

    async fn serve_one(&self, request: &StoreRequest<'_>) -> Result<StoreAnswer> {
        let request = Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(request.body.to_vec()))?;
        let response = self.router.clone().oneshot(request).await?;
        let value = |name: &str| response.headers().get(name).map(|value| value.as_bytes().to_vec());
        let (status, content_type) = (response.status().as_u16(), value("content-type"));
        let committed = value(paths::COMMITTED_HEADER);
        let body = response.into_body().collect().await.context("the store's answer cannot be read")?;
        Ok(StoreAnswer { status, content_type, committed, body: body.to_bytes().to_vec() })
    }

    /// A call as it stands at `now_ms`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn call(&self, call_id: &str, now_ms: i64) -> Result<Option<CallDetail>> {
        Ok(self.runtime.block_on(self.database.call(call_id, now_ms))?)
    }

    /// The parked CDRs, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn parked(&self, limit: u32) -> Result<Vec<ParkedView>> {
        Ok(self.runtime.block_on(self.database.parked(&Page::first(limit)))?.parked)
    }

    /// The pushes whose signature came with other texts before, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn replays(&self, limit: u32) -> Result<Vec<ReplayView>> {
        Ok(self.runtime.block_on(self.database.replays(&Page::first(limit)))?.replays)
    }
}
