//! What has come in: the last callbacks in full, and counts of all.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::callback::Callback;

/// Paths counted one by one; callbacks to further ones are counted in the totals alone.
const MAX_PATHS: usize = 1000;

/// All callbacks, counted. A call is what one `webhook-id` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Callbacks read in full.
    pub total: u64,
    /// Different values of `webhook-id`.
    pub calls: u64,
    /// Calls called back more than once; 0 is what the gateway promises.
    pub repeated: u64,
    /// Callbacks for the call that was called back most often.
    pub max_per_call: u32,
    /// Callbacks without a `webhook-id`.
    pub without_webhook_id: u64,
    /// Different values of `sessionId` in valid records.
    pub sessions: u64,
    /// Callbacks for the `sessionId` that was called back most often. Two calls may share a `sessionId` and differ in
    /// `icid`, which the record does not show.
    pub max_per_session: u32,
    /// Values of `sessionId` called back more than once without a `webhook-id` to tell the calls apart.
    pub repeated_sessions: u64,
    /// Callbacks whose signature was checked and does not hold.
    pub invalid_signatures: u64,
    /// Callbacks whose body is not a record.
    pub invalid_records: u64,
    /// Requests that ended before they were read in full.
    pub incomplete: u64,
    /// Callbacks for each path, query left out.
    pub by_path: BTreeMap<String, u64>,
    /// Callbacks for each `webhook-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_webhook_id: Option<BTreeMap<String, u32>>,
}

impl Counts {
    /// Whether every call was called back once and every signature that was checked holds.
    pub const fn is_clean(&self) -> bool {
        self.repeated == 0 && self.repeated_sessions == 0 && self.invalid_signatures == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "callbacks           {}", self.total)?;
        writeln!(formatter, "calls               {} (at most {} callbacks each)", self.calls, self.max_per_call)?;
        writeln!(formatter, "called back twice   {}", self.repeated + self.repeated_sessions)?;
        writeln!(formatter, "without webhook-id  {}", self.without_webhook_id)?;
        writeln!(formatter, "invalid signatures  {}", self.invalid_signatures)?;
        writeln!(formatter, "invalid records     {}", self.invalid_records)?;
        write!(formatter, "incomplete          {}", self.incomplete)
    }
}

/// A `webhook-id` in as few bytes as its form allows: the gateway's are 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WebhookId {
    Hex(u128),
    Other(Box<str>),
}

