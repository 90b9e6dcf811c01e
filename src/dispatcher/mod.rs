//! What is under way in one worker: held streams, claim requests, callbacks and outcomes.
//!
//! A [`Dispatcher`] belongs to one configuration of one worker. Pushes hand it their claim requests and streams; the
//! [`Worker`](crate::worker::Worker) takes [`OutgoingRequest`]s from it, sends them, and reports what came of each. It outlives
//! streams and, once it is drained, configurations.

mod claim;
mod queues;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use privatenumber_cdr::{Contents, Field};
use privatenumber_contract::{
    CallResult, CallVerdict, NotSent, Outcome, OutcomeReport, OutcomesAnswer, PushAnswer, PushId, PushVerdict, Skipped,
    limits, paths,
};
use serde::Serialize;

use crate::admission::{Admission, BodyPermit, FIRST_BYTES, Permit};
use crate::callback::{self, Answer, TraceContext};
use crate::config::{Config, HeadersMode};
use crate::journal::{self, Event, FieldWarning, Journal};
use crate::now::Now;
use crate::reply::Reply;
use crate::request::{RequestHead, Text};
use crate::store::{Backlog, ClaimRequest, Claims, Missed, NoAnswer, OutcomeBatch, PushBatch, Take, Works, answers};
use crate::streams::{StreamId, Streams};
use claim::Claim;
use queues::BusinessQueues;

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

/// The answer to a request of the worker, as far as it is looked at.
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

/// A request that is to leave now. It is consumed by [`Dispatcher::sent`] or [`Dispatcher::refused`], so that what was sent
/// cannot be sent again.
#[derive(Debug)]
#[must_use = "a request that is dropped loses a callback, outcomes or claims"]
pub struct OutgoingRequest {
    /// Everything but the body.
    pub head: RequestHead,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Callback(Claim),
    Outcomes(OutcomeBatch),
    Claims(PushBatch),
    Works(Take),
}

impl OutgoingRequest {
    /// The body.
    pub fn body(&self) -> &[u8] {
        match &self.purpose {
            Purpose::Callback(claim) => &claim.record,
            Purpose::Outcomes(batch) => batch.body(),
            Purpose::Claims(batch) => batch.body(),
            Purpose::Works(take) => take.body(),
        }
    }
}

#[derive(Debug)]
enum InFlight {
    Callback { call_id: Box<str>, push_id: PushId, business: usize, sent_at: u64, permit: Permit },
    Outcomes(OutcomeBatch),
    Claims(PushBatch),
    Works(Take),
}

/// A call whose outcome is known.
struct EndedCall {
    call_id: Box<str>,
    push_id: PushId,
    /// The number of its business, if it has a configured one.
    business: Option<usize>,
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
    /// Pushes that wait for the store's verdict.
    pub claims_outstanding: usize,
    /// Pushes that are held until they are complete and answered.
    pub pushes_held: usize,
    /// Calls anywhere between their push and the store's receipt for their outcome, and works that are asked for again.
    pub pending_calls: usize,
    /// What those calls hold, and pushes that are held, bytes.
    pub pending_bytes: usize,
}

/// A stream that is to be answered.
#[derive(Debug)]
struct Owed {
    stream: StreamId,
    reply: Reply,
    /// The room of a push that gave way: the host keeps what it has read until it is given the reply.
    _room: Option<BodyPermit>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Dispatcher {
    config: Rc<Config>,
    admission: Admission,
    streams: Streams,
    /// Streams that are to be answered.
    replies: VecDeque<Owed>,
    claims: Claims,
    queues: BusinessQueues,
    /// Claims that Envoy refused, by the monotonic moment they are tried again, then by arrival.
    refused: BTreeMap<(u64, u64), Claim>,
    refusals: u64,
    backlog: Backlog,
    works: Works,
    in_flight: BTreeMap<u32, InFlight>,
    draining: bool,
    journal: Journal,
}

impl Dispatcher {
    /// A dispatcher without work.
    pub fn new(config: Rc<Config>) -> Self {
        let mut journal = vec![Event::Configured {
            version: env!("CARGO_PKG_VERSION"),
            commit: journal::COMMIT,
            profile: journal::PROFILE,
            revision: config.revision.clone(),
            headers: config.headers,
            businesses: config.businesses.all().len(),
        }];
        journal.extend(config.warnings.iter().map(|warning| Event::ConfigurationWarning {
            pointer: warning.path.clone(),
            reason: warning.message.clone(),
        }));
        Self {
            admission: Admission::new(&config.limits, &config.businesses),
            streams: Streams::default(),
            replies: VecDeque::new(),
            claims: Claims::new(&config.store),
            queues: BusinessQueues::new(&config.businesses),
            refused: BTreeMap::new(),
            refusals: 0,
            backlog: Backlog::default(),
            works: Works::default(),
            in_flight: BTreeMap::new(),
            draining: false,
            journal,
            config,
        }
    }

