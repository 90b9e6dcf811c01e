//! What can go wrong between the gateway and the store: a proxy that stands there and does it on demand.
//!
//! As long as nothing is asked of it, it passes requests and answers on unchanged, in the HTTP in which they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use privatenumber_contract::paths;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is reset before the store sees it.
    ResetBefore,
    /// The store deals with it, then the connection is reset in place of the answer.
    LoseAnswer,
    /// The store deals with it; the answer comes this much later.
    DelayAnswer(Duration),
    /// The store deals with it; half of the answer's body comes, then the connection is reset.
    CutAnswer,
    /// The store deals with it; of the answer the head comes and then trailers, where its body was due. HTTP/2 only.
    TrailersForBody {
        /// Whether the head still says which push was committed.
        committed: bool,
    },
    /// The store never sees it; the answer is this status, and comes before the request's body is read.
    StatusAtHead(u16),
    /// The same, with a body that never ends.
    OpenAtHead(u16),
    /// The store deals with it; the answer never comes.
    SwallowAnswer,
    /// The store never sees it; no answer comes. So does a store that is stopped.
    Hang,
    /// The store never sees it; the answer is this status, without a problem document: whether something was committed can
    /// not be told from it.
    Status(u16),
    /// The same with a problem document, as the store gives one.
    Problem(u16),
}

/// A request that arrived, whatever became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its body.
    pub body: Bytes,
}

/// Which requests a fault is for, by their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests(&'static [&'static str]);

/// Requests for claims: single pushes (`headers: pass`) and batches of pushes (`headers: hold`).
pub const CLAIMS: Requests = Requests(&[paths::PUSHES, paths::PUSH_BATCHES]);
/// Reports of outcomes.
pub const OUTCOMES: Requests = Requests(&[paths::OUTCOMES]);

impl Requests {
    /// Requests to these paths.
    pub const fn to(paths: &'static [&'static str]) -> Self {
        Self(paths)
    }

    fn include(self, path: &str) -> bool {
        self.0.contains(&path)
    }
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    requests: Requests,
    fault: Fault,
    times: usize,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// Headers that every answer has besides its own.
    headers: HeaderMap,
}

/// The proxy. Dropping it ends it with all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: String,
    upstream: String,
    state: Arc<Mutex<State>>,
    server: Option<JoinSet<()>>,
}

impl FaultProxy {
    /// One in front of `upstream` (`127.0.0.1:PORT`), on a free port.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the fault proxy cannot listen")?;
        let address = listener.local_addr().context("the fault proxy has no address")?.to_string();
        let mut proxy = Self { address, upstream: upstream.to_owned(), state: Arc::default(), server: None };
        proxy.serve(listener);
        Ok(proxy)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Does `fault` to all these requests, until [`heal`](Self::heal).
    pub fn strike(&self, requests: Requests, fault: Fault) {
        self.strike_times(requests, fault, usize::MAX);
    }

    /// Does `fault` to the next `times` of these requests. Several such rules are used up one after the other.
    pub fn strike_times(&self, requests: Requests, fault: Fault, times: usize) {
        self.state().rules.push(Rule { requests, fault, times });
    }

    /// Adds these headers to every answer from now on, whatever becomes of it. Over HTTP/2 they come as trailers as well.
    pub fn add_headers(&self, headers: &[(&'static str, &'static str)]) {
        let headers = headers.iter();
        self.state()
            .headers
            .extend(headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))));
    }

    /// Passes everything on again.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// The store is away: connections are reset, new ones refused.
    pub async fn go_away(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.shutdown().await;
        }
    }

    /// The store is back, at the same address.
    ///
    /// # Errors
    ///
    /// When the address is taken by now.
    pub async fn come_back(&mut self) -> Result<()> {
        if self.server.is_none() {
            let listener = TcpListener::bind(&self.address).await;
            let listener = listener.with_context(|| format!("the fault proxy cannot return to {}", self.address))?;
            self.serve(listener);
        }
        Ok(())
    }

    /// Forgets the requests so far, which it keeps in memory with their bodies otherwise.
    pub fn forget(&self) {
        self.state().seen.clear();
    }

    /// All requests since the start, or since they were [forgotten](Self::forget).
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many of them were such requests.
    pub fn count(&self, requests: Requests) -> usize {
        self.state().seen.iter().filter(|seen| requests.include(&seen.path)).count()
    }

    /// How many pushes were asked for in them, each as often as it was.
    pub fn pushes(&self) -> usize {
        let state = self.state();
        let claims = state.seen.iter().filter(|seen| CLAIMS.include(&seen.path));
        claims.map(|seen| String::from_utf8_lossy(&seen.body).matches("\"pushId\":").count()).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&mut self, listener: TcpListener) {
        let (upstream, state) = (self.upstream.clone(), Arc::clone(&self.state));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Whatever ends early ends as a reset.
                let _ = stream.set_zero_linger();
                connections.spawn(connection(stream, upstream.clone(), Arc::clone(&state)));
                while connections.try_join_next().is_some() {}
            }
        });
        self.server = Some(server);
    }
}

