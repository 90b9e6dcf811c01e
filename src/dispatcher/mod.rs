//! The root's work: callbacks, outcomes, and claims whose answer was missed.
//!
//! A [`Dispatcher`] belongs to one configuration of one worker. Streams admit pushes and hand it what the store granted;
//! the adapter takes [`Departure`]s from it, sends them, and tells it what came of each. It outlives streams and, once it is
//! drained, configurations.

mod backlog;
mod backoff;
mod claim;
mod lanes;
mod outstanding;
mod permit;
mod request;
pub mod store_answer;

use std::collections::BTreeMap;
use std::rc::Rc;

use privatenumber_contract::{
    CallVerdict, NotSent, Outcome, OutcomeReport, OutcomesAnswer, PushAnswer, PushId, Skipped, paths,
};
use serde::Serialize;

pub use claim::ClaimRequest;
pub use permit::{Ledger, Permit};
pub use request::{RequestHead, Text};

use crate::callback::{self, Answer};
use crate::config::{Business, Config};
use crate::journal::{self, Event, Journal};
use crate::now::Now;
use backlog::{Backlog, Batch};
use claim::Claim;
use lanes::Lanes;
use outstanding::Outstanding;

/// Pauses before a callback that Envoy refused to send is tried again, milliseconds. It certainly was not sent, so trying
/// again keeps promise P1; a cluster that is being warmed up or resolved comes within seconds.
const REFUSED_PAUSES_MS: [u64; 4] = [100, 500, 2_000, 5_000];

/// Why Envoy refused to send a request: it certainly was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no cluster of that name.
    NoCluster,
    /// The cluster has no healthy host, or its name is not resolved yet.
    NoHealthyHost,
}

impl Refusal {
    /// The outcome reason of a callback that was given up for this.
    pub fn not_sent(self) -> NotSent {
        match self {
            Self::NoCluster => NotSent::NoCluster,
            Self::NoHealthyHost => NotSent::NoHealthyHost,
        }
    }
}

/// The answer to a request of the root, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct HttpAnswer<'a> {
    /// `:status`; `None` where the answer had no headers because it was cut off.
    pub status: Option<u16>,
    /// Whether `x-envoy-upstream-service-time` was there: the answer is the upstream's and not Envoy's own.
    pub from_upstream: bool,
    /// `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// The value of [`paths::COMMITTED_HEADER`].
    pub committed: Option<&'a [u8]>,
    /// The body; of a callback's answer its beginning is enough.
    pub body: &'a [u8],
}

/// A request that is to leave now. Either [`Dispatcher::sent`] or [`Dispatcher::refused`] must be told of its ticket.
#[derive(Debug)]
pub struct Departure {
    /// Everything but the body.
    pub head: RequestHead,
    /// What it is for.
    pub ticket: Ticket,
}

impl Departure {
    /// The body.
    pub fn body(&self) -> &[u8] {
        match &self.ticket.0 {
            Errand::Callback(claim) => &claim.record,
            Errand::Outcomes(batch) => batch.body(),
            Errand::Claims(request) => request.body(),
        }
    }
}

/// What a request that leaves is for. It exists once, so that what was sent cannot be sent again.
#[derive(Debug)]
#[must_use = "a ticket that is dropped loses a callback, outcomes or claims"]
pub struct Ticket(Errand);

#[derive(Debug)]
enum Errand {
    Callback(Claim),
    Outcomes(Batch),
    Claims(ClaimRequest),
}

#[derive(Debug)]
enum InFlight {
    Callback { call_id: Box<str>, push_id: PushId, lane: usize, sent_at: u64, permit: Permit },
    Outcomes(Batch),
    Claims(ClaimRequest),
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Callbacks under way.
    pub callbacks_in_flight: usize,
    /// Claimed calls whose callback has yet to leave.
    pub callback_queue: usize,
    /// Outcomes the store has yet to take.
    pub outcome_backlog: usize,
    /// Pushes whose missed answer has yet to be had.
    pub claims_outstanding: usize,
    /// Calls anywhere between their push and the store's receipt for their outcome.
    pub pending_calls: usize,
    /// What those calls hold, bytes.
    pub pending_bytes: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Dispatcher {
    config: Rc<Config>,
    ledger: Ledger,
    lanes: Lanes,
    /// Claims that Envoy refused, by the monotonic moment they are tried again, then by arrival.
    refused: BTreeMap<(u64, u64), Claim>,
    refusals: u64,
    backlog: Backlog,
    outstanding: Outstanding,
    in_flight: BTreeMap<u32, InFlight>,
    draining: bool,
    /// Whether a stream brought work since the root was woken last.
    stirred: bool,
    journal: Journal,
}

impl Dispatcher {
    /// A dispatcher without work.
    pub fn new(config: Rc<Config>) -> Self {
        Self {
            ledger: Ledger::new(&config.limits, &config.businesses),
            lanes: Lanes::new(&config.businesses),
            refused: BTreeMap::new(),
            refusals: 0,
            backlog: Backlog::default(),
            outstanding: Outstanding::default(),
            in_flight: BTreeMap::new(),
            draining: false,
            stirred: false,
            journal: vec![Event::Configured {
                version: env!("CARGO_PKG_VERSION"),
                commit: journal::COMMIT,
                profile: journal::PROFILE,
                revision: config.revision.clone(),
                headers: config.headers,
                businesses: config.businesses.all().len(),
            }],
            config,
        }
    }