impl WebhookId {
    fn of(text: &str) -> Self {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bits = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map_or_else(|| Self::Other(text.into()), Self::Hex)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(bits) => write!(formatter, "{bits:032x}"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct SessionCount {
    all: u32,
    without_webhook_id: u32,
}

#[derive(Debug)]
pub struct Ledger {
    keep: usize,
    last_number: u64,
    kept: VecDeque<Arc<Callback>>,
    totals: Counts,
    webhook_ids: HashMap<WebhookId, u32>,
    /// By half of the SHA-256 of the `sessionId`: as distinct, shorter, and without the numbers it may hold.
    sessions: HashMap<u128, SessionCount>,
}

impl Ledger {
    pub fn new(keep: usize) -> Self {
        Self {
            keep,
            last_number: 0,
            kept: VecDeque::new(),
            totals: Counts::default(),
            webhook_ids: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// Takes a callback in, gives it its number and returns it with the new total.
    pub fn enter(&mut self, mut callback: Callback) -> (Arc<Callback>, u64) {
        self.last_number += 1;
        callback.number = self.last_number;
        let totals = &mut self.totals;
        totals.total += 1;
        totals.invalid_signatures += u64::from(callback.signature_valid() == Some(false));
        totals.invalid_records += u64::from(callback.record.is_err());
        let path = callback.path.split('?').next().unwrap_or_default();
        if totals.by_path.contains_key(path) || totals.by_path.len() < MAX_PATHS {
            match totals.by_path.entry(path.to_owned()) {
                Entry::Occupied(mut count) => *count.get_mut() += 1,
                Entry::Vacant(count) => {
                    count.insert(1);
                }
            }
        }
        if let Some(id) = callback.webhook_id() {
            let count = self.webhook_ids.entry(WebhookId::of(id)).or_default();
            *count += 1;
            totals.repeated += u64::from(*count == 2);
            totals.max_per_call = totals.max_per_call.max(*count);
        } else {
            totals.without_webhook_id += 1;
        }
        if let Some(session) = callback.record.as_ref().ok().and_then(|record| record.session_id.as_ref()) {
            let count = self.sessions.entry(digest(session.expose())).or_default();
            count.all += 1;
            totals.max_per_session = totals.max_per_session.max(count.all);
            if callback.webhook_id().is_none() {
                count.without_webhook_id += 1;
                totals.repeated_sessions += u64::from(count.without_webhook_id == 2);
            }
        }
        let callback = Arc::new(callback);
        if self.keep > 0 {
            if self.kept.len() == self.keep {
                self.kept.pop_front();
            }
            self.kept.push_back(Arc::clone(&callback));
        }
        (callback, self.totals.total)
    }

    pub const fn incomplete(&mut self) {
        self.totals.incomplete += 1;
    }

    pub fn callbacks_since(&self, number: u64) -> Vec<Arc<Callback>> {
        self.kept.iter().filter(|callback| callback.number > number).map(Arc::clone).collect()
    }

    /// The counts without those of each `webhook-id`.
    pub fn totals(&self) -> Counts {
        Counts {
            calls: self.webhook_ids.len() as u64,
            sessions: self.sessions.len() as u64,
            by_webhook_id: None,
            ..self.totals.clone()
        }
    }

    pub fn counts(&self) -> Counts {
        let by_webhook_id = self.webhook_ids.iter().map(|(id, count)| (id.to_string(), *count)).collect();
        Counts { by_webhook_id: Some(by_webhook_id), ..self.totals() }
    }

    /// Forgets everything but the last number, so that `since` keeps its meaning.
    pub fn forget(&mut self) {
        *self = Self { last_number: self.last_number, ..Self::new(self.keep) };
    }
}

fn digest(session: &str) -> u128 {
    let hash = Sha256::digest(session.as_bytes());
    hash.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::body::Bytes;
    use privatenumber_contract::Record;

    use super::Ledger;
    use crate::business::{Callback, Mode};

    fn callback(webhook_id: Option<&str>, session: &str) -> Callback {
        let mut headers = HeaderMap::new();
        if let Some(id) = webhook_id {
            headers.insert("webhook-id", id.parse().unwrap());
        }
        let record = Ok(Record { session_id: Some(session.into()), ..Record::default() });
        let path = "/callback?a=b".to_owned();
        let (number, received_at, body, signature) = (0, 0, Bytes::new(), None);
        Callback { number, received_at, path, headers, body, signature, record, mode: Mode::Ok, status: 200 }
    }

    #[test]
    fn p1_a_call_called_back_twice_stands_out() {
        let mut ledger = Ledger::new(10);
        let id = "000102030405060708090a0b0c0d0eff";
        ledger.enter(callback(Some(id), "one"));
        ledger.enter(callback(Some("msg_other"), "two"));
        assert!(ledger.counts().is_clean());
        ledger.enter(callback(Some(id), "one"));
        ledger.enter(callback(Some(id), "one"));
        let counts = ledger.counts();
        assert!(!counts.is_clean());
        assert_eq!((counts.total, counts.calls, counts.repeated, counts.max_per_call), (4, 2, 1, 3));
        assert_eq!((counts.sessions, counts.max_per_session), (2, 3));
        let by_id = counts.by_webhook_id.unwrap();
        assert_eq!(by_id.get(id), Some(&3));
        assert_eq!(by_id.get("msg_other"), Some(&1));
        assert_eq!(counts.by_path.get("/callback"), Some(&4));
    }

    #[test]
    fn a_session_may_be_shared_by_two_calls_but_only_if_they_are_told_apart() {
        let mut ledger = Ledger::new(10);
        ledger.enter(callback(Some("call-1"), "session"));
        ledger.enter(callback(Some("call-2"), "session"));
        ledger.enter(callback(None, "session"));
        assert!(ledger.counts().is_clean());
        ledger.enter(callback(None, "session"));
        assert!(!ledger.counts().is_clean());
        assert_eq!(ledger.counts().repeated_sessions, 1);
    }

    #[test]
    fn only_the_last_callbacks_are_kept_and_all_are_counted() {
        let mut ledger = Ledger::new(3);
        for number in 0..10 {
            ledger.enter(callback(Some(&number.to_string()), "session"));
        }
        let numbers = |ledger: &Ledger, since| {
            let callbacks = ledger.callbacks_since(since);
            callbacks.iter().map(|callback| callback.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&ledger, 0), [8, 9, 10]);
        assert_eq!(numbers(&ledger, 9), [10]);
        assert_eq!(ledger.counts().calls, 10);
        ledger.forget();
        assert_eq!(ledger.counts().total, 0);
        ledger.enter(callback(None, "session"));
        assert_eq!(numbers(&ledger, 10), [11]);
    }
}