    /// A push whose headers are good takes its first room, and is held from now on. `announced`: its `content-length`.
    ///
    /// # Errors
    /// What it must be answered: there is no room, or batches of claims fail.
    pub fn begin(&mut self, stream: StreamId, announced: Option<u64>, now: Now) -> Result<(), Reply> {
        if self.claims.refuses(now) {
            return Err(Reply::StoreUnavailable);
        }
        let permit = loop {
            if let Some(permit) = self.admission.admit_body() {
                break permit;
            }
            self.give_way(None, FIRST_BYTES, now)?;
        };
        self.streams.begin(stream, permit, announced, now);
        if self.lets_pass() {
            // Its headers are not held, and so no flag of Envoy's decides whether its body is shown.
            self.streams.body_shown();
        }
        Ok(())
    }

    /// More of a held push has arrived, `size` bytes in all.
    ///
    /// # Errors
    /// What it must be answered: there is no room.
    pub fn grow(&mut self, stream: StreamId, size: usize, now: Now) -> Result<(), Reply> {
        while !self.streams.grow(stream, size) {
            let more = size.saturating_sub(self.streams.bytes(stream));
            self.give_way(Some(stream), more, now)?;
        }
        Ok(())
    }

    /// The host has shown something of a held push's body: it shows every body.
    pub fn body_shown(&mut self) {
        self.streams.body_shown();
    }

    /// Pushes whose body the host has not shown for so long that it is to be asked how much of it there is.
    pub fn unshown_bodies(&mut self, now: Now) -> Vec<StreamId> {
        self.streams.unshown(now)
    }

    /// The host has received that much of the body of a push and shown none; `None` if it cannot say.
    pub fn body_received(&mut self, stream: StreamId, received: Option<u64>, now: Now) {
        if self.streams.withheld(stream, received, now) {
            self.reply(stream, None, Reply::FlagMissing);
        }
    }

    /// The push that has been unfinished longest leaves the unfinished ones, so that `more` bytes of another may take its place.
    fn give_way(&mut self, except: Option<StreamId>, more: usize, now: Now) -> Result<(), Reply> {
        // Those that gave way hold the rest until they have their replies. One more of them would make no room.
        if !self.admission.has_room(more) {
            return Err(Reply::Busy);
        }
        let (stream, room) = self.streams.give_way(except, now).ok_or(Reply::Busy)?;
        self.note_reply(None, &Reply::GaveWay);
        self.replies.push_back(Owed { stream, reply: Reply::GaveWay, _room: Some(room) });
        Ok(())
    }

    /// Whether the stream is held: nobody has answered it yet.
    pub fn holds(&self, stream: StreamId) -> bool {
        self.streams.holds(stream)
    }

    /// Whether the stream has no reply yet: it is held, or the host has not been given its reply.
    pub fn owes_reply(&self, stream: StreamId) -> bool {
        self.holds(stream) || self.replies.iter().any(|owed| owed.stream == stream)
    }

    /// Whether pushes go ahead to the store as their streams' own requests.
    pub fn lets_pass(&self) -> bool {
        self.config.headers == HeadersMode::Pass
    }