    /// Room for a push of `calls` calls whose claim request has `bytes` bytes and whose application's business is `ak`;
    /// `None` where there is none and the push must be answered 503.
    pub fn admit(&self, calls: usize, bytes: usize, ak: Option<&str>) -> Option<Permit> {
        let lane = ak.and_then(|ak| self.config.businesses.index_of(ak));
        self.ledger.admit(calls, bytes, lane)
    }

    /// The store has answered a claim request: queues a callback for every call it granted.
    pub fn settle(&mut self, request: ClaimRequest, answer: &PushAnswer<'_>, now: Now) {
        let ClaimRequest { push_id, parked, trace, mut permit, attempts, asked_at, .. } = request;
        let count = |verdict| answer.calls.iter().filter(|call| call.verdict == verdict).count();
        self.journal.push(Event::PushCommitted {
            push_id,
            claimed: count(CallVerdict::Claimed),
            duplicate: count(CallVerdict::Duplicate),
            parked: parked + count(CallVerdict::Parked),
            duration_ms: now.since(asked_at),
            asked_again: attempts > 0,
        });
        for (index, call) in answer.calls.iter().enumerate() {
            let (CallVerdict::Claimed, Some(record)) = (call.verdict, call.record) else { continue };
            self.stirred = true;
            let call_id: Box<str> = call.call_id.as_ref().into();
            let record = record.get().as_bytes();
            let permit = permit.split(record.len());
            let Some(ak) = call.ak.as_deref() else {
                self.finish(call_id, push_id, Outcome::Skipped { reason: Skipped::NoBinding }, None, permit, now);
                continue;
            };
            let Some(lane) = self.config.businesses.index_of(ak) else {
                self.finish(call_id, push_id, Outcome::Skipped { reason: Skipped::NoCallback }, None, permit, now);
                continue;
            };
            let span_id = claim::span_id(push_id, index);
            let trace = trace.clone();
            let claim = Claim { call_id, push_id, lane, record: record.into(), trace, span_id, permit, refusals: 0 };
            self.queue(claim, now);
        }
    }

    /// The store's answer to a claim request was missed: it is asked again, with the same push id, until the store answers.
    pub fn ask_again(&mut self, request: ClaimRequest, status: Option<u16>, now: Now) {
        self.postpone(request, status, now, true);
    }

    /// The store refused a claim request for good.
    pub fn reject(&mut self, request: ClaimRequest, status: u16) {
        self.journal.push(Event::PushRejected { push_id: request.push_id, status });
    }

    /// Notes an event of a stream among the root's own.
    pub fn note(&mut self, event: Event) {
        self.journal.push(event);
    }

    /// The next request that is to leave now, until there is none. Callbacks first: they are what a business waits for.
    pub fn poll(&mut self, now: Now) -> Option<Departure> {
        while let Some(entry) = self.refused.first_entry()
            && entry.key().0 <= now.monotonic_ms
        {
            let claim = entry.remove();
            self.queue(claim, now);
        }
        while let Some(claim) = self.lanes.pop() {
            match self.config.businesses.all().get(claim.lane) {
                Some(business) => return Some(callback_departure(business, claim, now)),
                None => self.lanes.landed(claim.lane),
            }
        }
        if let Some(batch) = self.backlog.take(&self.config.store, self.draining, now) {
            return Some(Departure { head: self.store_head(paths::OUTCOMES), ticket: Ticket(Errand::Outcomes(batch)) });
        }
        let mut request = self.outstanding.take(now.monotonic_ms)?;
        request.asked_at = now.monotonic_ms;
        Some(Departure { head: self.store_head(paths::PUSHES), ticket: Ticket(Errand::Claims(request)) })
    }

    /// A request has left; its answer will be known by `token`. From here on it is never sent again.
    pub fn sent(&mut self, ticket: Ticket, token: u32, now: Now) {
        let in_flight = match ticket.0 {
            Errand::Callback(Claim { call_id, push_id, lane, mut permit, .. }) => {
                permit.release_bytes();
                InFlight::Callback { call_id, push_id, lane, sent_at: now.monotonic_ms, permit }
            }
            Errand::Outcomes(batch) => InFlight::Outcomes(batch),
            Errand::Claims(request) => InFlight::Claims(request),
        };
        self.in_flight.insert(token, in_flight);
    }

