//! Store and business as the arms see them: they answer what the contract says, at once or after a given time, and remember
//! next to nothing.
//!
//! They are the same for all arms, and their cost is nobody's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Sub;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::demo;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use privatenumber_contract::{
    CallReport, CallResult, CallVerdict, Outcomes, OutcomesAnswer, Private, Push, PushAnswer, PushBatch,
    PushBatchAnswer, PushResult, PushVerdict, Record, WorkAnswer, WorkRequest, paths,
};
use serde_json::value::RawValue;
use tokio::net::TcpSocket;
use tokio::time::Instant;

/// Connections that may wait to be accepted. One that finds no place tries again after a second, which would be the arm's.
const BACKLOG: u32 = 4096;

/// What Envoy adds to the host of a request that it mirrors.
const SHADOW: &str = "-shadow";

/// The call of which the control's records are made: of the usual length.
const CALL_OF_THE_CONTROL: &str = r#"{"appKey":"demoAppKey000000000000000001","sessionId":"1200_366_0_20260105103010@callenabler.example.com",
    "claimDeadline":0,"callinTime":1767580210000,"answerTime":1767580215000,"disconnectTime":1767580275000,"recordUrl":null,
    "subscriptionId":"11111111-2222-4333-8444-555555555501","privateNum":"+8617010000001","origNum":"+8617010000011",
    "userData":null,"ak":"AC5A23CF0E42435C9FF52E401EE897BC","recordFlag":false}"#;

/// The business of the call with this number, among `businesses`.
pub fn business_of(number: usize, businesses: usize) -> String {
    if businesses == 1 { demo::AK.to_owned() } else { format!("BENCH{:027}", number % businesses) }
}

/// What arrived so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pushes recorded.
    pub pushes: u64,
    /// Requests that carried pushes, one or many.
    pub push_requests: u64,
    /// Callbacks.
    pub callbacks: u64,
    /// Outcomes, in requests of one or many.
    pub outcomes: u64,
    /// Requests that carried outcomes.
    pub outcome_requests: u64,
    /// Requests that keep no contract.
    pub invalid: u64,
}

impl Sub for Counts {
    type Output = Self;

    /// What arrived after `before`.
    fn sub(self, before: Self) -> Self {
        Self {
            pushes: self.pushes - before.pushes,
            push_requests: self.push_requests - before.push_requests,
            callbacks: self.callbacks - before.callbacks,
            outcomes: self.outcomes - before.outcomes,
            outcome_requests: self.outcome_requests - before.outcome_requests,
            invalid: self.invalid - before.invalid,
        }
    }
}

/// A callback as it came, while it is [watched](Sinks::watch).
#[derive(Clone, Debug)]
pub struct Callback {
    /// Its `webhook-id`.
    pub call_id: Option<String>,
    /// Its body.
    pub body: Bytes,
}

#[derive(Default)]
struct State {
    counts: Cell<Counts>,
    businesses: Cell<usize>,
    next_business: Cell<usize>,
    delay: Cell<Duration>,
    store_delay: Cell<Duration>,
    callbacks_open: Cell<u64>,
    most_callbacks_open: Cell<u64>,
    /// When a push was due, by its `sessionId`, where delays are measured.
    departures: RefCell<HashMap<String, Instant>>,
    delays: RefCell<Vec<Duration>>,
    watched: RefCell<Option<Watched>>,
}

/// What was recorded and called back while it was watched.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Records by call id.
    pub records: HashMap<String, String>,
    /// The CDRs' texts by call id, of the pushes that carried them.
    pub texts: HashMap<String, Vec<u8>>,
    /// Callbacks.
    pub callbacks: Vec<Callback>,
}

/// Both sinks; they live as long as the runtime.
#[derive(Clone)]
pub struct Sinks {
    store: String,
    state: Rc<State>,
}

impl Sinks {
    /// Starts them; the store listens on a free port.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn start() -> Result<Self> {
        let state = Rc::new(State::default());
        state.businesses.set(1);
        let store = listen(Rc::clone(&state), |state, request| async move { state.store(request).await }).await?;
        Ok(Self { store, state })
    }

    /// `127.0.0.1:PORT` of the store.
    pub fn store_address(&self) -> &str {
        &self.store
    }

    /// Opens one more free port of the business and returns its `127.0.0.1:PORT`. Every arm has one of its own: the system keeps
    /// the ends of closed connections for a minute, tens of thousands with a slow business, and they are to be in no one else's way.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn new_business_address(&self) -> Result<String> {
        listen(Rc::clone(&self.state), |state, request| async move { state.business(request).await }).await
    }

    /// What arrived so far.
    pub fn counts(&self) -> Counts {
        self.state.counts.get()
    }

    /// From now on the business takes this long, and calls belong to this many businesses by turns.
    pub fn behave(&self, delay: Duration, businesses: usize) {
        self.state.delay.set(delay);
        self.state.businesses.set(businesses.max(1));
        self.state.most_callbacks_open.set(0);
    }

    /// From now on the store takes this long for each request.
    pub fn store_takes(&self, delay: Duration) {
        self.state.store_delay.set(delay);
    }

    /// The most callbacks that were open at the same time since [`behave`](Self::behave).
    pub fn most_callbacks_open(&self) -> u64 {
        self.state.most_callbacks_open.get()
    }

    /// A push with this `sessionId` was due at this moment: measure the time until its callback.
    pub fn expect(&self, session_id: String, due: Instant) {
        self.state.departures.borrow_mut().insert(session_id, due);
    }

    /// The times from push to callback that were measured since the last time this was asked.
    pub fn delays(&self) -> Vec<Duration> {
        self.state.departures.borrow_mut().clear();
        self.state.delays.take()
    }

    /// Keeps everything from now on.
    pub fn watch(&self) {
        self.state.watched.replace(Some(Watched::default()));
    }

    /// What was kept since [`watch`](Self::watch).
    pub fn watched(&self) -> Watched {
        self.state.watched.take().unwrap_or_default()
    }
}

