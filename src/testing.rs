//! A gateway of one worker for tests: the test stands in the place of Envoy, Huawei, the store and the business.

use std::rc::Rc;

use privatenumber_contract::{Outcome, Outcomes, Push, PushId, WorkRequest, paths};
use serde_json::{Value, json};

use crate::config::Config;
use crate::dispatcher::{Gauges, HttpAnswer};
use crate::driver::{Action, Driver, Event, Sent};
use crate::now::Now;
use crate::reply::Reply;
use crate::streams::StreamId;

/// A push of one CDR.
pub const PUSH: &str = include_str!("../tests/samples/ax-fee-a-called-answered-recorded.json");
/// A push of three CDRs.
pub const BATCH: &str = include_str!("../tests/samples/ax-fee-batch-3-mixed.json");
pub const APP_KEY: &str = "demoAppKey000000000000000001";
/// The one business.
pub const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";
pub const SIGNED: &str = concat!(
    r#"UsernameToken Username="demoAppKey000000000000000001",PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=","#,
    r#"Nonce="00112233445566778899aabbccddeeff",Created="2026-01-05T02:30:24Z""#,
);
pub const PROBLEM: &str = "application/problem+json";
/// Both values of `headers`.
pub const MODES: [&str; 2] = ["hold", "pass"];

/// The configuration of one application and one business, with `more` members. Works are taken only where `more` says so.
pub fn config(headers: &str, more: Value) -> Rc<Config> {
    let mut config = json!({
        "headers": headers,
        "applications": [{"app_key": APP_KEY, "ak": AK, "secrets": [{"value": "fictitious-app-secret-0001"}]}],
        "businesses": [{"ak": AK, "cluster": "business", "authority": "business.example.com", "path": "/callback"}],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let store = config.as_object_mut().unwrap().entry("store").or_insert_with(|| json!({}));
    store.as_object_mut().unwrap().entry("work_interval_ms").or_insert(json!(0));
    Rc::new(Config::from_json(&serde_json::to_vec(&config).unwrap(), &|_| None).unwrap())
}

/// That many milliseconds after the gateway began.
pub fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall_ms: 1_767_580_000_000 + i64::try_from(monotonic_ms).unwrap() }
}

/// The headers of a signed push.
pub fn headers() -> Vec<(String, Vec<u8>)> {
    [
        (":method", "POST"),
        (":path", "/huawei/fee"),
        ("content-type", "application/json;charset=UTF-8"),
        ("x-aksk", SIGNED),
        ("accept-encoding", "gzip"),
        ("x-envoy-retry-on", "5xx"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .to_vec()
}

/// The same, with one header replaced or added.
pub fn with(name: &str, value: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut headers = headers();
    headers.retain(|(other, _)| other != name);
    headers.push((name.to_owned(), value.to_vec()));
    headers
}

/// A CDR of the `session`-th call, with changes: a member's name and its JSON value.
pub fn cdr(session: usize, changes: &[(&str, String)]) -> String {
    let session = format!("\"session-{session}\"");
    let app_key = format!("\"{APP_KEY}\"");
    let good = [
        ("direction", "0"),
        ("spId", r#""sp""#),
        ("appKey", &app_key),
        ("bindNum", r#""+8617010000001""#),
        ("sessionId", &session),
        ("callInTime", r#""2026-01-05 02:30:03""#),
    ];
    let kept = good.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let kept = kept.map(|(name, value)| format!("\"{name}\":{value}"));
    let changed = changes.iter().map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", kept.chain(changed).collect::<Vec<_>>().join(","))
}

/// A push of these CDRs.
pub fn fee(elements: &[String]) -> String {
    format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, elements.join(","))
}

/// A push of that many calls, which no other number has.
pub fn push_of(number: usize, calls: usize) -> String {
    fee(&(0..calls).map(|call| cdr(1_000 * number + call, &[])).collect::<Vec<_>>())
}

/// An answer of an upstream.
pub fn upstream(status: u16, body: &[u8]) -> HttpAnswer<'_> {
    HttpAnswer { status: Some(status), from_upstream: true, content_type: None, committed: None, body }
}

/// The store's refusal of a request.
pub fn problem(status: u16) -> HttpAnswer<'static> {
    HttpAnswer { content_type: Some(PROBLEM.as_bytes()), ..upstream(status, b"{}") }
}

/// Envoy's answer where the upstream gave none in time.
pub const TIMEOUT: HttpAnswer<'static> =
    HttpAnswer { status: Some(504), from_upstream: false, content_type: None, committed: None, body: b"" };

/// What comes where the upstream's answer was cut off.
pub const CUT_OFF: HttpAnswer<'static> =
    HttpAnswer { status: None, from_upstream: false, content_type: None, committed: None, body: b"" };

/// What the store says of each call if all of them get `verdict`.
pub fn calls(push: &Push<'_>, verdict: &str) -> Value {
    let calls = push.calls.iter().map(|call| {
        let record = (verdict == "claimed").then(|| json!({"sessionId": call.session_id}));
        json!({"verdict": verdict, "callId": call.key().id(), "ak": call.ak, "record": record})
    });
    calls.collect()
}

/// The pushes that a request to the store asks for, each with its own text.
pub fn pushes(sent: &Sent) -> Vec<String> {
    if sent.path == paths::PUSHES {
        return vec![String::from_utf8(sent.body.clone()).unwrap()];
    }
    assert_eq!(sent.path, paths::PUSH_BATCHES);
    #[derive(serde::Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        pushes: Vec<&'a serde_json::value::RawValue>,
    }
    let batch: Batch<'_> = serde_json::from_slice(&sent.body).unwrap();
    batch.pushes.iter().map(|push| push.get().to_owned()).collect()
}

/// The ids of the pushes that a request to the store asks for.
pub fn ids(sent: &Sent) -> Vec<PushId> {
    pushes(sent).iter().map(|push| serde_json::from_str::<Push<'_>>(push).unwrap().push_id).collect()
}

/// What the store says of a push in a batch: `refused`, `retry` or `expired`, or committed with that verdict for each call.
pub fn result(push: &str, verdict: &str) -> Value {
    let push: Push<'_> = serde_json::from_str(push).unwrap();
    if ["refused", "retry", "expired"].contains(&verdict) {
        return json!({"pushId": push.push_id, "verdict": verdict});
    }
    json!({"pushId": push.push_id, "verdict": "committed", "calls": calls(&push, verdict)})
}

/// The store's answer to a batch.
pub fn batch_answer(results: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "pushes": results })).unwrap()
}

