//! Listens, bounds what connections may cost, and stops in good order.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_io_timeout::TimeoutStream;

use crate::clock::Clock;
use crate::database::{Database, OpenOptions};
use crate::http::body::BodyLimits;
use crate::http::slow::SlowBodies;
use crate::http::{App, router};
use crate::metrics::Metrics;
use crate::open_files::room_for_connections;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::writer::{Writer, WriterDied};

/// The size of a request's head.
const HEAD_MAX_BYTES: u32 = 64 * 1024;

/// Requests at the same time on one connection of HTTP/2: what clients expect before they are told (RFC 9113, 6.5.2). A gateway
/// with more opens another connection.
const STREAMS_MAX: u32 = 100;

/// What a client of HTTP/2 may send of one body, and of all bodies of a connection, before the store has looked at it: as much as
/// the buffers of HTTP/1.1 take.
const WINDOW_BYTES: u32 = 64 * 1024;

/// Of so many connections one is kept free of slow bodies, so that probes and whole requests always find a place.
const KEPT_FREE: usize = 4;

/// How long a connection waits for a place before others make room for it, and how long a connection is left alone in any case.
const CROWDED_INTERVAL: Duration = Duration::from_millis(250);

/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `stop` resolves, then finishes what was accepted. Calls `ready` with the address once requests are served.
///
/// # Errors
/// When the store cannot start, when the writer died, or when it could not finish in time.
pub async fn run(
    settings: Settings,
    clock: Clock,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let token = settings.token()?;
    settings.check()?;
    let options =
        OpenOptions { busy_timeout: settings.busy_timeout, lock_wait: settings.lock_wait, ..OpenOptions::default() };
    let mut stop = pin!(stop);
    let database = tokio::select! {
        opened = Database::open(&settings.data, &options) => opened?.keeping(settings.keeping()),
        () = stop.as_mut() => return Ok(()),
    };
    match database.latest_time().await {
        Ok(latest) => {
            clock.now_after(latest);
        }
        // It serves, is not ready, and says why to whoever asks.
        Err(error) => tracing::error!(%error, "the database cannot be read"),
    }
    let tls = settings.tls().map(Tls::load).transpose()?.map(Arc::new);
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!("cannot listen on {}; is another process there? --listen takes another", settings.listen)
    })?;
    let connections = room_for_connections(settings.connections).clamp(1, Semaphore::MAX_PERMITS);
    let metrics = Arc::new(Metrics::default());
    let (writer, mut writer_task) =
        Writer::start(database.clone(), clock.clone(), Arc::clone(&metrics), settings.queue);
    let app = Arc::new(App {
        database: database.clone(),
        writer,
        clock,
        metrics,
        body_limits: BodyLimits {
            bytes: settings.body_bytes,
            time: settings.body_timeout,
            budget: Arc::new(Semaphore::new(settings.buffer_bytes.min(Semaphore::MAX_PERMITS))),
            slow: Arc::new(SlowBodies::new(connections - connections.div_ceil(KEPT_FREE))),
        },
        ready_timeout: settings.ready_timeout,
        token,
        room: Semaphore::new(settings.requests.min(Semaphore::MAX_PERMITS)),
        stopping: AtomicBool::new(false),
    });
    ready(listener.local_addr().context("the address listened on cannot be told")?)?;

    let mut connections = Connections::new(Arc::clone(&app), &settings, connections, tls.clone());
    tokio::select! {
        () = connections.accept(&listener) => {}
        () = stop => {}
        () = watch_file(&database) => {}
        () = follow(tls) => {}
        () = record_time(&app.writer) => {}
        ended = &mut writer_task => {
            let reason = match ended {
                Ok(Ok(())) => "no error".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            bail!("the writer ended by itself ({reason}); what was answered is committed");
        }
    }
    drop(listener);
    app.stopping.store(true, Ordering::Relaxed);
    tracing::info!("stopping: finishing what was accepted");
    let deadline = Instant::now() + settings.shutdown_timeout;
    // Connections get most of the time, the last commit the rest.
    connections.finish(deadline - settings.shutdown_timeout / 4).await;
    // What fails is logged by the writer, and whether it stops in time is looked at below.
    let _ = timeout_at(deadline, app.writer.readiness()).await;
    drop(app);
    finish_writing(writer_task, &database, deadline).await
}

/// Reads certificates again when they change. Never ends.
async fn follow(tls: Option<Arc<Tls>>) {
    match tls {
        Some(tls) => tls.follow().await,
        None => std::future::pending().await,
    }
}

/// How often it is looked at whether the database file is in its place. Requests look for themselves; this is for the log.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Logs when the database file goes, and when it comes back. Never ends.
async fn watch_file(database: &Database) {
    let mut in_place = true;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        match (database.check_file(), in_place) {
            (Err(error), true) => tracing::error!(%error, "not ready"),
            (Ok(()), false) => tracing::info!("the database file is in its place again"),
            (Ok(()), true) | (Err(_), false) => continue,
        }
        in_place = !in_place;
    }
}

