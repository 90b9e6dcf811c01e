//! The real store: its HTTP router, its writer and its SQLite database, in memory and under clocks that are set by hand.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
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
use privatenumber_store::http::slow::SlowBodies;
use privatenumber_store::http::{App, router};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::Writer;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// One request to the store.
#[derive(Clone, Debug)]
pub struct StoreRequest<'b> {
    /// `GET`, `POST` or `PUT`.
    pub method: &'static str,
    /// Its path.
    pub path: &'b str,
    /// Its body, JSON.
    pub body: &'b [u8],
}

/// The store's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    machine: Arc<Machine>,
    /// What a run has for itself.
    inner: RefCell<Inner>,
}

/// The clocks of the store's machine.
#[derive(Debug, Default)]
struct Machine {
    wall_ms: AtomicI64,
    elapsed_ms: AtomicU64,
}

/// The time at the store's machine, as its clocks tell it.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    /// The wall clock, epoch milliseconds: set forward and back.
    pub wall_ms: i64,
    /// The virtual time, milliseconds.
    pub elapsed_ms: u64,
}

struct Inner {
    router: Router,
    database: Database,
    clock: Clock,
}

impl Store {
    /// An empty store.
    ///
    /// # Errors
    /// SQLite or the runtime cannot be started.
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("no runtime")?;
        let machine = Arc::new(Machine::default());
        let inner = RefCell::new(Inner::open(&runtime, &machine)?);
        Ok(Self { runtime, machine, inner })
    }

    /// Empties it: its clock is never set back, so that it cannot begin again with what another run has recorded.
    ///
    /// # Errors
    /// SQLite cannot be started.
    pub fn begin(&self, time: MachineTime) -> Result<()> {
        self.set(time);
        *self.inner.borrow_mut() = Inner::open(&self.runtime, &self.machine)?;
        Ok(())
    }

    fn set(&self, time: MachineTime) {
        self.machine.wall_ms.store(time.wall_ms, Ordering::Relaxed);
        self.machine.elapsed_ms.store(time.elapsed_ms, Ordering::Relaxed);
    }

    /// The store's time, epoch milliseconds.
    pub fn now_ms(&self, time: MachineTime) -> i64 {
        self.set(time);
        self.inner.borrow().clock.now_ms()
    }

    /// Serves `requests`, all at once as the writer would get them, at that time.
    ///
    /// # Errors
    /// An answer cannot be read.
    pub fn serve(&self, requests: &[StoreRequest<'_>], time: MachineTime) -> Result<Vec<StoreAnswer>> {
        self.set(time);
        let router = self.inner.borrow().router.clone();
        let answers = requests.iter().map(|request| serve_one(&router, request));
        self.runtime.block_on(join_all(answers)).into_iter().collect()
    }

    /// A call as it stands at `now_ms`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn call(&self, call_id: &str, now_ms: i64) -> Result<Option<CallDetail>> {
        let database = self.inner.borrow().database.clone();
        Ok(self.runtime.block_on(database.call(call_id, now_ms))?)
    }

    /// The parked CDRs, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn parked(&self, limit: u32) -> Result<Vec<ParkedView>> {
        let database = self.inner.borrow().database.clone();
        Ok(self.runtime.block_on(database.parked(&Page::first(limit)))?.parked)
    }

    /// The pushes whose signature came with other texts before, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn replays(&self, limit: u32) -> Result<Vec<ReplayView>> {
        let database = self.inner.borrow().database.clone();
        Ok(self.runtime.block_on(database.replays(&Page::first(limit)))?.replays)
    }
}

impl Inner {
    fn open(runtime: &Runtime, machine: &Arc<Machine>) -> Result<Self> {
        let database = runtime.block_on(Database::open_in_memory()).context("no database in memory")?;
        let (wall, elapsed) = (Arc::clone(machine), Arc::clone(machine));
        let clock = Clock::new(
            move || wall.wall_ms.load(Ordering::Relaxed),
            move || Duration::from_millis(elapsed.elapsed_ms.load(Ordering::Relaxed)),
        );
        let metrics = Arc::new(Metrics::default());
        let (writer, _task) = {
            let _inside = runtime.enter();
            Writer::start(database.clone(), clock.clone(), Arc::clone(&metrics), 10_000)
        };
        let body_limits = BodyLimits {
            bytes: 4 * 1024 * 1024,
            time: Duration::from_secs(600),
            budget: Arc::new(Semaphore::new(256 * 1024 * 1024)),
            slow: Arc::new(SlowBodies::new(usize::MAX)),
        };
        let router = router(Arc::new(App {
            database: database.clone(),
            writer,
            clock: clock.clone(),
            metrics,
            body_limits,
            ready_timeout: Duration::from_secs(600),
            token: None,
            room: Semaphore::new(8_192),
            stopping: AtomicBool::new(false),
        }));
        Ok(Self { router, database, clock })
    }
}

async fn serve_one(router: &Router, request: &StoreRequest<'_>) -> Result<StoreAnswer> {
    let request = Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(request.body.to_vec()))?;
    let response = router.clone().oneshot(request).await?;
    let value = |name: &str| response.headers().get(name).map(|value| value.as_bytes().to_vec());
    let (status, content_type) = (response.status().as_u16(), value("content-type"));
    let committed = value(paths::COMMITTED_HEADER);
    let body = response.into_body().collect().await.context("the store's answer cannot be read")?;
    Ok(StoreAnswer { status, content_type, committed, body: body.to_bytes().to_vec() })
}
