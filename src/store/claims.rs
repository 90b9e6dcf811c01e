//! Claim requests that wait for the store's verdict, and the batches in which they are asked (`POST /v1/push-batches`).
//!
//! What a batch missed is asked again with the same push id until the store says something of it (promise P8): in halves, down to
//! alone. So one push that the store cannot take, or one answer that is too large, does not hold up the others.

use std::collections::{BTreeMap, VecDeque};

use privatenumber_contract::{PushId, limits, paths};

use super::backoff;
use super::request::ClaimRequest;
use crate::config;
use crate::now::Now;
use crate::streams::StreamId;

/// How many young batches may be under way.
const YOUNG_MOST: usize = 4;
/// A batch is young for this long, milliseconds. An older one hangs, perhaps at one of several stores: it holds up no others.
const YOUNG_MS: u64 = 250;
/// How many batches may be under way, however old.
const UNDER_WAY_MOST: usize = 32;
/// How many bytes batches under way may have.
const UNDER_WAY_BYTES: usize = 16 * 1_024 * 1_024;
/// How many batches in a row must fail before new pushes are refused.
const FAILURES_TO_CLOSE: u32 = 3;
/// While new pushes are refused, one is let in this often, milliseconds: without anything to ask nobody would learn that the
/// store is back.
const PROBE_MS: u64 = 1_000;
/// How long a store that does not know batches is asked by single pushes, milliseconds.
const SINGLY_MS: u64 = 60_000;
/// What a batch has beside its pushes, bytes: `{"pushes":[` and `]}`.
const FRAME_BYTES: usize = 13;
/// What a push may take in a batch beyond its own size, bytes: a comma, and an age with more digits than `0`.
const PUSH_EXTRA_BYTES: usize = 20;
/// Most calls of a batch: as many as an answer has room for.
const CALLS_MOST: usize = limits::ANSWER_BYTES / limits::CALL_ANSWER_BYTES;

/// Pushes that are asked for together.
#[derive(Debug)]
pub(crate) struct PushBatch {
    number: u64,
    requests: Vec<ClaimRequest>,
    body: Vec<u8>,
    path: &'static str,
    sent_at: u64,
}

impl PushBatch {
    /// What is sent; empty once it was.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The batch has left: the host has its own copy of what was sent.
    pub fn sent(&mut self) {
        self.body = Vec::new();
    }

    /// Where it is sent to.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// How many pushes are left in it.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// When it left, monotonic milliseconds.
    pub fn sent_at(&self) -> u64 {
        self.sent_at
    }

    /// The push that was asked for longest, and how often its answer was missed so far.
    pub fn longest_asked(&self) -> Option<(PushId, u32)> {
        let request = self.requests.iter().max_by_key(|request| request.attempts)?;
        Some((request.push_id(), request.attempts))
    }

    /// The claim request of that push, if it is here.
    pub fn find(&self, push_id: PushId) -> Option<&ClaimRequest> {
        self.requests.iter().find(|request| request.push_id() == push_id)
    }

    /// Takes the claim request of that push out.
    pub fn take(&mut self, push_id: PushId) -> Option<ClaimRequest> {
        let index = self.requests.iter().position(|request| request.push_id() == push_id)?;
        Some(self.requests.swap_remove(index))
    }

    /// The push that was asked for alone, of a batch of which nothing was taken out.
    pub fn alone(&self) -> Option<PushId> {
        if let [request] = self.requests.as_slice() { Some(request.push_id()) } else { None }
    }
}

/// Why a batch, or a part of it, has no verdicts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    /// The status that came instead, if any did.
    pub status: Option<u16>,
    /// Whether it was the store that spoke: it is in trouble then, and asking at once would not help.
    pub from_store: bool,
    /// Whether the batch may have been too large, or its answer was.
    pub is_too_large: bool,
}

impl Missed {
    /// Envoy would not send the batch: asking at once would meet with the same.
    pub const REFUSED: Self = Self { status: None, from_store: true, is_too_large: false };
    /// The answer came, and says nothing of it.
    pub const LEFT_OUT: Self = Self { status: Some(200), from_store: false, is_too_large: false };

