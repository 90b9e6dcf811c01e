//! Log lines: what they say, and how many there may be.
//!
//! A stranger can provoke a line with every request, and a business that fails with every call. Each line is short, but a disk is
//! full at last. So lines of one kind are limited here, for all events alike; the metrics count every event.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;

use serde::Serialize;

use crate::config::Config;
use crate::journal::{Event, Level};
use crate::now::Now;

/// How long a kind's lines are counted, milliseconds.
const WINDOW_MS: u64 = 1_000;

/// Lines of one kind in that time, where the line of one event says what those of all others would.
const LINES: u32 = 1;

/// Lines of one kind in that time, where each names a call of its own.
const LINES_OF_CALLS: u32 = 20;

/// How many kinds are told apart at once. What is beyond shares one limit.
const KINDS_MOST: usize = 256;

/// Limits the lines of each kind of event. Debug lines and those of the gateway's life are not limited: an operator asks for them.
#[derive(Debug, Default)]
pub struct LogLimit {
    kinds: BTreeMap<u64, Kind>,
    /// When the next withheld event may be logged, a monotonic moment; at the latest.
    due: Option<u64>,
}

#[derive(Debug)]
struct Kind {
    /// When the window began, a monotonic moment.
    since: u64,
    /// Lines since then.
    lines: u32,
    /// The last event that was withheld.
    withheld: Option<Event>,
    /// How many were withheld before it.
    not_logged: u64,
}

impl Kind {
    fn end(&self) -> u64 {
        self.since.saturating_add(WINDOW_MS)
    }

    fn begin_again(&mut self, since: u64) {
        (self.since, self.lines, self.not_logged) = (since, 1, 0);
    }
}

impl LogLimit {
    /// Whether `event` is to be logged now, and how many of its kind were not logged before it. Otherwise it is kept in place of the
    /// one that was kept before.
    pub fn admit(&mut self, event: Event, now: Now) -> Option<(Event, u64)> {
        let Some((number, most)) = kind_of(&event) else { return Some((event, 0)) };
        let at = now.monotonic_ms;
        if self.kinds.len() >= KINDS_MOST && !self.kinds.contains_key(&number) {
            self.kinds.retain(|_, kind| kind.withheld.is_some() || kind.end() > at);
        }
        let number = if self.kinds.len() < KINDS_MOST || self.kinds.contains_key(&number) { number } else { 0 };
        let kind = self.kinds.entry(number).or_insert(Kind { since: at, lines: 0, withheld: None, not_logged: 0 });
        if kind.end() <= at {
            let before = kind.not_logged + u64::from(kind.withheld.take().is_some());
            kind.begin_again(at);
            return Some((event, before));
        }
        if kind.lines < most {
            kind.lines += 1;
            return Some((event, 0));
        }
        kind.not_logged += u64::from(kind.withheld.replace(event).is_some());
        let end = kind.end();
        self.due = Some(self.due.map_or(end, |due| due.min(end)));
        None
    }

    /// When [`LogLimit::due_event`] has something to give, a monotonic moment.
    pub fn due(&self) -> Option<u64> {
        self.due
    }

    /// An event that was withheld and is to be logged by the moment `until`, and how many of its kind were not logged before it.
    pub fn due_event(&mut self, until: u64) -> Option<(Event, u64)> {
        if self.due.is_none_or(|due| due > until) {
            return None;
        }
        let mut found = None;
        self.due = None;
        for kind in self.kinds.values_mut() {
            let end = kind.end();
            if kind.withheld.is_none() {
                continue;
            }
            if end <= until && found.is_none() {
                found = kind.withheld.take().map(|event| (event, kind.not_logged));
                kind.begin_again(end);
            } else {
                self.due = Some(self.due.map_or(end, |due| due.min(end)));
            }
        }
        found
    }
}

/// The number of the kind of `event`, never 0, and how many lines it may have; `None` where lines are not limited.
fn kind_of(event: &Event) -> Option<(u64, u32)> {
    if event.level() == Level::Debug {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    discriminant(event).hash(&mut hasher);
    let most = match event {
        Event::Configured { .. } | Event::ConfigurationWarning { .. } | Event::Draining { .. } | Event::Drained => {
            return None;
        }
        Event::PushAnswered { status, reason, .. } => {
            (status, reason).hash(&mut hasher);
            LINES
        }
        Event::CallbackFinished { business, outcome, .. } => {
            (business, discriminant(outcome)).hash(&mut hasher);
            LINES_OF_CALLS
        }
        Event::CallbackRefused { business, reason, .. } => {
            (business, discriminant(reason)).hash(&mut hasher);
            LINES_OF_CALLS
        }
        Event::ClaimsMissed { status, .. } | Event::OutcomesDelayed { status, .. } => {
            status.hash(&mut hasher);
            LINES
        }
        Event::PushRejected { status, .. } | Event::OutcomesRejected { status, .. } => {
            status.hash(&mut hasher);
            LINES_OF_CALLS
        }
        Event::WorksMissed { status, .. } => {
            status.hash(&mut hasher);
            LINES
        }
        Event::PushCommitted { .. } | Event::CdrWarnings { .. } | Event::CdrsRepeated { .. } => LINES_OF_CALLS,
        Event::BatchAnswered { .. }
        | Event::BatchesUnknown
        | Event::WorksTaken { .. }
        | Event::WorksUnknown
        | Event::AbandonedDropped { .. }
        | Event::OutcomesReported { .. } => LINES,
    };
    Some((hasher.finish() | 1, most))
}

/// The event as one line of JSON. `not_logged`: how many of its kind came before it and were not logged.
pub fn line(event: &Event, not_logged: u64, config: &Config) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        event: &'a Event,
        #[serde(skip_serializing_if = "Option::is_none")]
        ak: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cluster: Option<&'a str>,
        #[serde(skip_serializing_if = "is_zero")]
        not_logged: u64,
    }

    let business = event.business().and_then(|index| config.businesses.all().get(index));
    let ak = business.map(|business| business.ak.as_str());
    let cluster = business.map(|business| business.cluster.as_ref());
    // Numbers, texts and names only: serialising cannot fail.
    serde_json::to_string(&Line { event, ak, cluster, not_logged }).unwrap_or_default()
}

#[cfg_attr(not(target_arch = "wasm32"), expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references"))]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