async fn connection(stream: TcpStream, upstream: String, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| {
        let (upstream, state) = (upstream.clone(), Arc::clone(&state));
        async move {
            let version = request.version();
            let answer = exchange(request, &upstream, &state).await?;
            let headers = state.lock().unwrap_or_else(PoisonError::into_inner).headers.clone();
            anyhow::Ok(decorated(answer, headers, version))
        }
    });
    // An error is a connection that ended early: often the fault that was asked for.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

type Answered = Response<FaultyBody>;

async fn exchange(request: Request<Incoming>, upstream: &str, state: &Mutex<State>) -> Result<Answered> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    match next_fault(&mut state.lock().unwrap_or_else(PoisonError::into_inner).rules, &path, When::AtHead) {
        Some(Fault::StatusAtHead(status)) => return status_only(status, FaultyBody::whole(Bytes::new())),
        Some(Fault::OpenAtHead(status)) => return status_only(status, FaultyBody::open()),
        _ => {}
    }
    let body = body.collect().await.context("the request was cut off")?.to_bytes();
    let fault = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.push(Seen { method: head.method.clone(), path: path.clone(), body: body.clone() });
        next_fault(&mut state.rules, &path, When::AtEnd)
    };
    match fault {
        Some(Fault::ResetBefore) => bail!("reset on demand"),
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Status(status)) => return status_only(status, FaultyBody::whole(Bytes::new())),
        Some(Fault::Problem(status)) => return problem(status),
        _ => {}
    }
    let headers: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| !written_by_the_client(name) && *name != hyper::header::HOST)
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let answer = http::send_by(head.version, head.method, &format!("http://{upstream}{path}"), &headers, body).await?;
    match fault {
        Some(Fault::LoseAnswer) => bail!("reset on demand"),
        Some(Fault::SwallowAnswer) => std::future::pending::<()>().await,
        Some(Fault::DelayAnswer(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let mut passed = Response::builder().status(answer.status);
    for (name, value) in answer.headers.iter().filter(|(name, _)| !written_by_the_client(name)) {
        if name != paths::COMMITTED_HEADER || fault != Some(Fault::TrailersForBody { committed: false }) {
            passed = passed.header(name, value);
        }
    }
    let body = match fault {
        Some(Fault::CutAnswer) => FaultyBody::half(answer.body),
        Some(Fault::TrailersForBody { .. }) => FaultyBody::trailers(),
        _ => FaultyBody::whole(answer.body),
    };
    passed.body(body).context("not an answer")
}

/// What hyper writes itself for the body it is given.
fn written_by_the_client(name: &HeaderName) -> bool {
    name == CONTENT_LENGTH || name == TRANSFER_ENCODING
}

/// How much of a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    AtHead,
    AtEnd,
}

impl Fault {
    fn strikes(self) -> When {
        match self {
            Self::StatusAtHead(_) | Self::OpenAtHead(_) => When::AtHead,
            _ => When::AtEnd,
        }
    }
}

/// The fault that is next for `path`, if it strikes now.
fn next_fault(rules: &mut Vec<Rule>, path: &str, now: When) -> Option<Fault> {
    let (index, rule) = rules.iter_mut().enumerate().find(|(_, rule)| rule.requests.include(path))?;
    let fault = Some(rule.fault).filter(|fault| fault.strikes() == now)?;
    if rule.times != usize::MAX {
        rule.times = rule.times.saturating_sub(1);
        if rule.times == 0 {
            rules.remove(index);
        }
    }
    Some(fault)
}

/// The answer with these headers besides its own.
fn decorated(mut answer: Answered, headers: HeaderMap, version: Version) -> Answered {
    if version == Version::HTTP_2 && !headers.is_empty() && answer.body().end == End::Proper {
        answer.body_mut().end = End::Trailers;
        answer.body_mut().trailers.clone_from(&headers);
    }
    answer.headers_mut().extend(headers);
    answer
}

fn problem(status: u16) -> Result<Answered> {
    let document = serde_json::json!({ "type": "about:blank", "title": "refused on demand", "status": status });
    let mut answer = status_only(status, FaultyBody::whole(document.to_string().into()))?;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Ok(answer)
}

fn status_only(status: u16, body: FaultyBody) -> Result<Answered> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status)?;
    Ok(answer)
}