async fn listen<F, A>(state: Rc<State>, answer: F) -> Result<String>
where
    F: Fn(Rc<State>, Request<Incoming>) -> A + Copy + 'static,
    A: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let socket = TcpSocket::new_v4().context("a sink has no socket")?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("a sink has no port")?;
    let listener = socket.listen(BACKLOG).context("a sink cannot listen")?;
    let address = listener.local_addr().context("a sink has no address")?.to_string();
    tokio::task::spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Such as too many open files: others must close first.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let state = Rc::clone(&state);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let answer = answer(Rc::clone(&state), request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                // An error is a connection that the arm has closed.
                let _ = auto::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

/// Runs on this thread what a connection of HTTP/2 does beside.
#[derive(Clone)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl State {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    async fn store(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_mirrored = is_mirrored(&request);
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
            // The filter that lets headers go ahead takes back what turns out to be no push; nobody hears this answer.
            return Response::new(Full::default());
        };
        if !self.store_delay.get().is_zero() {
            tokio::time::sleep(self.store_delay.get()).await;
        }
        match path.as_str() {
            paths::PUSHES => self.record(&body),
            paths::PUSH_BATCHES => self.record_batch(&body),
            paths::OUTCOMES => self.outcomes(&body),
            paths::WORK_TAKE => self.works(&body),
            // A mirror's path is that of the request that it is a copy of.
            _ if is_mirrored => {
                self.count(|counts| {
                    counts.outcomes += 1;
                    counts.outcome_requests += 1;
                });
                json(&OutcomesAnswer { recorded: 1, ..OutcomesAnswer::default() }).unwrap_or_else(|_| self.invalid())
            }
            _ => self.record_for_the_control(&body),
        }
    }

    fn record(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(push) = serde_json::from_slice::<Push<'_>>(body) else { return self.invalid() };
        self.count(|counts| {
            counts.pushes += 1;
            counts.push_requests += 1;
        });
        let Ok(claims) = self.claims(&push.calls) else { return self.invalid() };
        let answer = json(&PushAnswer { calls: claims.iter().map(Claim::result).collect(), works_waiting: 0 });
        let Ok(mut answer) = answer else { return self.invalid() };
        if let Ok(push_id) = push.push_id.to_string().parse() {
            answer.headers_mut().insert(paths::COMMITTED_HEADER, push_id);
        }
        answer
    }

    fn record_batch(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(batch) = serde_json::from_slice::<PushBatch<'_>>(body) else { return self.invalid() };
        self.count(|counts| {
            counts.pushes += batch.pushes.len() as u64;
            counts.push_requests += 1;
        });
        let claims: Result<Vec<_>, _> = batch.pushes.iter().map(|push| self.claims(&push.calls)).collect();
        let Ok(claims) = claims else { return self.invalid() };
        let results = batch.pushes.iter().zip(&claims).map(|(push, claims)| PushResult {
            push_id: push.push_id,
            verdict: PushVerdict::Committed,
            calls: claims.iter().map(Claim::result).collect(),
            problem: None,
        });
        json(&PushBatchAnswer { pushes: results.collect(), works_waiting: 0 }).unwrap_or_else(|_| self.invalid())
    }

    /// Grants every claim, with a record.
    fn claims(&self, calls: &[CallReport<'_>]) -> Result<Vec<Claim>, serde_json::Error> {
        let mut claims = Vec::with_capacity(calls.len());
        for call in calls {
            let number = self.next_business.get();
            self.next_business.set(number.wrapping_add(1));
            let ak = business_of(number, self.businesses.get());
            let record = RawValue::from_string(serde_json::to_string(&record(call, &ak))?)?;
            let claim = Claim { call_id: call.key().id(), ak, record };
            if let Some(watched) = self.watched.borrow_mut().as_mut() {
                watched.records.insert(claim.call_id.clone(), claim.record.get().to_owned());
                let text = call.cdr.as_ref().map(|text| (claim.call_id.clone(), text.as_bytes().to_vec()));
                watched.texts.extend(text);
            }
            claims.push(claim);
        }
        Ok(claims)
    }

    fn outcomes(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(outcomes) = serde_json::from_slice::<Outcomes>(body) else { return self.invalid() };
        let recorded = outcomes.outcomes.len() as u64;
        self.count(|counts| {
            counts.outcomes += recorded;
            counts.outcome_requests += 1;
        });
        json(&OutcomesAnswer { recorded, ..OutcomesAnswer::default() }).unwrap_or_else(|_| self.invalid())
    }

    /// Nothing waits. Filters ask every few seconds, also while another arm is measured.
    fn works(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(WorkRequest { push_id, .. }) = serde_json::from_slice(body) else { return self.invalid() };
        json(&WorkAnswer { push_id, calls: Vec::new(), works_waiting: 0 }).unwrap_or_else(|_| self.invalid())
    }

    /// The control's store is sent Huawei's own body, and answers as much as any other store does.
    fn record_for_the_control(&self, body: &[u8]) -> Response<Full<Bytes>> {
        self.count(|counts| {
            counts.pushes += 1;
            counts.push_requests += 1;
        });
        let calls = String::from_utf8_lossy(body).matches(r#""sessionId":"#).count();
        let Ok(call) = serde_json::from_str::<CallReport<'_>>(CALL_OF_THE_CONTROL) else { return self.invalid() };
        let Ok(claims) = self.claims(&vec![call; calls]) else { return self.invalid() };
        json(&PushAnswer { calls: claims.iter().map(Claim::result).collect(), works_waiting: 0 })
            .unwrap_or_else(|_| self.invalid())
    }

    async fn business(self: Rc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let _open = Open::one_more(&self);
        self.call_back(request).await
    }

    async fn call_back(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let call_id = request.headers().get("webhook-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
            return self.invalid();
        };
        self.count(|counts| counts.callbacks += 1);
        if !self.departures.borrow().is_empty()
            && let Some(due) = session_id(&body).and_then(|id| self.departures.borrow_mut().remove(id))
        {
            self.delays.borrow_mut().push(due.elapsed());
        }
        if let Some(watched) = self.watched.borrow_mut().as_mut() {
            watched.callbacks.push(Callback { call_id, body });
        }
        if !self.delay.get().is_zero() {
            tokio::time::sleep(self.delay.get()).await;
        }
        Response::new(Full::new(Bytes::from_static(b"{}")))
    }

    fn invalid(&self) -> Response<Full<Bytes>> {
        self.count(|counts| counts.invalid += 1);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
    }
}

/// A claim that is granted.
struct Claim {
    call_id: String,
    ak: String,
    record: Box<RawValue>,
}

impl Claim {
    fn result(&self) -> CallResult<'_> {
        CallResult {
            verdict: CallVerdict::Claimed,
            call_id: self.call_id.as_str().into(),
            ak: Some(self.ak.as_str().into()),
            record: Some(&self.record),
        }
    }
}