    /// Envoy refused to send a request.
    pub fn refused(&mut self, ticket: Ticket, refusal: Refusal, now: Now) {
        match ticket.0 {
            Errand::Callback(claim) => self.callback_refused(claim, refusal, now),
            Errand::Outcomes(batch) => self.outcomes_failed(batch, None, now),
            Errand::Claims(request) => {
                self.outstanding.landed();
                self.postpone(request, None, now, false);
            }
        }
    }

    /// The answer to the request known by `token`. A token that is not known is ignored.
    pub fn answered(&mut self, token: u32, answer: &HttpAnswer<'_>, now: Now) {
        match self.in_flight.remove(&token) {
            Some(InFlight::Callback { call_id, push_id, lane, sent_at, permit }) => {
                self.lanes.landed(lane);
                let outcome = callback::classify(&Answer {
                    status: answer.status,
                    from_upstream: answer.from_upstream,
                    body: answer.body,
                });
                self.finish(call_id, push_id, outcome, Some(now.since(sent_at)), permit, now);
            }
            Some(InFlight::Outcomes(batch)) => self.outcomes_answered(batch, answer, now),
            Some(InFlight::Claims(request)) => {
                self.outstanding.landed();
                self.claims_answered(request, answer, now);
            }
            None => {}
        }
    }

    /// When [`Dispatcher::poll`] should be called again without anything having happened, milliseconds from now.
    pub fn next_wake_up(&self, now: Now) -> Option<u64> {
        let refused = self.refused.first_key_value().map(|((due, _), _)| *due);
        let backlog = self.backlog.due(&self.config.store, self.draining);
        let due = [refused, backlog, self.outstanding.due()].into_iter().flatten().min()?;
        Some(due.saturating_sub(now.monotonic_ms))
    }

    /// The configuration is being replaced: what waits for company stops waiting.
    pub fn drain(&mut self) {
        self.draining = true;
        if !self.is_idle() {
            self.journal.push(Event::Draining { pending_calls: self.ledger.calls() });
        }
    }

    /// Whether nothing is pending: no open push, no callback, no outcome, no missed answer. Each of them holds a permit.
    pub fn is_idle(&self) -> bool {
        self.ledger.calls() == 0
    }