    /// The stream is over, goes on to the store, or somebody else answers it: the worker does not. `false` if it has its reply.
    pub fn release(&mut self, stream: StreamId) -> bool {
        if self.streams.remove(stream) {
            return true;
        }
        // A stream cannot be answered from within another's event, so its reply may wait here while somebody else answers it.
        let before = self.replies.len();
        self.replies.retain(|owed| owed.stream != stream);
        self.replies.len() < before
    }

    /// Room for a push of `calls` calls whose claim request has `bytes` bytes; `None` where there is none and the push must be answered
    /// 503.
    pub fn admit(&mut self, calls: usize, bytes: usize) -> Option<Permit> {
        if let Some(permit) = self.admission.admit(calls, bytes) {
            return Some(permit);
        }
        // What was never asked for and is awaited by nobody gives way first: nobody was promised anything.
        let streams = &self.streams;
        let pushes = self.claims.drop_abandoned(|stream| streams.holds(stream));
        if pushes == 0 {
            return None;
        }
        self.journal.push(Event::AbandonedDropped { pushes });
        self.admission.admit(calls, bytes)
    }

    /// Asks the store for a push of `body_size` bytes, whose stream waits for the verdict.
    pub fn ask(&mut self, mut request: ClaimRequest, stream: StreamId, body_size: usize, now: Now) {
        self.streams.wait(stream, body_size, now.monotonic_ms.saturating_add(self.config.store.patience_ms));
        request.stream = Some(stream);
        self.claims.add(request);
    }

    /// The stream asked the store by itself and missed the answer: the push is asked for again until the store answers.
    /// `status`: what came instead.
    pub fn ask_again(&mut self, request: ClaimRequest, status: Option<u16>, now: Now) {
        self.put_back(request, Missed::by_stream(status), now);
    }

    /// The store committed what the stream asked it by itself.
    pub fn settle(&mut self, request: ClaimRequest, answer: &PushAnswer<'_>, now: Now) {
        self.journal.push(Event::BatchAnswered { pushes: 1, duration_ms: now.since(request.asked_at) });
        self.claims.succeeded(now);
        self.works.heard(answer.works_waiting, &self.config.store, now);
        self.committed(request, &answer.calls, now);
    }

    /// The store refused what the stream asked it by itself, for good.
    pub fn reject(&mut self, request: ClaimRequest, status: u16) {
        self.journal.push(Event::PushRejected { push_id: request.push_id(), status });
    }

    /// Notes an event of a stream among the worker's own.
    pub fn note(&mut self, event: Event) {
        self.journal.push(event);
    }

    /// Notes what of a push's CDRs could not be used, or says nothing new.
    pub fn note_oddities(&mut self, push_id: PushId, contents: &Contents<'_>) {
        let Contents::Calls { calls, repeated, .. } = contents else { return };
        if *repeated > 0 {
            self.journal.push(Event::CdrsRepeated { push_id, count: *repeated });
        }
        let mut fields: Vec<FieldWarning> = Vec::new();
        for warning in calls.iter().flat_map(|call| &call.warnings) {
            let Some(field) = Field::named(&warning.field) else { continue };
            match fields.iter_mut().find(|known| known.field == field) {
                Some(known) => known.cdrs += 1,
                None => fields.push(FieldWarning { field, cdrs: 1, reason: warning.reason.clone().into_owned() }),
            }
        }
        if !fields.is_empty() {
            self.journal.push(Event::CdrWarnings { push_id, fields });
        }
    }

    /// Notes the reply to a push.
    pub fn note_reply(&mut self, push_id: Option<PushId>, reply: &Reply) {
        let pointer = match reply {
            Reply::Invalid(invalid) => Some(invalid.pointer.to_string()),
            _ => None,
        };
        self.journal.push(Event::PushAnswered {
            answer: reply.kind(),
            status: reply.status(),
            push_id,
            pointer,
            reason: reply.reason().map(std::borrow::Cow::into_owned),
        });
    }

    /// Streams that are to be answered now, with their replies: the oldest `most` of them.
    pub fn take_replies(&mut self, most: usize) -> Vec<(StreamId, Reply)> {
        let most = most.min(self.replies.len());
        self.replies.drain(..most).map(|owed| (owed.stream, owed.reply)).collect()
    }

