//! Works: calls that wait in the store until a worker takes them (`POST /v1/work:take`).
//!
//! An operator released them, or they waited for a binding. A worker asks for works at once where an answer of the store said that
//! some wait, and otherwise every few seconds; one request at a time, and never for more than it has room for. What it takes it
//! holds under a push id of its own, drawn for this request. A request whose answer it missed is repeated with that id until the
//! store answers (promise P8, `docs/claim-protocol.md`, rule 20).

use privatenumber_contract::{PushId, WorkRequest};

use super::backoff;
use crate::admission::Permit;
use crate::config;
use crate::now::Now;

/// How long a store that does not know `work:take` is not asked again, milliseconds.
const UNKNOWN_MS: u64 = 60_000;
/// After that many such answers in a row, a minute apart, a request is given up under which an earlier store may have granted something:
/// otherwise a worker could not be drained while an older store is there. Such calls read as `unknown`.
const UNKNOWN_MOST: u32 = 5;
/// How long works are not asked for again after the store had none to give, whatever other answers say meanwhile, milliseconds:
/// other workers were faster, and each answer to a push would cost one more request.
const NONE_LEFT_MS: u64 = 1_000;
/// How often missed answers are reported as news, milliseconds.
const REPORTED_MS: u64 = 60_000;

/// A request for works.
///
/// It cannot be cloned: the store's answer consumes it, or it is put back to be asked again, never both.
#[derive(Debug)]
#[must_use = "a request for works that is dropped leaves calls `unknown` that the store may have granted"]
pub(crate) struct Take {
    push_id: PushId,
    most: usize,
    /// Room for `most` calls.
    permit: Permit,
    /// How often an answer was missed.
    attempts: u32,
    /// Whether the store may have granted something.
    may_hold: bool,
    /// How often in a row the store did not know `work:take`.
    unknown: u32,
    body: Vec<u8>,
    sent_at: u64,
}

impl Take {
    /// The id that holds what is taken.
    pub fn push_id(&self) -> PushId {
        self.push_id
    }

    /// How many works the store may hand out.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What is sent.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// When it left, monotonic milliseconds.
    pub fn sent_at(&self) -> u64 {
        self.sent_at
    }

    /// How often its answer was missed.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The room for what was taken.
    pub fn into_permit(self) -> Permit {
        self.permit
    }
}

/// What came in place of an answer to a [`Take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The request certainly never reached the store.
    NotSent,
    /// The store does not know `work:take` (404).
    Unknown,
    /// The store may have granted something.
    Missed,
}

/// The works of one worker, see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Works {
    /// Which part of the interval this worker is ahead of others.
    seed: u64,
    /// How often the next moment was reckoned: each time it is spread anew.
    reckoned: u32,
    /// When an idle worker asks next, a monotonic moment; `None` as long as works are not asked for.
    idle_at: Option<u64>,
    /// Whether the store said that works wait.
    are_waiting: bool,
    /// No new request before this monotonic moment, whatever answers say meanwhile.
    not_before: u64,
    /// When the last missed answer was reported as news, a monotonic moment; `None` after an answer.
    reported_at: Option<u64>,
    /// The request that leaves next, and when, a monotonic moment.
    next: Option<(u64, Take)>,
    /// A request that is under way: how many works it may bring that nobody knows of yet.
    under_way: Option<usize>,
}

impl Works {
    /// From now on works are asked for, the first time after a part of the interval. `random` decides which part, so that workers that
    /// began together do not ask together.
    pub fn start(&mut self, store: &config::Store, random: u128, now: Now) {
        let seed = u64::try_from(random >> 64).unwrap_or_default();
        let part = (u128::from(store.work_interval_ms) * u128::from(seed)) >> 64;
        self.seed = seed;
        self.idle_at = Some(now.monotonic_ms.saturating_add(u64::try_from(part).unwrap_or_default()));
    }

    /// An answer of the store said how many works wait.
    pub fn heard(&mut self, works_waiting: u64, store: &config::Store, now: Now) {
        self.are_waiting = works_waiting > 0;
        self.postpone(store, now);
    }

    /// Puts the next idle request an interval off, less up to a quarter.
    fn postpone(&mut self, store: &config::Store, now: Now) {
        self.reckoned = self.reckoned.wrapping_add(1);
        let seed = self.seed.wrapping_add(u64::from(self.reckoned));
        let pause = backoff::pause(store.work_interval_ms, store.work_interval_ms, 1, seed);
        self.idle_at = self.idle_at.map(|_| now.monotonic_ms.saturating_add(pause));
    }

    /// When something is to be done, a monotonic moment. `is_full`: there is no room for works. A draining worker begins nothing.
    pub fn due(&self, draining: bool, is_full: bool) -> Option<u64> {
        if self.under_way.is_some() {
            return None;
        }
        match &self.next {
            Some((due, _)) => Some(*due),
            None => self.begins_at(draining, is_full),
        }
    }

