//! What the connections of one business share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use tokio::sync::watch;

use super::callback::Callback;
use super::ledger::Ledger;
use super::record_check::check_record;
use super::temper::{Act, Temper, TemperError};
use crate::random::Random;
use crate::signature::{DEFAULT_TOLERANCE, SignatureError, SignatureHeaders, SigningSecret, verify};
use crate::{clock, lock};

/// Called with every callback before it is answered; must return quickly.
pub type CallbackObserver = Box<dyn Fn(&Callback) + Send + Sync>;

/// What kind of business to play.
pub struct Settings {
    /// How it behaves.
    pub temper: Temper,
    /// Secrets any of which a callback may be signed with; without one signatures are not checked.
    pub signing_secrets: Vec<SigningSecret>,
    /// How far `webhook-timestamp` may be from now; `None` any distance.
    pub timestamp_tolerance: Option<Duration>,
    /// How many callbacks to keep in full.
    pub keep: usize,
    /// Called with every callback.
    pub observer: Option<CallbackObserver>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            temper: Temper::default(),
            signing_secrets: Vec::new(),
            timestamp_tolerance: Some(DEFAULT_TOLERANCE),
            keep: 10_000,
            observer: None,
        }
    }
}

#[derive(Debug)]
struct Tempers {
    usual: Temper,
    by_segment: BTreeMap<String, Temper>,
}

pub struct State {
    signing_secrets: Vec<SigningSecret>,
    timestamp_tolerance: Option<Duration>,
    observer: Option<CallbackObserver>,
    tempers: RwLock<Tempers>,
    ledger: Mutex<Ledger>,
    total: watch::Sender<u64>,
    random: Mutex<Random>,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("tempers", &self.tempers).finish_non_exhaustive()
    }
}

impl State {
    pub fn new(settings: Settings) -> Self {
        let Settings { temper, signing_secrets, timestamp_tolerance, keep, observer } = settings;
        Self {
            signing_secrets,
            timestamp_tolerance,
            observer,
            tempers: RwLock::new(Tempers { usual: temper, by_segment: BTreeMap::new() }),
            ledger: Mutex::new(Ledger::new(keep)),
            total: watch::Sender::new(0),
            random: Mutex::new(Random::new(0)),
        }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// How many callbacks came since the start or the last [`State::forget`].
    pub fn totals(&self) -> watch::Receiver<u64> {
        self.total.subscribe()
    }

    pub fn forget(&self) {
        let mut ledger = self.ledger();
        ledger.forget();
        self.total.send_replace(0);
    }

    /// Sets the usual temper, or that of the paths that start with `segment`.
    pub fn set_temper(&self, segment: Option<&str>, temper: Temper) -> Result<(), TemperError> {
        temper.check()?;
        let mut tempers = self.tempers.write().unwrap_or_else(PoisonError::into_inner);
        match segment {
            Some(segment) => {
                tempers.by_segment.insert(segment.to_owned(), temper);
            }
            None => tempers.usual = temper,
        }
        Ok(())
    }

    /// Lets the paths that start with `segment` meet the usual temper again; whether they had one of their own.
    pub fn remove_temper(&self, segment: &str) -> bool {
        self.tempers.write().unwrap_or_else(PoisonError::into_inner).by_segment.remove(segment).is_some()
    }

    /// The usual temper, and those of single segments.
    pub fn tempers(&self) -> (Temper, BTreeMap<String, Temper>) {
        let tempers = self.tempers.read().unwrap_or_else(PoisonError::into_inner);
        (tempers.usual.clone(), tempers.by_segment.clone())
    }

    fn act(&self, path: &str) -> Act {
        let segment = path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
        let tempers = self.tempers.read().unwrap_or_else(PoisonError::into_inner);
        let temper = tempers.by_segment.get(segment).unwrap_or(&tempers.usual);
        let fails = temper.fail_share.map(|share| lock(&self.random).chance(share));
        temper.act(fails)
    }

    /// Checks, counts and keeps a callback; what is to become of it.
    pub fn receive(&self, path: String, headers: HeaderMap, body: Bytes) -> Act {
        let act = self.act(&path);
        let signature = (!self.signing_secrets.is_empty()).then(|| self.verify(&headers, &body));
        let record = check_record(&body);
        let callback = Callback {
            number: 0,
            received_at: clock::epoch_millis(),
            path,
            headers,
            body,
            signature,
            record,
            mode: act.mode,
            status: act.status.as_u16(),
        };
        let callback = {
            let mut ledger = self.ledger();
            let (callback, total) = ledger.enter(callback);
            self.total.send_replace(total);
            callback
        };
        if let Some(observer) = &self.observer {
            observer(&callback);
        }
        act
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), SignatureError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let headers = SignatureHeaders {
            id: text("webhook-id"),
            timestamp: text("webhook-timestamp"),
            signature: text("webhook-signature"),
        };
        verify(&self.signing_secrets, headers, body, clock::epoch_seconds(), self.timestamp_tolerance)
    }
}