    /// The stream that asked by itself saw that status in place of the store's answer; `None` where it ended without one.
    pub fn by_stream(status: Option<u16>) -> Self {
        Self { status, from_store: status.is_some(), is_too_large: false }
    }

    /// An answer with that status, `None` for one that was cut off, says nothing of what was asked.
    pub fn by(status: Option<u16>, from_store: bool) -> Self {
        Self { status, from_store, is_too_large: matches!(status, None | Some(413)) }
    }
}

/// Claim requests of one worker, see the [module](self). Bounded by admission: each holds its permit.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Never asked; in the order of their arrival.
    fresh: VecDeque<ClaimRequest>,
    fresh_bytes: usize,
    /// Asked before, by the monotonic moment they are due, then by arrival.
    retries: BTreeMap<(u64, u64), ClaimRequest>,
    arrivals: u64,
    /// When batches left, how many pushes and how many bytes they have, by their numbers.
    under_way: BTreeMap<u64, UnderWay>,
    numbers: u64,
    /// How many pushes a batch may have now.
    size: usize,
    /// Whether it is the retries' turn.
    retries_next: bool,
    /// Batches that failed in a row, each sent after the last success.
    failures: u32,
    /// When the store committed something last, monotonic milliseconds.
    succeeded_at: Option<u64>,
    probed_at: Option<u64>,
    /// The store does not know batches: it is asked by single pushes until then, a monotonic moment.
    singly_until: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    sent_at: u64,
    pushes: usize,
    bytes: usize,
}

impl Claims {
    /// Nothing is to be asked.
    pub fn new(store: &config::Store) -> Self {
        Self {
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            retries: BTreeMap::new(),
            arrivals: 0,
            under_way: BTreeMap::new(),
            numbers: 0,
            size: store.push_batch_size,
            retries_next: false,
            failures: 0,
            succeeded_at: None,
            probed_at: None,
            singly_until: None,
        }
    }

    /// Queues a claim request that was never asked.
    pub fn add(&mut self, request: ClaimRequest) {
        self.fresh_bytes += request.bytes();
        self.fresh.push_back(request);
    }

    /// Queues a claim request whose answer was missed. Returns in how many milliseconds it is asked again.
    pub fn put_back(&mut self, mut request: ClaimRequest, missed: Missed, store: &config::Store, now: Now) -> u64 {
        request.attempts = request.attempts.saturating_add(1);
        // A connection that was just being closed fails once: the first time there is nothing to wait for.
        let pause = if request.attempts == 1 && !missed.from_store {
            0
        } else {
            backoff::pause(
                store.retry_initial_ms,
                store.retry_max_ms,
                request.attempts,
                backoff::seed(request.push_id()),
            )
        };
        self.queue_retry(request, now.monotonic_ms.saturating_add(pause));
        pause
    }

    /// Queues a claim request that is asked again at `due`, a monotonic moment.
    fn queue_retry(&mut self, request: ClaimRequest, due: u64) {
        self.arrivals = self.arrivals.wrapping_add(1);
        self.retries.insert((due, self.arrivals), request);
    }

    /// Whether a new push is to be refused, because batches fail. Lets one in now and then.
    pub fn refuses(&mut self, now: Now) -> bool {
        if self.failures < FAILURES_TO_CLOSE {
            return false;
        }
        if self.probed_at.is_some_and(|probed_at| now.since(probed_at) < PROBE_MS) {
            return true;
        }
        self.probed_at = Some(now.monotonic_ms);
        false
    }

    /// Drops requests that were never asked and whose streams are gone: nobody was promised anything. Returns how many.
    pub fn drop_abandoned(&mut self, is_waiting: impl Fn(StreamId) -> bool) -> usize {
        let before = self.fresh.len();
        self.fresh.retain(|request| request.stream.is_some_and(&is_waiting));
        self.fresh_bytes = self.fresh.iter().map(ClaimRequest::bytes).sum();
        before - self.fresh.len()
    }