/// How often the time is recorded, so that the store's clock goes on from there should the machine's be set back before the next start.
const TIME_RECORDED_EVERY: Duration = Duration::from_secs(30);

/// Records the time for ever.
async fn record_time(writer: &Writer) {
    loop {
        tokio::time::sleep(TIME_RECORDED_EVERY).await;
        // The writer logs what fails. The time recorded before holds, and whoever reconciles is given that.
        let _ = writer.readiness().await;
    }
}

async fn finish_writing(
    writer: JoinHandle<Result<(), WriterDied>>,
    database: &Database,
    deadline: Instant,
) -> anyhow::Result<()> {
    match timeout_at(deadline, writer).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => bail!("the writer ended with an error while stopping: {error}"),
        Ok(Err(error)) => bail!("the writer ended with an error while stopping: {error}"),
        Err(_) => bail!("not everything accepted was committed within --shutdown-timeout; what was answered is"),
    }
    if timeout_at(deadline, database.close()).await.is_err() {
        tracing::warn!("the write-ahead log stays beside the database file; the next start reads it");
    }
    tracing::info!("stopped");
    Ok(())
}

/// What connections are told.
#[derive(Debug, Default)]
struct Notice {
    /// The store stops.
    stopping: bool,
    /// Counts how often a connection found no place.
    crowded: u64,
}

/// The open connections.
struct Connections {
    app: Arc<App>,
    router: Router,
    http: auto::Builder<TokioExecutor>,
    silence_timeout: Duration,
    write_timeout: Duration,
    slots: Arc<Semaphore>,
    /// `None` serves plain HTTP.
    tls: Option<Arc<Tls>>,
    notices: watch::Sender<Notice>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(app: Arc<App>, settings: &Settings, slots: usize, tls: Option<Arc<Tls>>) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(HEAD_MAX_BYTES as usize);
        http.http2()
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_MAX_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        Self {
            router: router(Arc::clone(&app)),
            app,
            http,
            // Longer than a client that has said everything may have to wait for its answer.
            silence_timeout: settings.header_timeout.saturating_add(settings.busy_timeout),
            write_timeout: settings.write_timeout,
            slots: Arc::new(Semaphore::new(slots)),
            tls,
            notices: watch::Sender::new(Notice::default()),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts for ever. A connection beyond the cap waits in the system's queue; connections that were served make room for it.
    async fn accept(&mut self, listener: &TcpListener) {
        while let Some(slot) = self.slot().await {
            while self.tasks.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream, slot),
                Err(error) => {
                    // Such as too many open files: others must close first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Waits for a place. While there is none, connections end after their answer, and idle ones at once.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            match timeout(CROWDED_INTERVAL, Arc::clone(&self.slots).acquire_owned()).await {
                Ok(slot) => return slot.ok(),
                Err(_) => self.notices.send_modify(|notice| notice.crowded = notice.crowded.wrapping_add(1)),
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be delayed on a connection");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        // The head's own time begins when it is known which HTTP this is, and HTTP/2 has none.
        stream.set_read_timeout(Some(self.silence_timeout));
        let stream = Box::pin(stream);
        let service = TowerToHyperService::new(self.router.clone());
        let (http, tls, notices) = (self.http.clone(), self.tls.clone(), self.notices.subscribe());
        let app = Arc::clone(&self.app);
        self.tasks.spawn(async move {
            app.metrics.connections.inc();
            let _count = Uncount(&app);
            match tls {
                None => drive(http.serve_connection(TokioIo::new(stream), service), notices).await,
                Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
                    Ok(Ok(stream)) => drive(http.serve_connection(TokioIo::new(stream), service), notices).await,
                    Ok(Err(error)) => tls.refused(&error),
                    Err(_) => tls.refused(&"the client took too long"),
                },
            }
            drop(slot);
        });
    }

    /// Lets every request that was begun end, until `deadline`.
    async fn finish(self, deadline: Instant) {
        let Self { notices, mut tasks, .. } = self;
        notices.send_modify(|notice| notice.stopping = true);
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            tracing::warn!(connections = tasks.len(), "some requests did not end in time, their connections are cut");
        }
        tasks.shutdown().await;
    }
}

/// Serves a connection. At a notice it ends after the answers to what was asked.
async fn drive<I>(
    connection: auto::Connection<'_, I, TowerToHyperService<Router>, TokioExecutor>,
    mut notices: watch::Receiver<Notice>,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut connection = pin!(connection);
    let begun = Instant::now();
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return;
            }
            changed = notices.changed(), if !is_ending => {
                let is_stopping = changed.is_err() || notices.borrow_and_update().stopping;
                // A connection that has just come may not have sent its request yet.
                if is_stopping || begun.elapsed() >= CROWDED_INTERVAL {
                    connection.as_mut().graceful_shutdown();
                    is_ending = true;
                }
            }
        }
    }
}

/// Counts a connection down however it ends.
struct Uncount<'a>(&'a App);

impl Drop for Uncount<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}
