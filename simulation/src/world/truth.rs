//! What really happened, known to nobody in the run.

use std::collections::{BTreeMap, BTreeSet};

use privatenumber_contract::{Outcome, PushId};

use super::event::RootId;

/// What really happened to one call.
#[derive(Clone, Debug, Default)]
pub struct CallTruth {
    /// Callback requests that left a gateway.
    pub departures: u32,
    /// Callback requests that reached a business.
    pub arrivals: u32,
    /// Statuses that the business answered.
    pub statuses: Vec<u16>,
    /// When its claim was committed.
    pub claimed_at: Option<u64>,
    /// When a gateway last learnt that it is to call back.
    pub granted_at: Option<u64>,
    /// Whether Envoy refused its callback for a while.
    pub was_refused: bool,
    /// The outcome that the store showed first; since its last release, if there was one.
    pub outcome: Option<Outcome>,
    /// How often it was released.
    pub releases: usize,
    /// Whom it belonged to when it was claimed.
    pub ak: Option<String>,
}

/// How a root ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its gateway died at that moment.
    Killed(u64),
    /// It had finished everything.
    Drained,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Truth {
    /// By call id.
    pub calls: BTreeMap<String, CallTruth>,
    /// Which root a push went through.
    pub holders: BTreeMap<PushId, RootId>,
    /// Which configuration a root has or had.
    pub variants: BTreeMap<RootId, usize>,
    /// Roots that are no more.
    pub ends: BTreeMap<RootId, End>,
    /// Which signature a push carried.
    pub signatures: BTreeMap<PushId, usize>,
    /// Which CDRs a push brought, in the order of its texts.
    pub texts: BTreeMap<PushId, Vec<usize>>,
    /// Pushes that the store committed.
    pub committed: BTreeSet<PushId>,
    /// Pushes that the store cannot stomach; mutated: and those that were asked with them.
    pub poison: BTreeSet<PushId>,
    /// Whether a gateway met a store that did not know batches.
    pub knew_no_batches: bool,
    /// CDRs that were seen in the store, by their number.
    pub kept: BTreeSet<usize>,
    /// Bindings that are registered.
    pub bound: BTreeSet<String>,
    /// Calls that wait in the store, and until when: epoch milliseconds of the store; `None` while the business is paused.
    pub waiting: BTreeMap<String, Option<i64>>,
    /// Which push brought a call that waited for its binding.
    pub brought_by: BTreeMap<String, PushId>,
    /// Calls that were taken as works, and by which id last.
    pub taken: BTreeMap<String, PushId>,
    /// Mutated: calls that were released although they may have been sent, and that nobody has taken yet.
    pub released_wrongly: BTreeSet<String>,
    /// Mutated: outcomes that were overwritten.
    pub overwritten: BTreeMap<String, Outcome>,
}

impl Truth {
    /// What happened to the call so far.
    pub fn call(&mut self, call_id: &str) -> &mut CallTruth {
        self.calls.entry(call_id.to_owned()).or_default()
    }
}
