//! The streams of one worker whose pushes are held: until their body has arrived, then until the store's verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::admission::BodyPermit;
use crate::now::Now;

/// The host's number of an HTTP stream. No two open streams of a worker have the same.
pub type StreamId = u32;

/// An unfinished push gives way to others once it has had this much time, milliseconds.
///
/// It is short because whoever begins pushes faster than room for them becomes free keeps good ones out: `pending_bytes` as shipped has
/// room for 2,048 unfinished pushes of a worker, so that takes 20,000 pushes a second. A good one arrives within some milliseconds.
const GIVES_WAY_AFTER_MS: u64 = 100;

/// A push without a callback for its body is looked into this often, milliseconds, until the worker has seen any body.
const LOOK_INTO_EVERY_MS: u64 = 100;

/// How many such pushes are looked into at once: each look is a few hostcalls.
const LOOK_INTO_MOST: usize = 256;

/// A body of which something has arrived is shown within this time, milliseconds, even if it is not complete.
const SHOWN_WITHIN_MS: u64 = 2_000;

/// A body of at most this many bytes arrives within [`SHOWN_WITHIN_MS`], where the host cannot say what has arrived.
const SMALL_BODY: u64 = 65_536;

/// See the [module](self).
///
/// A stream is here from its headers on, until it is answered or ends. Whoever takes it out answers it; so nobody answers it twice.
#[derive(Debug, Default)]
pub struct Streams {
    held: BTreeMap<StreamId, Held>,
    /// Streams whose body has yet to arrive, by when they began.
    reading: BTreeSet<(u64, StreamId)>,
    /// Streams that wait for a verdict, by when their patience ends.
    waiting: BTreeSet<(u64, StreamId)>,
    /// Whether the host has ever shown a body of a held push: then it shows all of them.
    shows_bodies: bool,
    /// When pushes without a body are looked into, a monotonic moment; `None` where there is no reason.
    look_into_at: Option<u64>,
}

#[derive(Debug)]
struct Held {
    body: BodyPermit,
    /// What `content-length` announced.
    announced: Option<u64>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its body arrives, since that monotonic moment.
    Reading(u64),
    /// It waits for the store's verdict, until that monotonic moment.
    Waiting(u64),
}

impl Streams {
    /// A stream whose headers are good; `body` is its room, and `announced` the length of its body, where that was announced.
    pub fn begin(&mut self, stream: StreamId, body: BodyPermit, announced: Option<u64>, now: Now) {
        self.remove(stream);
        self.reading.insert((now.monotonic_ms, stream));
        self.held.insert(stream, Held { body, announced, phase: Phase::Reading(now.monotonic_ms) });
        if !self.shows_bodies && self.look_into_at.is_none() {
            self.look_into_at = Some(now.monotonic_ms.saturating_add(LOOK_INTO_EVERY_MS));
        }
    }

    /// The host has shown something of a held push's body.
    pub fn body_shown(&mut self) {
        self.shows_bodies = true;
        self.look_into_at = None;
    }

    /// Pushes whose body the host has not shown for a while, oldest first, if it is time to look into them.
    pub fn unshown(&mut self, now: Now) -> Vec<StreamId> {
        if self.look_into_at.is_none_or(|due| due > now.monotonic_ms) {
            return Vec::new();
        }
        let is_old = |since: u64| now.since(since) >= LOOK_INTO_EVERY_MS;
        let unshown = self.reading.iter().take_while(|(since, _)| is_old(*since)).take(LOOK_INTO_MOST);
        let unshown = unshown.map(|(_, stream)| *stream).collect();
        let next = now.monotonic_ms.saturating_add(LOOK_INTO_EVERY_MS);
        self.look_into_at = (!self.reading.is_empty()).then_some(next);
        unshown
    }

    /// Takes out a push whose body the host withholds: `received` bytes of it have arrived (`None` if the host cannot say), and none
    /// was shown, of this push or any other. A push that is just slow stays.
    ///
    /// Something before this filter may hold back a body that is not complete, so an incomplete one is given time.
    pub fn withheld(&mut self, stream: StreamId, received: Option<u64>, now: Now) -> bool {
        let Some(Held { announced, phase: Phase::Reading(since), .. }) = self.held.get(&stream) else { return false };
        let is_late = now.since(*since) >= SHOWN_WITHIN_MS;
        let is_withheld = match (received, *announced) {
            (Some(received), Some(announced)) => received > 0 && (received >= announced || is_late),
            (Some(received), None) => received > 0 && is_late,
            (None, announced) => is_late && announced.is_some_and(|announced| (1..=SMALL_BODY).contains(&announced)),
        };
        !self.shows_bodies && is_withheld && self.remove(stream)
    }

    /// More of its body has arrived, `size` bytes in all. `false` where there is no room for that.
    pub fn grow(&mut self, stream: StreamId, size: usize) -> bool {
        self.held.get_mut(&stream).is_none_or(|held| held.body.grow(size))
    }

    /// How many bytes the stream's body has taken; 0 where it is not here.
    pub fn bytes(&self, stream: StreamId) -> usize {
        self.held.get(&stream).map_or(0, |held| held.body.bytes())
    }

    /// All of its body has arrived, `size` bytes; it waits until `until`, a monotonic moment, at most.
    pub fn wait(&mut self, stream: StreamId, size: usize, until: u64) {
        let Some(held) = self.held.get_mut(&stream) else { return };
        if let Phase::Reading(since) = held.phase {
            self.reading.remove(&(since, stream));
            held.body.complete(size);
            held.phase = Phase::Waiting(until);
            self.waiting.insert((until, stream));
        }
    }

    /// Takes a stream out. `false` if it was not here: somebody answered it before, or it ended.
    pub fn remove(&mut self, stream: StreamId) -> bool {
        let Some(held) = self.held.remove(&stream) else { return false };
        match held.phase {
            Phase::Reading(since) => self.reading.remove(&(since, stream)),
            Phase::Waiting(until) => self.waiting.remove(&(until, stream)),
        }
    }

    /// Whether the stream is here.
    pub fn holds(&self, stream: StreamId) -> bool {
        self.held.contains_key(&stream)
    }

    /// Takes out the push that has been unfinished longest, if that is long enough for it to give way; never `except`. Its bytes count
    /// until the permit is dropped.
    pub fn give_way(&mut self, except: Option<StreamId>, now: Now) -> Option<(StreamId, BodyPermit)> {
        let (since, stream) = *self.reading.iter().find(|(_, stream)| Some(*stream) != except)?;
        if now.since(since) < GIVES_WAY_AFTER_MS {
            return None;
        }
        self.reading.remove(&(since, stream));
        let mut permit = self.held.remove(&stream)?.body;
        permit.leave();
        Some((stream, permit))
    }

    /// Takes out a stream whose patience has ended.
    pub fn impatient(&mut self, now: Now) -> Option<StreamId> {
        let (until, stream) = *self.waiting.first()?;
        (until <= now.monotonic_ms && self.remove(stream)).then_some(stream)
    }

    /// When the patience of the next stream ends, or pushes are to be looked into, a monotonic moment.
    pub fn due(&self) -> Option<u64> {
        let impatient = self.waiting.first().map(|(until, _)| *until);
        impatient.into_iter().chain(self.look_into_at).min()
    }

    /// How many streams are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
