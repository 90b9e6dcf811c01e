//! A store to talk to, and pushes to talk about. Every exchange is checked against the OpenAPI document.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use privatenumber_contract::CallKey;
use privatenumber_store::clock::Clock;
use privatenumber_store::database::{Database, Keeping, OpenOptions};
use privatenumber_store::http::body::BodyLimits;
use privatenumber_store::http::slow::SlowBodies;
use privatenumber_store::http::token::Token;
use privatenumber_store::http::{App, router};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::{Writer, WriterDied};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::document::DOCUMENT;

/// When the stores of the tests are started, unless they say otherwise.
pub const START: i64 = 1_800_000_000_000;
/// Claims of the tests last this long.
pub const CLAIM_LASTS: i64 = 60_000;

/// Two gateways' pushes.
pub const PUSH_1: &str = "00000000000000000000000000000001";
pub const PUSH_2: &str = "00000000000000000000000000000002";

/// Two workers.
pub const WORKER_1: &str = "000000000000000000000000000000f1";
pub const WORKER_2: &str = "000000000000000000000000000000f2";

pub struct Store {
    pub app: Arc<App>,
    pub router: Router,
    /// The wall clock of its machine.
    pub now: Arc<AtomicI64>,
    elapsed: Arc<AtomicU64>,
    pub writer_task: JoinHandle<Result<(), WriterDied>>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The answer must have this status; returns its JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The answer must be this problem; returns its detail.
    #[track_caller]
    pub fn problem(&self, status: u16, name: &str) -> String {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["type"], format!("urn:privatenumber:problem:{name}"));
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// What differs from an ordinary store.
pub struct Oddities {
    pub body_bytes: usize,
    pub body_time: Duration,
    pub budget: usize,
    pub queue: usize,
    pub room: usize,
    pub token: Option<&'static str>,
    pub keeping: Keeping,
}

impl Default for Oddities {
    fn default() -> Self {
        let body_time = Duration::from_secs(10);
        Self {
            body_bytes: 4 << 20,
            body_time,
            budget: 64 << 20,
            queue: 10_000,
            room: Semaphore::MAX_PERMITS,
            token: None,
            keeping: Keeping::default(),
        }
    }
}

impl Store {
    pub async fn in_memory() -> Self {
        Self::odd(Oddities::default()).await
    }

    pub async fn odd(oddities: Oddities) -> Self {
        Self::over(Database::open_in_memory().await.unwrap(), oddities)
    }

    pub async fn at(path: &Path) -> Self {
        Self::at_keeping(path, Keeping::default()).await
    }

    pub async fn at_keeping(path: &Path, keeping: Keeping) -> Self {
        let options =
            OpenOptions { busy_timeout: Duration::from_millis(100), readers: 2, lock_wait: Duration::from_secs(10) };
        Self::over(Database::open(path, &options).await.unwrap(), Oddities { keeping, ..Oddities::default() })
    }

    fn over(database: Database, oddities: Oddities) -> Self {
        let database = database.keeping(oddities.keeping);
        let now = Arc::new(AtomicI64::new(START));
        let elapsed = Arc::new(AtomicU64::new(0));
        let (wall, passed) = (Arc::clone(&now), Arc::clone(&elapsed));
        let clock = Clock::new(
            move || wall.load(Ordering::SeqCst),
            move || Duration::from_millis(passed.load(Ordering::SeqCst)),
        );
        let metrics = Arc::new(Metrics::default());
        let (writer, writer_task) =
            Writer::start(database.clone(), clock.clone(), Arc::clone(&metrics), oddities.queue);
        let app = Arc::new(App {
            database,
            writer,
            clock,
            metrics,
            body_limits: BodyLimits {
                bytes: oddities.body_bytes,
                time: oddities.body_time,
                budget: Arc::new(Semaphore::new(oddities.budget)),
                slow: Arc::new(SlowBodies::new(usize::MAX)),
            },
            ready_timeout: Duration::from_secs(2),
            token: oddities.token.map(Token::new),
            room: Semaphore::new(oddities.room),
            stopping: AtomicBool::new(false),
        });
        Self { router: router(Arc::clone(&app)), app, now, elapsed, writer_task }
    }