    /// When the next batch may leave, a monotonic moment; `None` while too many are under way or there is nothing to ask.
    pub fn due(&self, store: &config::Store, draining: bool, now: Now) -> Option<u64> {
        let fresh = self.fresh_due(store, draining);
        let retry = self.retries.first_key_value().map(|((due, _), _)| *due);
        let ready = [fresh, retry].into_iter().flatten().min()?;
        Some(ready.max(self.free_at(now)?))
    }

    fn fresh_due(&self, store: &config::Store, draining: bool) -> Option<u64> {
        let oldest = self.fresh.front()?;
        let leaves_now = draining
            || self.fresh.len() >= self.size
            || self.fresh_bytes >= limits::BATCH_BYTES
            || self.singly_until.is_some();
        Some(if leaves_now { 0 } else { oldest.received_at().saturating_add(store.push_batch_delay_ms) })
    }

    /// When there is room for one more batch; `None` if that cannot be said before one of them has ended.
    fn free_at(&self, now: Now) -> Option<u64> {
        let bytes: usize = self.under_way.values().map(|batch| batch.bytes).sum();
        if self.failures >= FAILURES_TO_CLOSE {
            return self.under_way.is_empty().then_some(0);
        }
        if self.under_way.len() >= UNDER_WAY_MOST || bytes >= UNDER_WAY_BYTES {
            return None;
        }
        if self.is_singly(now) {
            return Some(0);
        }
        let fourth_youngest = self.under_way.values().rev().nth(YOUNG_MOST - 1);
        Some(fourth_youngest.map_or(0, |batch| batch.sent_at.saturating_add(YOUNG_MS)))
    }

    /// The next batch, if one is due.
    pub fn take(&mut self, store: &config::Store, draining: bool, now: Now) -> Option<PushBatch> {
        self.due(store, draining, now).filter(|due| *due <= now.monotonic_ms)?;
        let is_retry_due = self.retries.first_key_value().is_some_and(|((due, _), _)| *due <= now.monotonic_ms);
        let is_fresh_due = self.fresh_due(store, draining).is_some_and(|due| due <= now.monotonic_ms);
        // First asks go ahead, because streams wait for them; where both wait they take turns.
        let takes_retries = is_retry_due && (self.retries_next || !is_fresh_due);
        self.retries_next = is_retry_due && !takes_retries;
        let is_singly = self.is_singly(now);
        let mut batch = Filling::new(if is_singly { 1 } else { self.size });
        if takes_retries {
            while let Some(entry) = self.retries.first_entry()
                && entry.key().0 <= now.monotonic_ms
                && batch.has_room_for(entry.get())
            {
                batch.add(entry.remove());
            }
        } else {
            while let Some(request) = self.fresh.front()
                && batch.has_room_for(request)
                && let Some(request) = self.fresh.pop_front()
            {
                self.fresh_bytes = self.fresh_bytes.saturating_sub(request.bytes());
                batch.add(request);
            }
        }
        if batch.requests.is_empty() {
            return None;
        }
        self.numbers += 1;
        let batch = batch.seal(self.numbers, is_singly, now);
        let under_way = UnderWay { sent_at: now.monotonic_ms, pushes: batch.len(), bytes: batch.body.len() };
        self.under_way.insert(batch.number, under_way);
        Some(batch)
    }

    /// The batch has an answer that said something of at least one of its pushes. What is left of it is put back. Returns in how
    /// many milliseconds the first of that is asked again.
    pub fn answered(&mut self, batch: PushBatch, store: &config::Store, now: Now) -> u64 {
        self.under_way.remove(&batch.number);
        self.succeeded(now);
        self.size = self.size.saturating_mul(2).min(store.push_batch_size);
        if batch.path == paths::PUSH_BATCHES {
            self.singly_until = None;
        }
        self.halve(batch, Missed::LEFT_OUT, store, now)
    }

