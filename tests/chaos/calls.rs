//! The calls that are pushed, and what each of them must come to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use harness::demo;
use privatenumber_contract::{CallKey, Private};
use privatenumber_sim::huawei::{CallGenerator, CallSettings};
use privatenumber_sim::random::Random;
use serde_json::Value;

/// The second business, behind a line that fails.
pub const OTHER_AK: &str = "0B6F2D9E51C84A7AA3D0C4E1F7725B18";
/// A business that bindings name and no configuration knows.
pub const NOBODY_AK: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";
/// Bindings, and the business each belongs to.
pub const BINDINGS: [(&str, &str); 3] = [
    (demo::SUBSCRIPTION_ID, demo::AK),
    ("11111111-2222-4333-8444-555555555502", OTHER_AK),
    ("11111111-2222-4333-8444-555555555503", NOBODY_AK),
];

/// What a CDR must come to in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A call in the store; its callback goes to this business (0 or 1), or to nobody.
    Call {
        /// The call's id.
        call_id: String,
        /// The number of the business.
        business: Option<usize>,
    },
    /// Parked: it can not be used. Known again by its `sessionId`.
    Parked {
        /// What the CDR names as its `sessionId`.
        session_id: String,
    },
}

/// One CDR, from its first push to the 200 that Huawei waits for.
#[derive(Debug)]
pub struct Cdr {
    /// What it must come to.
    pub fate: Fate,
    accepted: AtomicBool,
    attempts: Mutex<Vec<Attempt>>,
}

/// One push that carried the CDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// To which gateway.
    pub gateway: usize,
    /// When it began, epoch milliseconds.
    pub began_at: i64,
}

impl Cdr {
    /// One that was never pushed.
    pub fn new(fate: Fate) -> Self {
        Self { fate, accepted: AtomicBool::new(false), attempts: Mutex::default() }
    }

    /// A push with it begins.
    pub fn attempt(&self, attempt: Attempt) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    /// All pushes so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A push with it was answered 200. Returns whether it is the first.
    pub fn accept(&self) -> bool {
        !self.accepted.swap(true, Ordering::Relaxed)
    }

    /// Whether a push with it was answered 200.
    pub fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Calls of every kind, one after the other, no two alike.
pub struct Calls {
    random: Random,
    bound: Vec<(CallGenerator, Option<usize>)>,
    unbound: CallGenerator,
}

impl Calls {
    /// The calls that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        let generator = |number: u64, subscription_id: Option<&str>| {
            CallGenerator::new(CallSettings {
                seed: seed.wrapping_mul(8).wrapping_add(number),
                subscription_id: subscription_id.map(str::to_owned),
                ..CallSettings::default()
            })
        };
        let businesses = [Some(0), Some(1), None];
        let bound = BINDINGS.iter().zip(businesses).zip(1..);
        let bound = bound.map(|(((id, _), business), number)| (generator(number, Some(id)), business)).collect();
        Self { random: Random::new(seed ^ 0xCA11), bound, unbound: generator(0, None) }
    }

    /// The next CDR, and the text in which it is pushed each time: of a binding, of none, or one that can not be used.
    pub fn next(&mut self) -> Result<(Cdr, String)> {
        let kind = self.random.below(100);
        let index = match kind {
            0..45 => Some(0),
            45..85 => Some(1),
            85..90 => Some(2),
            _ => None,
        };
        let bound = index.and_then(|index: usize| self.bound.get_mut(index));
        // What no binding claims belongs to the application's business, the first.
        let (generator, business) =
            bound.map_or((&mut self.unbound, Some(0)), |(generator, business)| (generator, *business));
        let cdr = generator.next().context("the generator of calls ran dry")?;
        let session_id = cdr.session_id.expose().as_str();
        let key = CallKey { app_key: demo::APP_KEY, session_id: Private::new(session_id), icid: &cdr.icid };
        if kind < 95 {
            let json = serde_json::to_string(&cdr)?;
            return Ok((Cdr::new(Fate::Call { call_id: key.id(), business }), json));
        }
        let mut broken = serde_json::to_value(&cdr)?;
        let members = broken.as_object_mut().context("a CDR is no object")?;
        // Nobody knows who is to be called.
        members.insert("subscriptionId".to_owned(), Value::from(true));
        Ok((Cdr::new(Fate::Parked { session_id: session_id.to_owned() }), broken.to_string()))
    }
}