/// A callback that is under way; no longer when it is dropped, even if the arm hung up.
struct Open(Rc<State>);

impl Open {
    fn one_more(state: &Rc<State>) -> Self {
        state.callbacks_open.set(state.callbacks_open.get() + 1);
        state.most_callbacks_open.set(state.most_callbacks_open.get().max(state.callbacks_open.get()));
        Self(Rc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.callbacks_open.set(self.0.callbacks_open.get() - 1);
    }
}

fn is_mirrored(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.split(':').next().is_some_and(|name| name.ends_with(SHADOW))
}

/// The first `sessionId` of a JSON text.
fn session_id(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(r#""sessionId":""#)?;
    rest.split_once('"').map(|(id, _)| id)
}

fn json(value: &impl serde::Serialize) -> Result<Response<Full<Bytes>>, serde_json::Error> {
    let mut answer = Response::new(Full::new(serde_json::to_vec(value)?.into()));
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    Ok(answer)
}

/// The record of a call, as if its binding were known.
fn record(call: &CallReport<'_>, ak: &str) -> Record {
    let own = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let private = |text: &Option<Private<std::borrow::Cow<'_, str>>>| {
        text.as_ref().map(|text| Private::new(text.expose().to_string()))
    };
    Record {
        id: Some(1_499_268_874),
        ak: Some(ak.to_owned()),
        orig_num: private(&call.orig_num),
        private_num: private(&call.private_num),
        record_flag: call.record_flag,
        max_duration: Some(60),
        user_data: private(&call.user_data),
        call_direction: Some(0),
        subscription_id: own(&call.subscription_id),
        status: Some(1),
        bind_response: Some(Private::new(r#"{"resultcode":"0","resultdesc":"Success"}"#.to_owned())),
        binding_duration: Some(5),
        bind_time: Some(1_646_288_530_000),
        session_id: Some(Private::new(call.session_id.expose().to_string())),
        callin_time: call.callin_time,
        answer_time: call.answer_time,
        disconnect_time: call.disconnect_time,
        record_url: private(&call.record_url),
        created_at: Some(1_646_288_530_000),
        updated_at: Some(1_646_288_530_000),
        ..Record::default()
    }
}