    /// The store has committed something: new pushes are let in.
    pub fn succeeded(&mut self, now: Now) {
        self.failures = 0;
        self.succeeded_at = Some(now.monotonic_ms);
        self.probed_at = None;
    }

    /// The batch has no answer that says anything of its pushes: all are put back. Returns in how many milliseconds the first of
    /// them is asked again.
    pub fn failed(&mut self, batch: PushBatch, missed: Missed, store: &config::Store, now: Now) -> u64 {
        self.under_way.remove(&batch.number);
        // A push that is asked alone because it failed in company may be what fails: that says nothing of the others.
        let is_suspect = batch.requests.iter().all(|request| request.company == 1);
        // Nor does one that left before a success: it may hang at one of several stores.
        let is_overtaken = self.succeeded_at.is_some_and(|succeeded_at| batch.sent_at < succeeded_at);
        if !is_suspect && !is_overtaken {
            self.failures = self.failures.saturating_add(1);
        }
        if missed.is_too_large {
            self.size = (batch.len() / 2).clamp(1, self.size);
        }
        self.halve(batch, missed, store, now)
    }

    /// The store does not know batches. Returns whether that is news.
    pub fn unknown_to_store(&mut self, batch: PushBatch, now: Now) -> bool {
        self.under_way.remove(&batch.number);
        let is_news = !self.is_singly(now);
        if is_news {
            self.singly_until = Some(now.monotonic_ms.saturating_add(SINGLY_MS));
        }
        for request in batch.requests {
            self.queue_retry(request, now.monotonic_ms);
        }
        is_news
    }

    fn halve(&mut self, batch: PushBatch, missed: Missed, store: &config::Store, now: Now) -> u64 {
        let company = (batch.len() / 2).max(1);
        let mut first = u64::MAX;
        for mut request in batch.requests {
            request.company = request.company.min(company);
            first = first.min(self.put_back(request, missed, store, now));
        }
        first
    }

    fn is_singly(&self, now: Now) -> bool {
        self.singly_until.is_some_and(|until| now.monotonic_ms < until)
    }

    /// How many pushes wait for a verdict.
    pub fn len(&self) -> usize {
        self.fresh.len() + self.retries.len() + self.under_way.values().map(|batch| batch.pushes).sum::<usize>()
    }
}

/// A batch that is put together.
struct Filling {
    requests: Vec<ClaimRequest>,
    most: usize,
    calls: usize,
    /// The most that its body may have.
    bytes: usize,
}

impl Filling {
    fn new(most: usize) -> Self {
        Self { requests: Vec::new(), most, calls: 0, bytes: FRAME_BYTES }
    }

    fn has_room_for(&self, request: &ClaimRequest) -> bool {
        self.requests.is_empty()
            || (self.requests.len() < self.most.min(request.company)
                && self.calls + request.calls() <= CALLS_MOST
                && self.bytes + request.bytes() + PUSH_EXTRA_BYTES <= limits::BATCH_BYTES)
    }

    fn add(&mut self, request: ClaimRequest) {
        self.most = self.most.min(request.company);
        self.calls += request.calls();
        self.bytes += request.bytes() + PUSH_EXTRA_BYTES;
        self.requests.push(request);
    }

    fn seal(mut self, number: u64, is_singly: bool, now: Now) -> PushBatch {
        for request in &mut self.requests {
            request.asked_at = now.monotonic_ms;
        }
        let mut body = Vec::with_capacity(self.bytes);
        let path = if is_singly {
            if let Some(request) = self.requests.first() {
                request.write(now, &mut body);
            }
            paths::PUSHES
        } else {
            body.extend_from_slice(br#"{"pushes":["#);
            for (index, request) in self.requests.iter().enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                request.write(now, &mut body);
            }
            body.extend_from_slice(b"]}");
            paths::PUSH_BATCHES
        };
        PushBatch { number, requests: self.requests, body, path, sent_at: now.monotonic_ms }
    }
}