    pub fn pass_ms(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
        self.elapsed.fetch_add(milliseconds.try_into().unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock of its machine forward or back.
    pub fn set_clock(&self, by_ms: i64) {
        self.now.fetch_add(by_ms, Ordering::SeqCst);
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let (head, body) = request.into_parts();
        // Only bodies that are here already are seen by the check; one that never ends is left alone.
        let (body, sent) = if http_body::Body::size_hint(&body).exact().is_some() {
            let bytes = body.collect().await.unwrap().to_bytes();
            (Body::from(bytes.clone()), Some(bytes))
        } else {
            (body, None)
        };
        let response = self.router.clone().oneshot(Request::from_parts(head, body)).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let answer = Answer { status: head.status, headers: head.headers, text };
        DOCUMENT.check(&method, &path, sent.as_deref(), &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send(with_json("POST", path, body)).await
    }

    pub async fn put(&self, path: &str, body: impl ToString) -> Answer {
        self.send(with_json("PUT", path, body)).await
    }

    /// Pushes calls; returns what was answered for each.
    pub async fn push(&self, push_id: &str, calls: Vec<Value>) -> Vec<Value> {
        let answer = self.post("/v1/pushes", push(push_id, calls)).await.expect(200);
        answer["calls"].as_array().unwrap().clone()
    }

    pub async fn report(&self, call_id: &str, push_id: &str, outcome: Value) -> Value {
        let report = json!({"callId": call_id, "pushId": push_id, "outcome": outcome, "durationMs": 12});
        self.post("/v1/outcomes", json!({"outcomes": [report]})).await.expect(200)
    }

    /// Takes works, whose claims last a second.
    pub async fn take(&self, worker: &str, most: u32) -> Value {
        self.take_answer(worker, most).await.expect(200)
    }

    pub async fn take_answer(&self, worker: &str, most: u32) -> Answer {
        self.post("/v1/work:take", json!({"pushId": worker, "most": most, "ttlMs": 1000})).await
    }

    pub async fn release(&self, call_ids: &[&str]) -> Value {
        self.post("/v1/calls:release", json!({"callIds": call_ids})).await.expect(200)
    }

    pub async fn call(&self, call_id: &str) -> Value {
        self.get(&format!("/v1/calls/{call_id}")).await.expect(200)
    }
}

pub fn with_json(method: &str, path: &str, body: impl ToString) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

pub fn push(push_id: &str, calls: Vec<Value>) -> Value {
    json!({"pushId": push_id, "appKey": "app", "receivedAt": START - 5, "calls": calls})
}

/// A call of a session, with everything a CDR may bring.
pub fn call(session_id: &str) -> Value {
    json!({
        "appKey": "app", "sessionId": session_id, "icid": "icid", "claimDeadline": START - 5 + CLAIM_LASTS,
        "callinTime": START - 90_000, "answerTime": START - 80_000, "disconnectTime": START - 20_000,
        "recordUrl": "https://recordings.example/1", "subscriptionId": "binding-1",
        "privateNum": "+8617010000001", "origNum": "+8617010000011", "userData": "order 7",
        "ak": "CONFIGURED", "recordFlag": true,
    })
}

/// A CDR of the application, as Huawei sends it.
pub fn cdr(session_id: &str) -> Value {
    json!({
        "direction": 1, "spId": "sp", "appKey": "app", "icid": "icid", "bindNum": "+8617010000001",
        "sessionId": session_id, "callerNum": "+8617010000011", "callInTime": "2027-01-15 07:58:30",
        "fwdStartTime": "2027-01-15 07:58:35", "fwdAnswerTime": "2027-01-15 07:58:40",
        "callEndTime": "2027-01-15 07:59:40", "recordFlag": 0, "userData": "order 7", "subscriptionId": "binding-1",
    })
}

pub fn call_id(session_id: &str) -> String {
    CallKey { app_key: "app", session_id: privatenumber_contract::Private::new(session_id), icid: "icid" }.id()
}

/// A reply of the business, as filters report it.
pub fn answered(status: u16) -> Value {
    json!({"class": "answered", "status": status})
}

/// A reply with a 2xx status, as it is shown.
pub fn delivered(status: u16) -> Value {
    json!({"class": "delivered", "status": status})
}

/// A reply with another status, as it is shown.
pub fn rejected(status: u16) -> Value {
    json!({"class": "rejected", "status": status})
}

/// The sessions of a page of calls.
pub fn sessions(page: &Value) -> Vec<String> {
    page["calls"].as_array().unwrap().iter().map(|call| call["sessionId"].as_str().unwrap().to_owned()).collect()
}

/// The value of a metric, given its name and labels as they stand in the text.
pub fn metric(store: &Store, name: &str) -> f64 {
    let text = store.app.metrics.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}
