//! One worker of the gateway in the hands of a fuzz target, with a store that keeps its contract when it is asked to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use private_number_gateway::config::{Config, HeadersMode};
use private_number_gateway::dispatcher::{Gauges, HttpAnswer, Refusal};
use private_number_gateway::driver::{Action, Driver, Event, Sent};
use private_number_gateway::now::Now;
use private_number_gateway::reply::Reply;
use private_number_gateway::streams::StreamId;
use privatenumber_contract::{
    CallResult, CallVerdict, Outcome, Outcomes, Push, PushAnswer, PushBatch, PushBatchAnswer, PushId, PushVerdict,
    WorkAnswer, WorkRequest, limits, paths,
};
use serde_json::{Value, json};

/// The business that the application belongs to.
pub const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";

const SIGNED: &str = concat!(
    r#"UsernameToken Username="demoAppKey000000000000000001",PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=","#,
    r#"Nonce="00112233445566778899aabbccddeeff",Created="2026-01-05T02:30:24Z""#,
);

/// What a worker is configured with. Limits may be below what a configuration may say, so that a few streams reach them.
#[derive(Clone, Copy)]
pub struct Setting {
    pub headers: HeadersMode,
    pub pending_calls: usize,
    pub pending_bytes: usize,
    /// How many callbacks the business takes at once.
    pub concurrency: usize,
    /// Whether it takes works.
    pub takes_works: bool,
}

impl Setting {
    /// With room for everything.
    pub fn roomy(headers: HeadersMode) -> Self {
        Self { headers, pending_calls: 10_000, pending_bytes: 1_048_576, concurrency: 2, takes_works: false }
    }

    fn config(self) -> Rc<Config> {
        let config = json!({
            "headers": self.headers,
            "applications": [{
                "app_key": "demoAppKey000000000000000001", "ak": AK, "secrets": [{"value": "fictitious-app-secret-0001"}],
            }],
            "businesses": [{
                "ak": AK, "cluster": "business", "authority": "business.example.com", "path": "/callback",
                "concurrency": self.concurrency, "signing_secrets": [{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}],
            }],
            "store": {
                "outcome_batch_size": 3, "push_batch_size": 3, "claim_deadline_seconds": 86_400,
                "token": {"value": "fictitious-token-0001"}, "work_interval_ms": if self.takes_works { 5_000 } else { 0 },
            },
            "limits": {"max_body_bytes": 65_536, "pending_calls": 10_000},
        });
        let json = serde_json::to_vec(&config).expect("a value can be written");
        let mut config = Config::from_json(&json, &|_| None).expect("a good configuration");
        config.limits.pending_calls = self.pending_calls;
        config.limits.pending_bytes = self.pending_bytes;
        Rc::new(config)
    }
}

