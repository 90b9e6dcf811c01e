//! One worker of the gateway in the hands of a fuzz target, with a store that keeps its contract when it is asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::{Dispatcher, Gauges, HttpAnswer, Refusal};
use private_number_gateway::exchange::{AtEnd, AtHeaders, Exchange};
use private_number_gateway::journal::Event;
use private_number_gateway::metrics;
use private_number_gateway::now::Now;
use privatenumber_contract::{CallVerdict, Outcome, Outcomes, Push, PushId, paths};
use serde_json::json;

/// The business that the application belongs to.
pub const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";

const SIGNED: &str = concat!(
    r#"UsernameToken Username="demoAppKey000000000000000001",PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=","#,
    r#"Nonce="00112233445566778899aabbccddeeff",Created="2026-01-05T02:30:24Z""#,
);

/// A configuration with these limits and a business that takes `concurrency` callbacks at once.
pub fn config(pending_calls: usize, concurrency: usize) -> Rc<Config> {
    let config = json!({
        "applications": [{
            "app_key": "demoAppKey000000000000000001", "ak": AK, "secrets": [{"value": "fictitious-app-secret-0001"}],
        }],
        "businesses": [{
            "ak": AK, "cluster": "business", "authority": "business.example.com", "path": "/callback",
            "concurrency": concurrency, "signing_secrets": [{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}],
        }],
        "store": {"outcome_batch_size": 3, "token": {"value": "fictitious-token-0001"}},
        "limits": {"pending_calls": pending_calls},
    });
    let json = serde_json::to_vec(&config).expect("a value can be written");
    Rc::new(Config::from_json(&json, &|_| None).expect("a good configuration"))
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

/// A push the store has been asked about.
pub struct Asked {
    pub exchange: Exchange,
    pub push_id: PushId,
    pub body: Vec<u8>,
}

impl Asked {
    /// Puts the push id where `text` says `ID`, and the calls' ids where it says `CALL0`, `CALL1`, ….
    pub fn fill_in(&self, text: &[u8]) -> Vec<u8> {
        let push: Push<'_> = serde_json::from_slice(&self.body).expect("what the filter wrote");
        let id = self.push_id.to_string();
        let calls = push.calls.iter().enumerate().map(|(index, call)| (format!("CALL{index}"), call.key().id()));
        calls.chain([("ID".to_owned(), id)]).fold(text.to_vec(), |text, (from, to)| replace(&text, &from, &to))
    }
}

fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        let (before, after) = rest.split_at(at);
        replaced.extend_from_slice(before);
        replaced.extend_from_slice(to.as_bytes());
        rest = after.get(from.len()..).unwrap_or_default();
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// A request of the root, as Envoy would have sent it.
pub struct Sent {
    pub path: String,
    pub body: Vec<u8>,
}

/// What the store remembers of a call.
struct Row {
    push_id: PushId,
    outcome: Option<Outcome>,
}

/// See the [module](self).
pub struct Worker {
    pub config: Rc<Config>,
    pub dispatcher: Dispatcher,
    pub now: Now,
    pub in_flight: BTreeMap<u32, Sent>,
    /// Whether the store was made to break its contract. What it alone can promise is then not looked at.
    pub is_store_lying: bool,
    tokens: u32,
    pushes: u64,
    rows: BTreeMap<String, Row>,
    dispatched: BTreeMap<String, u32>,
    rejected: BTreeSet<PushId>,
    are_outcomes_rejected: bool,
}

impl Worker {
    pub fn new(config: &Rc<Config>) -> Self {
        Self {
            dispatcher: Dispatcher::new(Rc::clone(config)),
            config: Rc::clone(config),
            now: Now { monotonic_ms: 0, wall_ms: 1_767_580_224_000 },
            in_flight: BTreeMap::new(),
            is_store_lying: false,
            tokens: 0,
            pushes: 0,
            rows: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            rejected: BTreeSet::new(),
            are_outcomes_rejected: false,
        }
    }

    /// A push id of its own for each push.
    pub fn draw_push_id(&mut self) -> PushId {
        self.pushes += 1;
        PushId::from_bytes(u128::from(self.pushes).to_be_bytes())
    }

    /// A push that is signed as it should be; `None` if it is answered without asking the store.
    pub fn push(&mut self, body: &[u8]) -> Option<Asked> {
        let mut exchange = Exchange::default();
        let decision = exchange.request_headers(&self.config, &mut self.dispatcher, &headers(), false, self.now);
        assert!(matches!(decision, AtHeaders::ReadBody(_)), "{decision:?}");
        let push_id = self.draw_push_id();
        match exchange.request_end(&self.config, &mut self.dispatcher, body, push_id, self.now) {
            AtEnd::Forward(body) => {
                let body = body.to_vec();
                Some(Asked { exchange, push_id, body })
            }
            _ => None,
        }
    }

    /// The store commits a claim request. Returns the body of its answer.
    pub fn commit(&mut self, body: &[u8]) -> Vec<u8> {
        let push: Push<'_> = serde_json::from_slice(body).expect("what the filter wrote");
        let mut calls = Vec::new();
        for call in &push.calls {
            let id = call.key().id();
            let row = self.rows.entry(id.clone()).or_insert(Row { push_id: push.push_id, outcome: None });
            let verdict = if row.push_id == push.push_id && row.outcome.is_none() {
                CallVerdict::Claimed
            } else {
                CallVerdict::Duplicate
            };
            let record = (verdict == CallVerdict::Claimed).then(|| json!({"sessionId": call.session_id}));
            calls.push(json!({"verdict": verdict, "callId": id, "ak": call.ak, "record": record}));
        }
        serde_json::to_vec(&json!({ "calls": calls })).expect("a value can be written")
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

    /// The next request that leaves, if there is one: sent, and its token with it.
    pub fn depart_one(&mut self) -> Option<(u32, &Sent)> {
        let departure = self.dispatcher.poll(self.now)?;
        let headers: Vec<_> =
            departure.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fit_for_the_wire(headers.iter().copied());
        let named =
            |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        let path = named(":path").expect("a request has a path");
        let call_id = named("webhook-id");
        if let Some(call_id) = &call_id {
            let times = self.dispatched.entry(call_id.clone()).or_default();
            *times += 1;
            assert!(self.is_store_lying || *times == 1, "P1: a second callback for one call");
        }
        let sent = Sent { path, body: departure.body().to_vec() };
        self.tokens += 1;
        self.dispatcher.sent(departure.ticket, self.tokens, self.now);
        self.in_flight.insert(self.tokens, sent);
        self.in_flight.get(&self.tokens).map(|sent| (self.tokens, sent))
    }

    /// The next request that would leave, refused by Envoy. `false` if there is none.
    pub fn refuse_one(&mut self, refusal: Refusal) -> bool {
        let Some(departure) = self.dispatcher.poll(self.now) else { return false };
        self.dispatcher.refused(departure.ticket, refusal, self.now);
        true
    }

    /// An answer comes, known by `token`.
    pub fn answered(&mut self, token: u32, answer: &HttpAnswer<'_>) {
        self.in_flight.remove(&token);
        self.dispatcher.answered(token, answer, self.now);
        self.check();
    }

    /// The answer that an honest store or business gives to the request known by `token`.
    pub fn answered_honestly(&mut self, token: u32) {
        let Some(sent) = self.in_flight.remove(&token) else { return };
        let (body, committed) = match sent.path.as_str() {
            paths::PUSHES => {
                let push: Push<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
                (self.commit(&sent.body), Some(push.push_id.to_string()))
            }
            paths::OUTCOMES => (self.take_outcomes(&sent.body), None),
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

    /// What must hold after every step. Empties the journal.
    pub fn check(&mut self) {
        for event in self.dispatcher.take_journal() {
            super::shows_nothing_private(&event.to_json());
            metrics::count(&event, |_, _| {}, |_, _| {});
            match event {
                Event::PushRejected { push_id, .. } => drop(self.rejected.insert(push_id)),
                Event::OutcomesRejected { .. } => self.are_outcomes_rejected = true,
                _ => {}
            }
        }
        let gauges = self.dispatcher.gauges();
        assert_eq!(gauges.pending_calls == 0, self.dispatcher.is_idle());
        assert!(gauges.pending_calls > 0 || gauges == Gauges { pending_calls: 0, ..Gauges::default() }, "{gauges:?}");
    }

    /// How many callbacks there were for the call that was called back most often.
    pub fn most_callbacks_for_one_call(&self) -> u32 {
        self.dispatched.values().copied().max().unwrap_or(0)
    }

    /// From here on everybody is honest: all streams are gone, every request is answered. Nothing may stay behind. Returns
    /// how many callbacks there were in all.
    pub fn finish(&mut self) -> usize {
        for _ in 0..100_000 {
            self.check();
            while self.depart_one().is_some() {}
            if let Some(token) = self.in_flight.keys().next().copied() {
                self.answered_honestly(token);
                continue;
            }
            match self.dispatcher.next_wake_up(self.now) {
                Some(pause) => self.now.monotonic_ms = self.now.monotonic_ms.saturating_add(pause),
                None => break,
            }
        }
        self.check();
        let gauges = self.dispatcher.gauges();
        assert_eq!(gauges, Gauges::default(), "P3: something stays behind");
        let is_accounted = |row: &Row| row.outcome.is_some() || self.rejected.contains(&row.push_id);
        if !self.is_store_lying && !self.are_outcomes_rejected {
            assert!(self.rows.values().all(is_accounted), "P3: a call without an outcome");
        }
        self.dispatched.values().map(|times| *times as usize).sum()
    }
}