    /// Answers streams whose patience has ended.
    pub fn end_patience(&mut self, now: Now) {
        while let Some(stream) = self.streams.impatient(now) {
            self.reply(stream, None, Reply::StoreUnavailable);
        }
    }

    /// From now on works are taken. `random` decides when first.
    pub fn take_works(&mut self, random: u128, now: Now) {
        self.works.start(&self.config.store, random, now);
    }

    /// Whether a request for works is to be drawn now.
    pub fn begins_works(&self, now: Now) -> bool {
        self.works.begins(self.draining, self.admission.works() == 0, now)
    }

    /// Asks the store for works, as many as there is room for. `push_id` is drawn for this request and holds what is taken.
    pub fn begin_works(&mut self, push_id: Option<PushId>, now: Now) {
        let room = push_id.and_then(|_| self.admission.admit_works());
        self.works.begin(push_id, room, &self.config.store, now);
    }

    /// The next request that is to leave now, until there is none. Callbacks first: they are what a business waits for.
    pub fn poll(&mut self, now: Now) -> Option<OutgoingRequest> {
        while let Some(entry) = self.refused.first_entry()
            && entry.key().0 <= now.monotonic_ms
        {
            let claim = entry.remove();
            self.queue(claim, now);
        }
        while let Some(claim) = self.queues.pop(now) {
            let Some(business) = self.config.businesses.all().get(claim.business) else {
                self.queues.completed(claim.business);
                continue;
            };
            let trace = claim.trace.as_ref().map(|trace| (trace, claim.span_id));
            let head = callback::head(business, &claim.call_id, &claim.record, trace, now);
            return Some(OutgoingRequest { head, purpose: Purpose::Callback(claim) });
        }
        if let Some(batch) = self.claims.take(&self.config.store, self.draining, now) {
            let head = self.store_head(batch.path(), self.config.store.push_timeout);
            return Some(OutgoingRequest { head, purpose: Purpose::Claims(batch) });
        }
        if let Some(batch) = self.backlog.take(&self.config.store, self.draining, now) {
            let head = self.store_head(paths::OUTCOMES, self.config.store.timeout);
            return Some(OutgoingRequest { head, purpose: Purpose::Outcomes(batch) });
        }
        let take = self.works.take(now)?;
        let head = self.store_head(paths::WORK_TAKE, self.config.store.timeout);
        Some(OutgoingRequest { head, purpose: Purpose::Works(take) })
    }

    /// A request has left; its answer will be known by `token`. From here on it is never sent again.
    pub fn sent(&mut self, request: OutgoingRequest, token: u32, now: Now) {
        let in_flight = match request.purpose {
            Purpose::Callback(Claim { call_id, push_id, business, mut permit, .. }) => {
                permit.release_bytes();
                InFlight::Callback { call_id, push_id, business, sent_at: now.monotonic_ms, permit }
            }
            Purpose::Outcomes(batch) => InFlight::Outcomes(batch),
            Purpose::Claims(mut batch) => {
                batch.sent();
                InFlight::Claims(batch)
            }
            Purpose::Works(take) => InFlight::Works(take),
        };
        self.in_flight.insert(token, in_flight);
    }

    /// Envoy refused to send a request.
    pub fn refused(&mut self, request: OutgoingRequest, refusal: Refusal, now: Now) {
        match request.purpose {
            Purpose::Callback(claim) => self.callback_refused(claim, refusal, now),
            Purpose::Outcomes(batch) => self.outcomes_failed(batch, None, now),
            // Not at once again: whatever keeps Envoy from sending would keep it from that as well.
            Purpose::Claims(batch) => self.batch_ended(batch, Missed::REFUSED, false, now),
            Purpose::Works(take) => self.works_missed(take, NoAnswer::NotSent, None, now),
        }
    }