/// The headers of a push that is signed as it should be.
pub fn headers() -> Vec<(String, Vec<u8>)> {
    [
        (":method", "POST"),
        (":path", "/huawei/fee"),
        ("content-type", "application/json;charset=UTF-8"),
        ("x-aksk", SIGNED),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .to_vec()
}

/// Panics if a header could break out of its line, or Envoy would act upon it.
pub fn fit_for_the_wire<'h>(headers: impl Iterator<Item = (&'h str, &'h str)>) {
    for (name, value) in headers {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(is_name && !name.starts_with("x-envoy-"), "the header name {name:?}");
        assert!(!value.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{name} carries {value:?}");
    }
}

/// What the store remembers of a call.
struct Row {
    push_id: PushId,
    outcome: Option<Outcome>,
    /// How often it was released.
    releases: u8,
}

/// How often a call is released: without a bound a call of nobody would be skipped and released for ever.
const RELEASES: u8 = 2;

/// What is known of an open stream.
#[derive(Default)]
pub struct Stream {
    /// The push it was drawn for, once its body was complete.
    pub push_id: Option<PushId>,
    /// What the store was asked by it, where its headers pass.
    pub asked: Option<Vec<u8>>,
    /// Whether it waits for its reply with a complete body.
    is_held: bool,
    /// How many bytes its body has, once it is complete: Envoy may tell of its end twice, but of no more bytes.
    size: Option<usize>,
    /// Whether its response has begun, whosesoever it is.
    is_answered: bool,
    replies: u32,
}

/// See the [module](self).
pub struct Worker {
    pub driver: Driver,
    pub in_flight: BTreeMap<u32, Sent>,
    /// Whether the store was made to break its contract. What it alone can promise is then not looked at.
    is_store_lying: bool,
    most_bytes: usize,
    refusals: Rc<RefCell<VecDeque<Refusal>>>,
    drawn: Rc<Cell<u64>>,
    pub has_random: Rc<Cell<bool>>,
    streams: BTreeMap<StreamId, Stream>,
    rows: BTreeMap<String, Row>,
    /// The ids under which works were taken.
    takers: BTreeSet<PushId>,
    /// The pushes that the store has committed.
    committed: BTreeSet<PushId>,
    /// Those of which it says so falsely.
    falsely_committed: BTreeSet<PushId>,
    /// By which pushes the store was asked for a call.
    asked: BTreeMap<String, BTreeSet<PushId>>,
    dispatched: BTreeMap<String, u32>,
    rejected: BTreeSet<PushId>,
    are_outcomes_rejected: bool,
    /// What the last drain said, if there was one.
    drained: Option<bool>,
}

impl Worker {
    pub fn new(setting: Setting) -> Self {
        let now = Now { monotonic_ms: 0, wall_ms: 1_767_580_224_000 };
        let mut driver = Driver::new(setting.config(), now, 0);
        let refusals = Rc::<RefCell<VecDeque<Refusal>>>::default();
        let (drawn, has_random) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
        let next = Rc::clone(&refusals);
        driver.refuse(move |_| next.borrow_mut().pop_front());
        let (count, has) = (Rc::clone(&drawn), Rc::clone(&has_random));
        driver.draw(move || {
            count.set(count.get() + 1);
            has.get().then(|| u128::from(count.get()).to_be_bytes())
        });
        Self {
            driver,
            in_flight: BTreeMap::new(),
            is_store_lying: false,
            most_bytes: setting.pending_bytes,
            refusals,
            drawn,
            has_random,
            streams: BTreeMap::new(),
            rows: BTreeMap::new(),
            takers: BTreeSet::new(),
            committed: BTreeSet::new(),
            falsely_committed: BTreeSet::new(),
            asked: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            rejected: BTreeSet::new(),
            are_outcomes_rejected: false,
            drained: None,
        }
    }

    /// What is known of a stream.
    pub fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// The headers of a request.
    pub fn request_headers(&mut self, id: StreamId, headers: &[(String, Vec<u8>)], is_end: bool) -> Action {
        self.streams.insert(id, Stream::default());
        let action = self.driver.step(id, Event::RequestHeaders { headers, is_end });
        self.see(id, &action);
        action
    }

    /// More of a request's body.
    pub fn request_body(&mut self, id: StreamId, size: usize) -> Action {
        let size = size.min(self.complete_size(id));
        let action = self.driver.step(id, Event::RequestBody(size));
        self.see(id, &action);
        action
    }

    /// The last of a request's body, as Envoy's adapter tells it.
    pub fn request_end(&mut self, id: StreamId, body: &[u8]) -> Action {
        let body = body.get(..self.complete_size(id)).unwrap_or(body);
        let action = self.request_body(id, body.len());
        if action != Action::Hold {
            return action;
        }
        let action = self.driver.step(id, Event::RequestEnd(body));
        let push_id = PushId::from_bytes(u128::from(self.drawn.get()).to_be_bytes());
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.size = Some(body.len());
            match &action {
                Action::Hold if stream.push_id.is_none() => {
                    (stream.push_id, stream.is_held) = (Some(push_id), true);
                }
                Action::Forward(body) => {
                    (stream.push_id, stream.asked) = (Some(push_id), Some(body.clone()));
                    let push: Push<'_> = serde_json::from_slice(body).expect("what the filter wrote");
                    note_asked(&mut self.asked, &push);
                }
                _ => {}
            }
        }
        self.see(id, &action);
        action
    }

    fn complete_size(&self, id: StreamId) -> usize {
        self.streams.get(&id).and_then(|stream| stream.size).unwrap_or(usize::MAX)
    }

    /// The headers of a response: the store's, or Envoy's own.
    pub fn response_headers(
        &mut self,
        id: StreamId,
        status: Option<u16>,
        content_type: Option<&[u8]>,
        committed: Option<&[u8]>,
        is_end: bool,
    ) {
        if !self.driver.awaits_response(id) {
            return;
        }
        let push_id = self.streams.get(&id).and_then(|stream| stream.push_id);
        if let Some(push_id) = push_id
            && status == Some(200)
            && committed == Some(&push_id.to_hex())
            && !self.committed.contains(&push_id)
        {
            self.falsely_committed.insert(push_id);
        }
        let event = Event::ResponseHeaders { status, content_type, committed, is_end };
        let action = self.driver.step(id, event);
        let is_success = match &action {
            Action::Become(edits) => edits.set.iter().any(|(name, value)| *name == ":status" && value == "200"),
            _ => status.is_none_or(|status| status < 400),
        };
        assert!(!is_success || self.may_succeed(push_id), "P2: {status:?} becomes {action:?} for {push_id:?}");
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_answered = true;
        }
        self.check();
    }

    /// The body of a response.
    pub fn response_end(&mut self, id: StreamId, body: &[u8]) {
        if !self.driver.awaits_response_body(id) {
            return;
        }
        if let Some(push_id) = self.streams.get(&id).and_then(|stream| stream.push_id) {
            self.judge_single(push_id, body);
        }
        let action = self.driver.step(id, Event::ResponseEnd(body));
        assert!(matches!(action, Action::Body(_)), "the body is replaced exactly where it is awaited: {action:?}");
        self.check();
    }

    /// A stream ends.
    pub fn end(&mut self, id: StreamId) {
        if self.streams.remove(&id).is_some() {
            self.driver.step(id, Event::Ended);
            self.check();
        }
    }

    fn see(&mut self, id: StreamId, action: &Action) {
        if let Action::Reply(reply) = action {
            self.replied(id, reply);
        }
        self.check();
    }

    fn replied(&mut self, id: StreamId, reply: &Reply) {
        super::shows_nothing_private(&String::from_utf8_lossy(&reply.body()));
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.replies += 1;
        stream.is_answered = true;
        assert!(stream.replies == 1, "a stream has two replies");
        let push_id = stream.push_id;
        assert!(reply.status() != 200 || self.may_succeed(push_id), "P2: 200 for {push_id:?}");
    }

    fn may_succeed(&self, push_id: Option<PushId>) -> bool {
        push_id.is_some_and(|id| self.committed.contains(&id) || self.falsely_committed.contains(&id))
    }

    /// The next requests are refused by Envoy.
    pub fn refuse_next(&mut self, refusal: Refusal, count: u8) {
        self.refusals.borrow_mut().extend((0..count).map(|_| refusal));
    }

    /// What is due is done.
    pub fn drive(&mut self) {
        self.driver.drive();
        self.check();
    }

    /// The configuration is replaced.
    pub fn drain(&mut self) {
        self.drained = Some(self.driver.drain());
        self.check();
    }

    /// The store commits a claim request. Returns what it says of the calls.
    pub fn commit(&mut self, push: &Push<'_>) -> Value {
        let mut calls = Vec::new();
        for call in &push.calls {
            let id = call.key().id();
            let row = self.rows.entry(id.clone()).or_insert(Row { push_id: push.push_id, outcome: None, releases: 0 });
            let verdict = if row.push_id == push.push_id && row.outcome.is_none() {
                CallVerdict::Claimed
            } else {
                CallVerdict::Duplicate
            };
            let record = (verdict == CallVerdict::Claimed).then(|| json!({"sessionId": call.session_id}));
            calls.push(json!({"verdict": verdict, "callId": id, "ak": call.ak, "record": record}));
        }
        self.committed.insert(push.push_id);
        Value::Array(calls)
    }

    /// Everything that certainly never left is released, and handed out. Returns the body of the store's answer.
    pub fn hand_out(&mut self, request: &WorkRequest) -> Vec<u8> {
        let id = request.push_id;
        let is_fresh = self.takers.insert(id);
        let mut calls = Vec::new();
        for (call_id, row) in &mut self.rows {
            let is_own = row.push_id == id && row.outcome.is_none();
            let was_never_sent = matches!(row.outcome, Some(Outcome::NotSent { .. } | Outcome::Skipped { .. }))
                && !self.dispatched.contains_key(call_id)
                && row.releases < RELEASES;
            let is_handed_out = is_own || is_fresh && was_never_sent;
            if !is_handed_out || calls.len() >= request.most as usize {
                continue;
            }
            if !is_own {
                *row = Row { push_id: id, outcome: None, releases: row.releases + 1 };
            }
            calls.push(json!({"verdict": "claimed", "callId": call_id, "ak": AK, "record": {"sessionId": "s"}}));
        }
        json!({"pushId": id, "calls": calls, "worksWaiting": 0}).to_string().into_bytes()
    }

    /// Notes what an answer to a request for works says that an honest store would not.
    fn judge_works(&mut self, request: &WorkRequest, body: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<WorkAnswer<'_>>(body) else { return };
        if answer.push_id != request.push_id {
            return;
        }
        self.judge_calls(request.push_id, &answer.calls);
        for call in answer.calls.iter().filter(|call| call.verdict == CallVerdict::Claimed) {
            self.asked.entry(call.call_id.to_string()).or_default().insert(request.push_id);
        }
    }

    /// The store takes outcomes. Returns the body of its answer.
    fn take_outcomes(&mut self, body: &[u8]) -> Vec<u8> {
        let batch: Outcomes = serde_json::from_slice(body).expect("what the filter wrote");
        let (mut recorded, mut repeated, mut refused) = (0, 0, 0);
        for report in batch.outcomes {
            match self.rows.get_mut(&report.call_id).filter(|row| row.push_id == report.push_id) {
                None => refused += 1,
                Some(row) => match row.outcome.replace(report.outcome) {
                    None => recorded += 1,
                    Some(earlier) => {
                        assert!(self.is_store_lying || earlier == report.outcome, "P3: a call has two outcomes");
                        repeated += 1;
                    }
                },
            }
        }
        assert!(self.is_store_lying || refused == 0, "P3: an outcome of a call nobody claimed");
        serde_json::to_vec(&json!({"recorded": recorded, "repeated": repeated, "refused": refused}))
            .expect("a value can be written")
    }

    /// Notes what an answer to a batch says that an honest store would not.
    fn judge_batch(&mut self, body: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<PushBatchAnswer<'_>>(body) else { return };
        for result in &answer.pushes {
            if result.verdict == PushVerdict::Committed {
                if !self.committed.contains(&result.push_id) {
                    self.falsely_committed.insert(result.push_id);
                    self.is_store_lying = true;
                }
                self.judge_calls(result.push_id, &result.calls);
            }
        }
    }

    /// The same of an answer to a single push.
    fn judge_single(&mut self, push_id: PushId, body: &[u8]) {
        if let Ok(answer) = serde_json::from_slice::<PushAnswer<'_>>(body) {
            self.judge_calls(push_id, &answer.calls);
        }
    }

    fn judge_calls(&mut self, push_id: PushId, calls: &[CallResult<'_>]) {
        for call in calls {
            // An id that no call has is a lie about some other call.
            let is_true = self.rows.get(call.call_id.as_ref()).is_some_and(|row| match call.verdict {
                CallVerdict::Claimed => row.push_id == push_id,
                _ => row.push_id != push_id || row.outcome.is_some(),
            });
            self.is_store_lying |= !is_true;
        }
    }

    /// An answer comes, known by `token`.
    pub fn answered(&mut self, token: u32, answer: &HttpAnswer<'_>) {
        match self.in_flight.remove(&token) {
            Some(sent) if sent.path == paths::PUSH_BATCHES && answer.status == Some(200) => {
                self.judge_batch(answer.body);
            }
            Some(sent) if sent.path == paths::WORK_TAKE && answer.status == Some(200) => {
                self.judge_works(&serde_json::from_slice(&sent.body).expect("what the filter wrote"), answer.body);
            }
            Some(sent) if sent.path == paths::PUSHES && answer.status == Some(200) => {
                let push: Push<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                if answer.committed == Some(&push.push_id.to_hex()) {
                    if !self.committed.contains(&push.push_id) {
                        self.falsely_committed.insert(push.push_id);
                        self.is_store_lying = true;
                    }
                    self.judge_single(push.push_id, answer.body);
                }
            }
            _ => {}
        }
        self.driver.respond(token, answer);
        self.check();
    }

    /// The answer that an honest store or business gives to the request known by `token`.
    pub fn answered_honestly(&mut self, token: u32) {
        let Some(sent) = self.in_flight.get(&token).cloned() else { return };
        let (body, committed) = match sent.path.as_str() {
            paths::PUSHES => {
                let push: Push<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                (json!({"calls": self.commit(&push)}).to_string().into_bytes(), Some(push.push_id.to_string()))
            }
            paths::PUSH_BATCHES => {
                let batch: PushBatch<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                let results: Vec<_> = batch.pushes.iter().map(|push| self.result(push)).collect();
                (json!({"pushes": results}).to_string().into_bytes(), None)
            }
            paths::OUTCOMES => (self.take_outcomes(&sent.body), None),
            paths::WORK_TAKE => {
                (self.hand_out(&serde_json::from_slice(&sent.body).expect("what the filter wrote")), None)
            }
            _ => (Vec::new(), None),
        };
        let answer = HttpAnswer {
            status: Some(200),
            from_upstream: true,
            content_type: Some(b"application/json"),
            committed: committed.as_ref().map(String::as_bytes),
            body: &body,
        };
        self.answered(token, &answer);
    }

    /// What an honest store says of a push of a batch, which it commits.
    pub fn result(&mut self, push: &Push<'_>) -> Value {
        json!({"pushId": push.push_id, "verdict": "committed", "calls": self.commit(push)})
    }

    /// What must hold after every step.
    pub fn check(&mut self) {
        for sent in self.driver.take_sent() {
            self.look_at(sent);
        }
        for (id, reply) in self.driver.take_replies() {
            self.replied(id, &reply);
            assert!(!self.driver.awaits_response(id), "the worker's own reply is awaited as somebody else's");
        }
        for (_, line) in self.driver.take_log() {
            super::shows_nothing_private(&line);
            let event: Value = serde_json::from_str(&line).expect("a log line is JSON");
            match event.get("event").and_then(Value::as_str) {
                Some("push_rejected") => {
                    let id = event.get("push_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
                    self.rejected.insert(id.expect("a rejected push has an id"));
                }
                Some("outcomes_rejected") => self.are_outcomes_rejected = true,
                _ => {}
            }
        }
        let (gauges, held) = (self.driver.gauges(), self.driver.held_bytes());
        if held > gauges.pending_bytes && self.driver.time() == Some(self.driver.now().monotonic_ms) {
            // A stream that gave way gave its room to others, and Envoy holds its bytes until the worker is woken and answers it.
            return self.drive();
        }
        assert!(held <= self.most_bytes, "{held} bytes are held, and {} are allowed", self.most_bytes);
        assert!(held <= gauges.pending_bytes, "{held} bytes are held, and {} are counted", gauges.pending_bytes);
        let is_busy = gauges.pending_calls > 0 || gauges.pushes_held > 0;
        assert!(is_busy || gauges == Gauges::default(), "{gauges:?}");
    }

    fn look_at(&mut self, sent: Sent) {
        fit_for_the_wire(sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        match sent.path.as_str() {
            paths::PUSHES => {
                note_asked(&mut self.asked, &serde_json::from_slice(&sent.body).expect("what the filter wrote"));
            }
            paths::PUSH_BATCHES => {
                let batch: PushBatch<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                let ids: BTreeSet<_> = batch.pushes.iter().map(|push| push.push_id).collect();
                assert!(!ids.is_empty() && ids.len() == batch.pushes.len(), "a batch names a push twice, or none");
                batch.pushes.iter().for_each(|push| note_asked(&mut self.asked, push));
            }
            paths::OUTCOMES => {}
            paths::WORK_TAKE => {
                let request: WorkRequest = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                assert!((1..=limits::WORKS).contains(&(request.most as usize)), "{request:?}");
                let is_under_way = self.in_flight.values().any(|other| other.path == paths::WORK_TAKE);
                assert!(!is_under_way, "works are asked for twice at once");
            }
            _ => {
                let call_id = sent.header("webhook-id").expect("a callback names its call").to_owned();
                let pushes = self.asked.get(&call_id).map_or(0, BTreeSet::len);
                let times = self.dispatched.entry(call_id).or_default();
                *times += 1;
                assert!(self.is_store_lying || *times == 1, "P1: a second callback for one call");
                // Whatever a store says, each push claims a call once at most.
                assert!(*times as usize <= pushes, "P1: {times} callbacks for a call that {pushes} pushes asked for");
            }
        }
        self.in_flight.insert(sent.token, sent);
    }

    /// How many callbacks there were for the call that was called back most often.
    pub fn most_callbacks_for_one_call(&self) -> u32 {
        self.dispatched.values().copied().max().unwrap_or(0)
    }

    /// Whether the worker has nothing to do but to ask for works.
    fn is_at_rest(&self) -> bool {
        let is_over = self.drained != Some(false) || self.driver.is_drained();
        is_over && self.driver.gauges() == Gauges::default() && self.streams.values().all(|stream| stream.is_answered)
    }

    /// From here on everybody is honest and every request is answered. Nothing may stay behind. `all_end`: streams that wait for
    /// their reply end first, as those do that are not complete. Returns how many callbacks there were in all.
    pub fn finish(&mut self, all_end: bool) -> usize {
        self.refusals.borrow_mut().clear();
        let open: Vec<_> = self.streams.iter().map(|(id, stream)| (*id, stream.is_held)).collect();
        for (id, is_held) in open {
            if all_end || !is_held {
                self.end(id);
            }
        }
        for _ in 0..100_000 {
            if let Some(token) = self.in_flight.keys().next().copied() {
                self.answered_honestly(token);
            } else if let Some(at) = self.driver.time().filter(|_| !self.is_at_rest()) {
                self.driver.set_now(Now { monotonic_ms: at, ..self.driver.now() });
                self.drive();
            } else {
                break;
            }
        }
        assert!(self.streams.values().all(|stream| stream.is_answered), "a stream that is held has no reply");
        let open: Vec<_> = self.streams.keys().copied().collect();
        open.into_iter().for_each(|id| self.end(id));
        assert_eq!(self.driver.gauges(), Gauges::default(), "P3: something stays behind");
        assert!(self.drained != Some(false) || self.driver.is_drained(), "the worker does not say that it is drained");
        let is_accounted = |row: &Row| row.outcome.is_some() || self.rejected.contains(&row.push_id);
        if !self.is_store_lying && !self.are_outcomes_rejected {
            assert!(self.rows.values().all(is_accounted), "P3: a call without an outcome");
        }
        self.dispatched.values().map(|times| *times as usize).sum()
    }
}

fn note_asked(asked: &mut BTreeMap<String, BTreeSet<PushId>>, push: &Push<'_>) {
    for call in &push.calls {
        asked.entry(call.key().id()).or_default().insert(push.push_id);
    }
}