/// A body that may end otherwise than its head has announced.
struct FaultyBody {
    /// As announced.
    length: Option<u64>,
    rest: Full<Bytes>,
    end: End,
    trailers: HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Proper,
    Cut,
    Trailers,
    Never,
}

impl FaultyBody {
    fn whole(body: Bytes) -> Self {
        Self { length: Some(body.len() as u64), rest: Full::new(body), end: End::Proper, trailers: HeaderMap::new() }
    }

    fn half(body: Bytes) -> Self {
        Self {
            length: Some(body.len() as u64),
            rest: Full::new(body.slice(..body.len() / 2)),
            end: End::Cut,
            trailers: HeaderMap::new(),
        }
    }

    fn open() -> Self {
        Self { length: None, rest: Full::new(Bytes::from_static(b"{")), end: End::Never, trailers: HeaderMap::new() }
    }

    fn trailers() -> Self {
        let trailers = [(HeaderName::from_static("x-checked"), HeaderValue::from_static("yes"))];
        Self { length: None, rest: Full::default(), end: End::Trailers, trailers: HeaderMap::from_iter(trailers) }
    }
}

impl hyper::body::Body for FaultyBody {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>>>> {
        use std::task::Poll;
        match std::pin::Pin::new(&mut self.rest).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(_) => {}
            Poll::Pending => return Poll::Pending,
        }
        if self.end == End::Never {
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(&mut self.end, End::Proper) {
            End::Proper | End::Never => None,
            End::Cut => Some(Err(anyhow::anyhow!("cut on demand"))),
            End::Trailers => Some(Ok(Frame::trailers(std::mem::take(&mut self.trailers)))),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Proper && hyper::body::Body::is_end_stream(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CLAIMS, Fault, FaultProxy};
    use crate::http;

    /// Stands for the store: a proxy of its own that answers every request.
    async fn answering() -> FaultProxy {
        let store = FaultProxy::start("127.0.0.1:1").await.unwrap();
        store.strike(CLAIMS, Fault::Status(200));
        store
    }

    #[tokio::test]
    async fn it_does_what_it_is_told_and_counts_what_arrives() {
        let store = answering().await;
        let mut proxy = FaultProxy::start(store.address()).await.unwrap();
        let url = format!("http://{}/v1/pushes", proxy.address());

        assert_eq!(http::get(&url).await.unwrap().status, 200);
        proxy.strike_times(CLAIMS, Fault::Status(500), 1);
        proxy.strike_times(CLAIMS, Fault::LoseAnswer, 1);
        proxy.strike_times(CLAIMS, Fault::ResetBefore, 1);
        assert_eq!(http::get(&url).await.unwrap().status, 500);
        assert_eq!(store.count(CLAIMS), 1, "a status of the proxy's own never reaches the store");
        assert!(http::get(&url).await.is_err());
        assert_eq!(store.count(CLAIMS), 2, "only the answer was lost");
        assert!(http::get(&url).await.is_err());
        assert_eq!(store.count(CLAIMS), 2);
        assert_eq!(http::get(&url).await.unwrap().status, 200, "three faults, then none");

        proxy.strike_times(CLAIMS, Fault::SwallowAnswer, 1);
        assert!(tokio::time::timeout(Duration::from_millis(100), http::get(&url)).await.is_err());
        assert_eq!(store.count(CLAIMS), 4, "the store has dealt with it");
        proxy.strike_times(CLAIMS, Fault::Hang, 1);
        assert!(tokio::time::timeout(Duration::from_millis(100), http::get(&url)).await.is_err());
        proxy.strike(CLAIMS, Fault::Problem(429));
        let problem = http::get(&url).await.unwrap();
        assert_eq!(
            (problem.status.as_u16(), problem.headers["content-type"].as_bytes()),
            (429, &b"application/problem+json"[..])
        );
        assert_eq!(store.count(CLAIMS), 4, "it never reached the store");
        proxy.heal();
        proxy.go_away().await;
        assert!(http::get(&url).await.is_err());
        proxy.come_back().await.unwrap();
        assert_eq!(http::get(&url).await.unwrap().status, 200);
        assert_eq!(proxy.count(CLAIMS), 9);
        proxy.forget();
        assert_eq!(proxy.count(CLAIMS), 0);
    }
}