    /// The answer to the request known by `token`. A token that is not known is ignored.
    pub fn answered(&mut self, token: u32, answer: &HttpAnswer<'_>, now: Now) {
        match self.in_flight.remove(&token) {
            Some(InFlight::Callback { call_id, push_id, business, sent_at, permit }) => {
                self.queues.completed(business);
                let outcome = callback::classify(&Answer {
                    status: answer.status,
                    from_upstream: answer.from_upstream,
                    body: answer.body,
                });
                let call = EndedCall { call_id, push_id, business: Some(business) };
                self.finish(call, outcome, Some(now.since(sent_at)), permit, now);
            }
            Some(InFlight::Outcomes(batch)) => self.outcomes_answered(batch, answer, now),
            Some(InFlight::Claims(batch)) => self.batch_answered(batch, answer, now),
            Some(InFlight::Works(take)) => self.works_answered(take, answer, now),
            None => {}
        }
    }

    /// When [`Dispatcher::poll`] or [`Dispatcher::end_patience`] should be called again without anything having happened,
    /// milliseconds from now.
    pub fn next_wake_up(&self, now: Now) -> Option<u64> {
        if self.queues.is_ready() || !self.replies.is_empty() {
            return Some(0);
        }
        let refused = self.refused.first_key_value().map(|((due, _), _)| *due);
        let backlog = self.backlog.due(&self.config.store, self.draining);
        let claims = self.claims.due(&self.config.store, self.draining, now);
        let works = self.works.due(self.draining, self.admission.works() == 0);
        let due =
            [refused, backlog, claims, works, self.streams.due(), self.queues.due()].into_iter().flatten().min()?;
        Some(due.saturating_sub(now.monotonic_ms))
    }

    /// The configuration is being replaced: batches leave without waiting to fill up.
    pub fn drain(&mut self) {
        self.draining = true;
        if !self.is_idle() {
            self.journal.push(Event::Draining { pending_calls: self.admission.calls() });
        }
    }

    /// Whether nothing is pending: no held stream, no reply, no open push, no callback, no outcome, no request for works, no missed
    /// answer. All but the first two hold a permit.
    pub fn is_idle(&self) -> bool {
        self.admission.calls() == 0 && self.streams.is_empty() && self.replies.is_empty()
    }

    /// Whether the answer known by `token` is a business's.
    pub fn is_callback(&self, token: u32) -> bool {
        matches!(self.in_flight.get(&token), Some(InFlight::Callback { .. }))
    }

    /// How much of everything there is.
    pub fn gauges(&self) -> Gauges {
        let asked_for = self.works.asked_for();
        Gauges {
            callbacks_in_flight: self.queues.in_flight(),
            callback_queue: self.queues.waiting() + self.refused.len(),
            outcome_backlog: self.backlog.len(),
            claims_outstanding: self.claims.len(),
            pushes_held: self.streams.len(),
            pending_calls: self.admission.calls().saturating_sub(asked_for),
            pending_bytes: self.admission.bytes().saturating_sub(asked_for * limits::CALL_ANSWER_BYTES),
        }
    }

    /// What happened since this was called last.
    pub fn take_journal(&mut self) -> Journal {
        std::mem::take(&mut self.journal)
    }

    /// Answers a stream that was taken out of those that are held.
    fn reply(&mut self, stream: StreamId, push_id: Option<PushId>, reply: Reply) {
        self.note_reply(push_id, &reply);
        self.replies.push_back(Owed { stream, reply, _room: None });
    }

    /// Answers the stream of a claim request that has its verdict, if it still waits.
    fn reply_to(&mut self, stream: Option<StreamId>, push_id: PushId, reply: Reply) {
        if let Some(stream) = stream
            && self.streams.remove(stream)
        {
            self.reply(stream, Some(push_id), reply);
        }
    }