/// The store's answer to a request for works: `calls` calls, numbered from `first`, and how many more wait.
pub fn works_answer(sent: &Sent, first: usize, calls: usize, waiting: u64) -> Value {
    let request: WorkRequest = serde_json::from_slice(&sent.body).unwrap();
    let call = |number: usize| {
        let record = json!({"sessionId": format!("session-{number}")});
        json!({"verdict": "claimed", "callId": format!("{number:032x}"), "ak": AK, "record": record})
    };
    let calls: Vec<_> = (first..first + calls).map(call).collect();
    json!({"pushId": request.push_id, "calls": calls, "worksWaiting": waiting})
}

/// A push the store has been asked about.
pub struct Asked {
    pub stream: StreamId,
    pub push_id: PushId,
    /// What was asked.
    pub json: String,
    /// By which the answer is known, where the worker asked.
    token: Option<u32>,
}

impl Asked {
    fn new(stream: StreamId, json: String, token: Option<u32>) -> Self {
        let push_id = serde_json::from_str::<Push<'_>>(&json).unwrap().push_id;
        Self { stream, push_id, json, token }
    }

    /// What the store says of its calls.
    pub fn calls(&self, verdict: &str) -> Value {
        calls(&serde_json::from_str(&self.json).unwrap(), verdict)
    }
}

/// See the [module](self).
pub struct Gateway {
    pub driver: Driver,
    streams: StreamId,
    sent: Vec<Sent>,
}

impl Gateway {
    /// A gateway at 0 ms.
    pub fn new(headers: &str, more: Value) -> Self {
        let mut driver = Driver::new(config(headers, more), at(0), 7);
        let told = driver.take_log();
        assert!(matches!(told.as_slice(), [(_, line), ..] if line.contains("configured")), "{told:?}");
        Self { driver, streams: 0, sent: Vec::new() }
    }

    pub fn now(&self) -> u64 {
        self.driver.now().monotonic_ms
    }

    /// A stream with these headers.
    pub fn stream(&mut self, headers: &[(String, Vec<u8>)], is_end: bool) -> (StreamId, Action) {
        self.streams += 1;
        let action = self.driver.step(self.streams, Event::RequestHeaders { headers, is_end });
        (self.streams, action)
    }

    /// A request that is no push reaches the worker.
    pub fn serve(&mut self) {
        let headers = [(":path".to_owned(), b"/healthz".to_vec())];
        let (stream, action) = self.stream(&headers, true);
        assert_eq!(action, Action::LeaveAlone);
        self.end(stream);
    }