    /// Whether a stream brought work for the root since this was asked last. A draining root wants to know of every stream,
    /// for each may have been the last.
    pub fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred) || self.draining
    }

    /// Whether the answer known by `token` is a business's.
    pub fn is_callback(&self, token: u32) -> bool {
        matches!(self.in_flight.get(&token), Some(InFlight::Callback { .. }))
    }

    /// How much of everything there is.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            callbacks_in_flight: self.lanes.in_flight(),
            callback_queue: self.lanes.waiting() + self.refused.len(),
            outcome_backlog: self.backlog.len(),
            claims_outstanding: self.outstanding.len(),
            pending_calls: self.ledger.calls(),
            pending_bytes: self.ledger.bytes(),
        }
    }

    /// What happened since this was called last.
    pub fn take_journal(&mut self) -> Journal {
        std::mem::take(&mut self.journal)
    }

    fn queue(&mut self, claim: Claim, now: Now) {
        if let Err(claim) = self.lanes.push(claim) {
            let outcome = Outcome::Skipped { reason: Skipped::NoCallback };
            self.finish(claim.call_id, claim.push_id, outcome, None, claim.permit, now);
        }
    }

    fn finish(
        &mut self,
        call_id: Box<str>,
        push_id: PushId,
        outcome: Outcome,
        duration_ms: Option<u64>,
        mut permit: Permit,
        now: Now,
    ) {
        permit.release_bytes();
        let report = OutcomeReport {
            call_id: call_id.to_string(),
            push_id,
            outcome,
            duration_ms: duration_ms.and_then(|duration| i64::try_from(duration).ok()),
        };
        self.backlog.add(report, permit, now);
        self.journal.push(Event::CallbackFinished { call_id, push_id, outcome, duration_ms });
    }

    fn callback_refused(&mut self, mut claim: Claim, refusal: Refusal, now: Now) {
        self.lanes.landed(claim.lane);
        claim.refusals += 1;
        let business = self.config.businesses.all().get(claim.lane);
        let pause = usize::try_from(claim.refusals - 1).ok().and_then(|index| REFUSED_PAUSES_MS.get(index)).copied();
        self.journal.push(Event::CallbackRefused {
            call_id: claim.call_id.clone(),
            cluster: business.map(|business| business.cluster.as_ref()).unwrap_or_default().into(),
            reason: refusal,
            attempts: claim.refusals,
            retry_in_ms: pause,
        });
        match pause {
            Some(pause) => {
                self.refusals = self.refusals.wrapping_add(1);
                self.refused.insert((now.monotonic_ms.saturating_add(pause), self.refusals), claim);
            }
            None => {
                let outcome = Outcome::NotSent { reason: refusal.not_sent() };
                self.finish(claim.call_id, claim.push_id, outcome, None, claim.permit, now);
            }
        }
    }

    fn outcomes_answered(&mut self, batch: Batch, answer: &HttpAnswer<'_>, now: Now) {
        let count = batch.len();
        if answer.status == Some(200) && takes_all(answer.body, count) {
            let duration_ms = now.since(batch.sent_at);
            self.backlog.landed(batch);
            self.journal.push(Event::OutcomesReported { count, duration_ms });
        } else if let Some(status) = store_answer::rejection(answer.status, answer.content_type) {
            self.backlog.landed(batch);
            self.journal.push(Event::OutcomesRejected { count, status });
        } else {
            self.outcomes_failed(batch, answer.status, now);
        }
    }

    fn outcomes_failed(&mut self, batch: Batch, status: Option<u16>, now: Now) {
        let count = batch.len();
        let (attempts, retry_in_ms) = self.backlog.failed(batch, &self.config.store, now.monotonic_ms, now);
        self.journal.push(Event::OutcomesDelayed { count, attempts, status, retry_in_ms });
    }

    fn claims_answered(&mut self, request: ClaimRequest, answer: &HttpAnswer<'_>, now: Now) {
        match store_answer::head(answer.status, answer.content_type, answer.committed, request.push_id) {
            store_answer::Head::Committed => match store_answer::body(answer.body, request.calls) {
                Some(answer) => self.settle(request, &answer, now),
                None => self.postpone(request, answer.status, now, false),
            },
            store_answer::Head::Rejected(status) => self.reject(request, status),
            store_answer::Head::Unclear(status) => self.postpone(request, status, now, false),
        }
    }

    /// Puts a claim request off: the first time hardly at all, then longer each time.
    fn postpone(&mut self, mut request: ClaimRequest, status: Option<u16>, now: Now, is_first: bool) {
        self.stirred = true;
        request.attempts = request.attempts.saturating_add(1);
        let store = &self.config.store;
        let [.., a, b, c, d] = *request.push_id.as_bytes();
        let seed = u64::from(u32::from_be_bytes([a, b, c, d]));
        let retry_in_ms = if is_first && status.is_none() {
            0
        } else {
            backoff::pause(store.retry_initial_ms, store.retry_max_ms, request.attempts, seed)
        };
        let attempts = request.attempts;
        self.journal.push(Event::ClaimsMissed { push_id: request.push_id, attempts, status, retry_in_ms });
        self.outstanding.add(request, now.monotonic_ms.saturating_add(retry_in_ms));
    }

    fn store_head(&self, path: &'static str) -> RequestHead {
        let store = &self.config.store;
        let mut head = RequestHead::post_json(&store.cluster, &store.authority, Text::Static(path), store.timeout);
        if let Some(authorization) = &store.authorization {
            head.add(Text::Static("authorization"), Text::Shared(Rc::clone(authorization.expose())));
        }
        head
    }
}

/// Whether the store's answer to a batch accounts for every outcome in it.
fn takes_all(body: &[u8], count: usize) -> bool {
    serde_json::from_slice::<OutcomesAnswer>(body).is_ok_and(|answer| {
        answer.recorded.saturating_add(answer.repeated).saturating_add(answer.refused) == count as u64
    })
}

/// The one callback of a call.
fn callback_departure(business: &Rc<Business>, claim: Claim, now: Now) -> Departure {
    let path = Text::Shared(Rc::clone(&business.path));
    let mut head = RequestHead::post_json(&business.cluster, &business.authority, path, business.timeout);
    let timestamp = now.wall_ms.div_euclid(1_000);
    head.add(Text::Static("webhook-id"), Text::Owned(claim.call_id.to_string()));
    head.add(Text::Static("webhook-timestamp"), Text::Owned(timestamp.to_string()));
    if !business.signing_secrets.is_empty() {
        let signature = callback::sign(&business.signing_secrets, &claim.call_id, timestamp, &claim.record);
        head.add(Text::Static("webhook-signature"), Text::Owned(signature));
    }
    if let Some(trace) = &claim.trace {
        let (traceparent, tracestate) = trace.child(claim.span_id);
        head.add(Text::Static("traceparent"), Text::Owned(traceparent));
        if let Some(tracestate) = tracestate {
            head.add(Text::Static("tracestate"), Text::Owned(tracestate.to_owned()));
        }
    }
    for (name, value) in &business.headers {
        head.add(Text::Shared(Rc::clone(name)), Text::Shared(Rc::clone(value)));
    }
    Departure { head, ticket: Ticket(Errand::Callback(claim)) }
}