    /// Queues a callback for every call that the store granted, then answers the stream.
    fn committed(&mut self, request: ClaimRequest, calls: &[CallResult<'_>], now: Now) {
        let (push_id, stream) = (request.push_id(), request.stream);
        let count = |verdict| calls.iter().filter(|call| call.verdict == verdict).count();
        self.journal.push(Event::PushCommitted {
            push_id,
            claimed: count(CallVerdict::Claimed),
            duplicate: count(CallVerdict::Duplicate),
            parked: request.parked() + count(CallVerdict::Parked),
            held: count(CallVerdict::Held),
            erased: count(CallVerdict::Erased),
            duration_ms: now.since(request.asked_at),
            asked_again: request.attempts > 0,
        });
        let ClaimRequest { trace, mut permit, .. } = request;
        self.grant(push_id, calls, trace.as_ref(), &mut permit, now);
        drop(permit);
        self.reply_to(stream, push_id, Reply::Recorded);
    }

    /// Queues a callback for every call that the store granted to `push_id`. Each takes its part of the room.
    fn grant(
        &mut self,
        push_id: PushId,
        calls: &[CallResult<'_>],
        trace: Option<&TraceContext>,
        permit: &mut Permit,
        now: Now,
    ) {
        for (index, call) in calls.iter().enumerate() {
            match (call.verdict, call.record) {
                (CallVerdict::Claimed, Some(record)) => {
                    let record = record.get().as_bytes();
                    let permit = permit.split(record.len());
                    let placed = match call.ak.as_deref().map(|ak| self.config.businesses.index_of(ak)) {
                        Some(Some(business)) => permit
                            .place(business)
                            .map(|permit| (business, permit))
                            .map_err(|permit| (Outcome::NotSent { reason: NotSent::QueueFull }, permit)),
                        Some(None) => Err((Outcome::Skipped { reason: Skipped::NoCallback }, permit)),
                        None => Err((Outcome::Skipped { reason: Skipped::NoBinding }, permit)),
                    };
                    match placed {
                        Ok((business, permit)) => {
                            let call_id = call.call_id.as_ref().into();
                            let (span_id, trace) = (claim::span_id(push_id, index), trace.cloned());
                            let record = record.into();
                            let claim =
                                Claim { call_id, push_id, business, record, trace, span_id, permit, refusals: 0 };
                            self.queue(claim, now);
                        }
                        Err((outcome, permit)) => self.finish_unsent(call, push_id, outcome, permit, now),
                    }
                }
                (CallVerdict::Erased, _) => {
                    let outcome = Outcome::NotSent { reason: NotSent::Erased };
                    let permit = permit.split(0);
                    self.finish_unsent(call, push_id, outcome, permit, now);
                }
                _ => {}
            }
        }
    }

    /// Reads the answer to a request for works: as a whole, or not at all (`docs/claim-protocol.md`, rule 20).
    fn works_answered(&mut self, take: Take, answer: &HttpAnswer<'_>, now: Now) {
        let push_id = take.push_id();
        let read = (answer.status == Some(200)).then(|| answers::works(answer.body, push_id, take.most())).flatten();
        let Some(read) = read else {
            let classified = callback::classify(&Answer {
                status: answer.status,
                from_upstream: answer.from_upstream,
                body: answer.body,
            });
            let instead = match classified {
                Outcome::NotSent { .. } => NoAnswer::NotSent,
                Outcome::Rejected { status: 404 } => NoAnswer::Unknown,
                _ => NoAnswer::Missed,
            };
            return self.works_missed(take, instead, answer.status, now);
        };
        self.works.answered(read.calls.len(), read.works_waiting, &self.config.store, now);
        if !read.calls.is_empty() {
            self.journal.push(Event::WorksTaken {
                push_id,
                calls: read.calls.len(),
                waiting: read.works_waiting,
                duration_ms: now.since(take.sent_at()),
            });
        }
        let mut permit = take.into_permit();
        self.grant(push_id, &read.calls, None, &mut permit, now);
    }

    /// A request for works has no answer.
    fn works_missed(&mut self, take: Take, instead: NoAnswer, status: Option<u16>, now: Now) {
        let (push_id, attempts) = (take.push_id(), take.attempts().saturating_add(1));
        let (retry_in_ms, repeated) = self.works.unanswered(take, instead, &self.config.store, now);
        self.journal.push(match instead {
            NoAnswer::Unknown => Event::WorksUnknown,
            _ => Event::WorksMissed { push_id, attempts, status, retry_in_ms, repeated },
        });
    }

    fn finish_unsent(&mut self, call: &CallResult<'_>, push_id: PushId, outcome: Outcome, permit: Permit, now: Now) {
        let business = call.ak.as_deref().and_then(|ak| self.config.businesses.index_of(ak));
        let call = EndedCall { call_id: call.call_id.as_ref().into(), push_id, business };
        self.finish(call, outcome, None, permit, now);
    }

    fn queue(&mut self, claim: Claim, now: Now) {
        if let Err(claim) = self.queues.push(claim) {
            let outcome = Outcome::Skipped { reason: Skipped::NoCallback };
            let call = EndedCall { call_id: claim.call_id, push_id: claim.push_id, business: None };
            self.finish(call, outcome, None, claim.permit, now);
        }
    }

    fn finish(&mut self, call: EndedCall, outcome: Outcome, duration_ms: Option<u64>, mut permit: Permit, now: Now) {
        let EndedCall { call_id, push_id, business } = call;
        // A store that does not take outcomes is not the business's fault.
        permit.leave();
        permit.release_bytes();
        let report = OutcomeReport {
            call_id: call_id.to_string(),
            push_id,
            outcome,
            duration_ms: duration_ms.and_then(|duration| i64::try_from(duration).ok()),
        };
        self.backlog.add(report, permit, now);
        self.journal.push(Event::CallbackFinished { call_id, push_id, business, outcome, duration_ms });
    }

    fn callback_refused(&mut self, mut claim: Claim, refusal: Refusal, now: Now) {
        self.queues.completed(claim.business);
        claim.refusals += 1;
        let pause = usize::try_from(claim.refusals - 1).ok().and_then(|index| REFUSED_PAUSES_MS.get(index)).copied();
        self.journal.push(Event::CallbackRefused {
            call_id: claim.call_id.clone(),
            business: claim.business,
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
                let business = Some(claim.business);
                let call = EndedCall { call_id: claim.call_id, push_id: claim.push_id, business };
                self.finish(call, outcome, None, claim.permit, now);
            }
        }
    }

    /// Reads the answer to a batch: each verdict takes its own push out, whatever else ends a batch puts back what is left
    /// (`docs/claim-protocol.md`, rules 1 to 5).
    fn batch_answered(&mut self, mut batch: PushBatch, answer: &HttpAnswer<'_>, now: Now) {
        let missed = Missed::by(answer.status, answer.from_upstream);
        if answer.status == Some(404) && batch.path() == paths::PUSH_BATCHES {
            if self.claims.unknown_to_store(batch, now) {
                self.journal.push(Event::BatchesUnknown);
            }
            return;
        }
        if let Some(push_id) = batch.alone()
            && let Some(status) = answers::rejection(answer.status, answer.content_type)
        {
            self.refuse(&mut batch, push_id, status);
            self.batch_ended(batch, missed, true, now);
            return;
        }
        let asked = batch.len();
        if batch.path() == paths::PUSHES {
            self.read_single(&mut batch, answer, now);
        } else if answer.status == Some(200) {
            self.read_verdicts(&mut batch, answer.body, now);
        }
        let says_something = batch.len() < asked;
        if says_something {
            let duration_ms = now.since(batch.sent_at());
            self.journal.push(Event::BatchAnswered { pushes: asked, duration_ms });
        }
        self.batch_ended(batch, missed, says_something, now);
    }

    fn read_single(&mut self, batch: &mut PushBatch, answer: &HttpAnswer<'_>, now: Now) {
        let Some(push_id) = batch.alone() else { return };
        let head = answers::head(answer.status, answer.content_type, answer.committed, push_id);
        if let (answers::Head::Committed, Some(request)) = (head, batch.find(push_id))
            && let Some(read) = answers::single(answer.body, request)
            && let Some(request) = batch.take(push_id)
        {
            self.works.heard(read.works_waiting, &self.config.store, now);
            self.committed(request, &read.calls, now);
        }
    }

    fn read_verdicts(&mut self, batch: &mut PushBatch, body: &[u8], now: Now) {
        let is_further = |push_id, place| batch.find(push_id).is_some_and(|request| request.is_further(place));
        let Some(answer) = answers::batch(body, is_further) else { return };
        self.works.heard(answer.works_waiting, &self.config.store, now);
        for result in &answer.pushes {
            let Some(request) = batch.find(result.push_id) else { continue };
            match result.verdict {
                PushVerdict::Committed if answers::is_whole(&result.calls, request) => {
                    if let Some(request) = batch.take(result.push_id) {
                        self.committed(request, &result.calls, now);
                    }
                }
                PushVerdict::Committed => {}
                PushVerdict::Refused | PushVerdict::Expired => {
                    let status = result.problem.as_ref().map_or(422, |problem| problem.status);
                    self.refuse(batch, result.push_id, status);
                }
                PushVerdict::Retry => {
                    if let Some(request) = batch.take(result.push_id) {
                        self.put_back(request, Missed { from_store: true, ..Missed::LEFT_OUT }, now);
                    }
                }
            }
        }
    }

    /// The store refuses a push for good.
    fn refuse(&mut self, batch: &mut PushBatch, push_id: PushId, status: u16) {
        let Some(request) = batch.take(push_id) else { return };
        self.journal.push(Event::PushRejected { push_id, status });
        let stream = request.stream;
        drop(request);
        self.reply_to(stream, push_id, Reply::StoreUnavailable);
    }

    /// A batch is not under way any more. What is left in it is put back.
    fn batch_ended(&mut self, batch: PushBatch, missed: Missed, says_something: bool, now: Now) {
        let (pushes, longest, store) = (batch.len(), batch.longest_asked(), &self.config.store);
        let retry_in_ms = if says_something {
            self.claims.answered(batch, store, now)
        } else {
            self.claims.failed(batch, missed, store, now)
        };
        if let Some((push_id, attempts)) = longest {
            let (attempts, status) = (attempts.saturating_add(1), missed.status);
            self.journal.push(Event::ClaimsMissed { pushes, push_id, attempts, status, retry_in_ms });
        }
    }

    fn put_back(&mut self, request: ClaimRequest, missed: Missed, now: Now) {
        let (push_id, attempts) = (request.push_id(), request.attempts.saturating_add(1));
        let retry_in_ms = self.claims.put_back(request, missed, &self.config.store, now);
        let status = missed.status;
        self.journal.push(Event::ClaimsMissed { pushes: 1, push_id, attempts, status, retry_in_ms });
    }

    fn outcomes_answered(&mut self, batch: OutcomeBatch, answer: &HttpAnswer<'_>, now: Now) {
        let count = batch.len();
        if answer.status == Some(200)
            && let Some(works_waiting) = takes_all(answer.body, count)
        {
            self.works.heard(works_waiting, &self.config.store, now);
            let duration_ms = now.since(batch.sent_at);
            self.backlog.landed(batch);
            self.journal.push(Event::OutcomesReported { count, duration_ms });
        } else if let Some(status) = answers::rejection(answer.status, answer.content_type) {
            self.backlog.landed(batch);
            self.journal.push(Event::OutcomesRejected { count, status });
        } else {
            self.outcomes_failed(batch, answer.status, now);
        }
    }

    fn outcomes_failed(&mut self, batch: OutcomeBatch, status: Option<u16>, now: Now) {
        let count = batch.len();
        let (attempts, retry_in_ms) = self.backlog.failed(batch, &self.config.store, now.monotonic_ms, now);
        self.journal.push(Event::OutcomesDelayed { count, attempts, status, retry_in_ms });
    }

    fn store_head(&self, path: &'static str, timeout: std::time::Duration) -> RequestHead {
        let store = &self.config.store;
        let mut head = RequestHead::post_json(&store.cluster, &store.authority, Text::Static(path), timeout);
        if let Some(authorization) = &store.authorization {
            head.add(Text::Static("authorization"), Text::Shared(Rc::clone(authorization.expose())));
        }
        head
    }
}

/// How many works wait, if the store's answer to a batch accounts for every outcome in it.
fn takes_all(body: &[u8], count: usize) -> Option<u64> {
    let answer: OutcomesAnswer = serde_json::from_slice(body).ok()?;
    let all = answer.recorded.saturating_add(answer.repeated).saturating_add(answer.refused);
    (all == count as u64).then_some(answer.works_waiting)
}