    /// When a new request is to be drawn.
    fn begins_at(&self, draining: bool, is_full: bool) -> Option<u64> {
        let idle_at = self.idle_at.filter(|_| !draining && self.under_way.is_none() && self.next.is_none())?;
        let wanted_at = if self.are_waiting && !is_full { 0 } else { idle_at };
        Some(wanted_at.max(self.not_before))
    }

    /// Whether a new request is to be drawn now.
    pub fn begins(&self, draining: bool, is_full: bool, now: Now) -> bool {
        self.begins_at(draining, is_full).is_some_and(|at| at <= now.monotonic_ms)
    }

    /// A new request leaves: `push_id` was drawn for it, and `room` is room for that many calls. Without either the worker asks
    /// later.
    pub fn begin(&mut self, push_id: Option<PushId>, room: Option<(Permit, usize)>, store: &config::Store, now: Now) {
        self.postpone(store, now);
        let (Some(push_id), Some((permit, most))) = (push_id, room) else { return };
        let request =
            WorkRequest { push_id, most: u32::try_from(most).unwrap_or(u32::MAX), ttl_ms: store.claim_deadline_ms };
        // Numbers and an id only: serialising cannot fail.
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let take =
            Take { push_id, most, permit, attempts: 0, may_hold: false, unknown: 0, body, sent_at: now.monotonic_ms };
        self.next = Some((now.monotonic_ms, take));
    }

    /// The request that leaves now, if there is one.
    pub fn take(&mut self, now: Now) -> Option<Take> {
        let (_, mut take) = self.next.take_if(|(due, _)| *due <= now.monotonic_ms)?;
        take.sent_at = now.monotonic_ms;
        self.under_way = Some(if take.may_hold { 0 } else { take.most });
        Some(take)
    }

    /// For how many works room is kept only because the store was just asked for the first time. They do not count as pending: nearly
    /// always there are none.
    pub fn asked_for(&self) -> usize {
        self.under_way.unwrap_or(0)
    }

    /// The store answered a request with so many works.
    pub fn answered(&mut self, works: usize, works_waiting: u64, store: &config::Store, now: Now) {
        self.under_way = None;
        self.reported_at = None;
        self.not_before = if works > 0 { 0 } else { now.monotonic_ms.saturating_add(NONE_LEFT_MS) };
        self.heard(works_waiting, store, now);
    }

    /// A request has no answer. Returns in how many milliseconds works are asked for again, and whether the last report of such a
    /// thing is less than a minute old.
    ///
    /// A request under which the store may have granted something is repeated; any other gives its room back.
    pub fn unanswered(&mut self, mut take: Take, instead: NoAnswer, store: &config::Store, now: Now) -> (u64, bool) {
        self.under_way = None;
        let is_reported = self.reported_at.is_some_and(|reported_at| now.since(reported_at) < REPORTED_MS);
        if !is_reported {
            self.reported_at = Some(now.monotonic_ms);
        }
        take.attempts = take.attempts.saturating_add(1);
        match instead {
            NoAnswer::NotSent => {}
            NoAnswer::Unknown => {
                take.unknown += 1;
                take.may_hold &= take.unknown < UNKNOWN_MOST;
            }
            NoAnswer::Missed => (take.unknown, take.may_hold) = (0, true),
        }
        let pause = match instead {
            NoAnswer::Unknown => UNKNOWN_MS,
            _ => backoff::pause(store.retry_initial_ms, store.retry_max_ms, take.attempts, backoff::seed(take.push_id)),
        };
        let due = now.monotonic_ms.saturating_add(pause);
        if take.may_hold {
            self.next = Some((due, take));
            return (pause, is_reported);
        }
        self.are_waiting = false;
        self.not_before = due;
        let begins_at = self.begins_at(false, false).unwrap_or(due);
        (begins_at.saturating_sub(now.monotonic_ms), is_reported)
    }
}

#[cfg(test)]
mod tests {
    use super::Works;
    use crate::testing::{at, config};
    use serde_json::json;

    #[test]
    fn workers_that_began_together_do_not_ask_together() {
        let config = config("hold", json!({"store": {"work_interval_ms": 5_000}}));
        let started = |random| {
            let mut works = Works::default();
            works.start(&config.store, random, at(100));
            works
        };
        let first = |random| started(random).due(false, false).unwrap();
        assert_eq!(first(0), 100);
        assert_eq!(first(1 << 127), 2_600);
        assert_eq!(first(u128::MAX), 5_099);
        let mut works = started(7);
        let mut moments = std::collections::BTreeSet::new();
        for _ in 0..100 {
            works.postpone(&config.store, at(0));
            moments.insert(works.due(false, false).unwrap());
        }
        assert!(moments.iter().all(|moment| (3_750..=5_000).contains(moment)) && moments.len() > 50, "{moments:?}");
    }
}