    /// A stream whose push has good headers and no body yet.
    pub fn open(&mut self) -> Result<StreamId, Reply> {
        match self.stream(&headers(), false) {
            (stream, Action::Hold | Action::Pass(_)) => Ok(stream),
            (_, Action::Reply(reply)) => Err(reply),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The body of an open stream.
    pub fn finish(&mut self, stream: StreamId, body: &[u8]) -> Action {
        match self.driver.step(stream, Event::RequestBody(body.len())) {
            Action::Hold => self.driver.step(stream, Event::RequestEnd(body)),
            other => other,
        }
    }

    /// A push that is held for the store's verdict, or the reply to it.
    pub fn push(&mut self, body: &[u8]) -> Result<StreamId, Reply> {
        let stream = self.open()?;
        match self.finish(stream, body) {
            Action::Hold => Ok(stream),
            Action::Reply(reply) => Err(reply),
            other => panic!("{other:?}"),
        }
    }

    /// Pushes of one call each, numbered from `first`, that are held for the store's verdict.
    pub fn push_many(&mut self, first: usize, count: usize) -> Vec<StreamId> {
        (first..first + count).map(|number| self.push(push_of(number, 1).as_bytes()).unwrap()).collect()
    }

    /// A push the store has been asked about, in either mode, by itself.
    pub fn try_ask(&mut self, body: &[u8]) -> Result<Asked, Reply> {
        let stream = self.open()?;
        match self.finish(stream, body) {
            Action::Forward(json) => Ok(Asked::new(stream, String::from_utf8(json).unwrap(), None)),
            Action::Reply(reply) => Err(reply),
            Action::Hold => {
                let sent = self.next_claims();
                let [json] = pushes(&sent).try_into().expect("one push");
                Ok(Asked::new(stream, json, Some(sent.token)))
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn ask(&mut self, body: &str) -> Asked {
        self.try_ask(body.as_bytes()).unwrap()
    }

    /// The store commits, says this of the calls, and the stream is answered 200.
    pub fn commit_with(&mut self, asked: &Asked, calls: &Value) {
        let id = asked.push_id.to_string();
        let stream = asked.stream;
        let Some(token) = asked.token else {
            let status = Some(200);
            let committed = Some(id.as_bytes());
            let headers = Event::ResponseHeaders { status, content_type: None, committed, is_end: false };
            let Action::Become(edits) = self.driver.step(stream, headers) else { panic!("not our answer") };
            assert!(edits.set.contains(&(":status", "200".into())), "{edits:?}");
            let body = serde_json::to_vec(&json!({ "calls": calls })).unwrap();
            let body = self.driver.step(stream, Event::ResponseEnd(&body));
            assert_eq!(body, Action::Body(Reply::Recorded.body()));
            self.drive();
            return;
        };
        let result = json!({"pushId": asked.push_id, "verdict": "committed", "calls": calls});
        self.driver.respond(token, &upstream(200, &batch_answer(&[result])));
        assert_eq!(self.replies(), [(stream, Reply::Recorded)]);
    }

    /// The same, with one verdict for every call.
    pub fn commit(&mut self, asked: &Asked, verdict: &str) {
        self.commit_with(asked, &asked.calls(verdict));
    }

    /// The store's answer was missed; `status` came instead.
    pub fn miss(&mut self, asked: &Asked, status: u16) {
        match asked.token {
            Some(token) => self.driver.respond(token, &upstream(status, b"")),
            None => {
                let headers =
                    Event::ResponseHeaders { status: Some(status), content_type: None, committed: None, is_end: false };
                let Action::Become(edits) = self.driver.step(asked.stream, headers) else { panic!("not our answer") };
                assert!(edits.set.contains(&(":status", "503".into())));
                let body = self.driver.step(asked.stream, Event::ResponseEnd(b"upstream connect error"));
                assert_eq!(body, Action::Body(Reply::StoreUnavailable.body()));
                self.driver.step(asked.stream, Event::Ended);
                self.drive();
            }
        }
    }

    /// Does what is due at this moment.
    pub fn drive(&mut self) {
        for _ in 0..1_000 {
            self.driver.drive();
            if self.driver.time().is_none_or(|time| time > self.now()) {
                return;
            }
        }
        panic!("the worker is never done with this moment");
    }

    /// Lets time pass, and does on the way what is due.
    pub fn advance(&mut self, milliseconds: u64) {
        let end = self.now() + milliseconds;
        self.drive();
        while let Some(time) = self.driver.time().filter(|time| *time <= end) {
            self.driver.set_now(at(time));
            self.drive();
        }
        self.driver.set_now(at(end));
        self.drive();
    }

    /// Lets time pass until the worker sends something, ten minutes at most.
    pub fn advance_to_sent(&mut self) {
        let end = self.now() + 600_000;
        self.drive();
        self.collect();
        while self.sent.is_empty() {
            let time = self.driver.time().filter(|time| *time <= end).expect("something is sent in the end");
            self.driver.set_now(at(time));
            self.drive();
            self.collect();
        }
    }

    fn collect(&mut self) {
        self.sent.extend(self.driver.take_sent());
    }

    fn take(&mut self, is_wanted: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        self.drive();
        self.collect();
        let (wanted, rest) = std::mem::take(&mut self.sent).into_iter().partition(is_wanted);
        self.sent = rest;
        wanted
    }

    /// All that was sent, up to this moment.
    pub fn depart(&mut self) -> Vec<Sent> {
        self.take(|_| true)
    }

    /// The requests for claims that were sent, up to this moment.
    pub fn claims(&mut self) -> Vec<Sent> {
        self.take(|sent| [paths::PUSHES, paths::PUSH_BATCHES].contains(&sent.path.as_str()))
    }

    /// The requests for works that were sent, up to this moment.
    pub fn works(&mut self) -> Vec<Sent> {
        self.take(|sent| sent.path == paths::WORK_TAKE)
    }

    /// The next request for claims, which is the only thing that is sent meanwhile.
    pub fn next_claims(&mut self) -> Sent {
        self.advance_to_sent();
        let [sent] = self.claims().try_into().expect("one request for claims");
        assert_eq!(self.sent, []);
        sent
    }

    /// The callbacks that were sent, up to this moment.
    pub fn callbacks(&mut self) -> Vec<Sent> {
        self.take(|sent| sent.cluster != "store")
    }

    /// The replies that the worker has given. Envoy shows each to its stream, as it does any response.
    pub fn replies(&mut self) -> Vec<(StreamId, Reply)> {
        self.drive();
        let replies = self.driver.take_replies();
        for (stream, reply) in &replies {
            let action = self.respond_to(*stream, reply.status());
            assert_eq!(action, Action::LeaveAlone, "its own reply");
        }
        replies
    }

    /// The streams that the worker has answered and the statuses.
    pub fn statuses(&mut self) -> Vec<(StreamId, u16)> {
        self.replies().iter().map(|(stream, reply)| (*stream, reply.status())).collect()
    }

    /// Response headers of somebody else on a stream.
    pub fn respond_to(&mut self, stream: StreamId, status: u16) -> Action {
        let status = Some(status);
        self.driver.step(stream, Event::ResponseHeaders { status, content_type: None, committed: None, is_end: false })
    }

    /// The client has left.
    pub fn end(&mut self, stream: StreamId) {
        self.driver.step(stream, Event::Ended);
    }

    /// The store answers a request for claims with the same verdict for everything.
    pub fn answer_all(&mut self, sent: &Sent, verdict: &str) {
        if sent.path == paths::PUSHES {
            let [push] = pushes(sent).try_into().unwrap();
            let push: Push<'_> = serde_json::from_str(&push).unwrap();
            let id = push.push_id.to_string();
            let body = serde_json::to_vec(&json!({"calls": calls(&push, verdict)})).unwrap();
            let answer = HttpAnswer { committed: Some(id.as_bytes()), ..upstream(200, &body) };
            self.driver.respond(sent.token, &answer);
            return;
        }
        let results: Vec<_> = pushes(sent).iter().map(|push| result(push, verdict)).collect();
        self.driver.respond(sent.token, &upstream(200, &batch_answer(&results)));
    }

    pub fn respond(&mut self, sent: &Sent, answer: &HttpAnswer<'_>) {
        self.driver.respond(sent.token, answer);
    }

    pub fn respond_status(&mut self, sent: &Sent, status: u16) {
        self.respond(sent, &upstream(status, b""));
    }

    /// The outcomes that are reported up to this moment; the store takes them.
    pub fn report(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for sent in self.take(|sent| sent.path == paths::OUTCOMES) {
            let batch: Outcomes = serde_json::from_slice(&sent.body).unwrap();
            let receipt = format!(r#"{{"recorded":{},"repeated":0,"refused":0}}"#, batch.outcomes.len());
            self.respond(&sent, &upstream(200, receipt.as_bytes()));
            outcomes.extend(batch.outcomes.iter().map(|report| report.outcome));
        }
        outcomes
    }

    /// The next request for works, which is the only thing that is sent meanwhile.
    pub fn next_works(&mut self) -> Sent {
        self.advance_to_sent();
        let [sent] = self.works().try_into().expect("one request for works");
        assert_eq!(self.sent, []);
        sent
    }

    /// The logged events since this was called last, as JSON.
    pub fn events(&mut self) -> Vec<Value> {
        self.driver.take_log().iter().map(|(_, line)| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many events of that name were logged since events were last looked at.
    pub fn count_events(&mut self, name: &str) -> usize {
        self.events().iter().filter(|event| event["event"] == name).count()
    }

    pub fn gauges(&self) -> Gauges {
        self.driver.gauges()
    }

    /// Whether nothing is left of what was pushed.
    pub fn is_idle(&self) -> bool {
        self.gauges() == Gauges::default()
    }
}
