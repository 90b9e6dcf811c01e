//! Whether the promises held: what Huawei was answered, what the store holds and what the businesses counted, side by side.

use std::collections::{HashMap, HashSet};

use privatenumber_contract::{CallState, CallView, ParkedView};

use crate::calls::{Attempt, Cdr, Fate};
use crate::journal::Kill;
use crate::tally::Tally;

/// The longest a claim can stay without its outcome in a gateway that lives: the longest outage of the store and a
/// callback's time-out, many times over. A kill later than that after the push explains nothing.
const LONGEST_PENDING_MS: i64 = 60_000;
/// How many broken promises of one kind are told in full.
const TOLD: usize = 5;

/// What is compared.
#[derive(Clone, Copy)]
pub struct Evidence<'e> {
    /// All CDRs that were pushed.
    pub cdrs: &'e [std::sync::Arc<Cdr>],
    /// All calls of the store.
    pub calls: &'e [CallView],
    /// All parked CDRs of the store.
    pub parked: &'e [ParkedView],
    /// What each business counted.
    pub tallies: &'e [Tally],
    /// The gateways that were killed.
    pub kills: &'e [Kill],
}

/// Broken promises, each with its name in front; empty when all held.
pub fn violations(evidence: Evidence<'_>) -> Vec<String> {
    let mut found = Violations::default();
    let calls: HashMap<&str, &CallView> = evidence.calls.iter().map(|call| (call.call_id.as_str(), call)).collect();
    let parked: HashSet<String> = evidence.parked.iter().filter_map(|parked| session_id(parked.raw.expose())).collect();
    let mut pushed = HashMap::new();
    for cdr in evidence.cdrs {
        match &cdr.fate {
            Fate::Call { call_id, business } => {
                pushed.insert(call_id.as_str(), (cdr.as_ref(), *business));
                if cdr.is_accepted() && !calls.contains_key(call_id.as_str()) {
                    found.add("P2 kept: accepted and not in the store", call_id);
                }
            }
            Fate::Parked { session_id } => {
                if cdr.is_accepted() && !parked.contains(session_id) {
                    found.add("P2 kept: accepted and not parked", "a CDR");
                }
            }
        }
    }
    for call in evidence.calls {
        let Some((cdr, business)) = pushed.get(call.call_id.as_str()) else {
            found.add("P2 kept: in the store and never pushed", &call.call_id);
            continue;
        };
        judge(call, cdr, *business, evidence, &mut found);
    }
    let unknown = evidence.calls.iter().filter(|call| call.state == CallState::Unknown).count() as u64;
    if let Some(pending) = pending_at_death(evidence.kills)
        && unknown > pending + taken_on_meanwhile(evidence.kills.len() as u64)
    {
        found
            .add("P3 accounted: more unknown than pending when gateways were killed", &format!("{unknown}, {pending}"));
    }
    for (number, tally) in evidence.tallies.iter().enumerate() {
        for (call_id, count) in &tally.callbacks {
            if *count > 1 {
                found.add("P1 once: called back more than once", call_id);
            }
            match pushed.get(call_id.as_str()) {
                Some((_, business)) if *business == Some(number) => {}
                Some(_) => found.add("P1 once: called back at the wrong business", call_id),
                None => found.add("P1 once: called back for a call that never was", call_id),
            }
            if !calls.contains_key(call_id.as_str()) {
                found.add("P2 kept: called back and not in the store", call_id);
            }
        }
        if tally.invalid + tally.nameless > 0 {
            found.add("P1 once: callbacks without record or id", &(tally.invalid + tally.nameless).to_string());
        }
    }
    found.told()
}

/// How many calls were pending in gateways when they were killed; `None` where one did not say.
pub fn pending_at_death(kills: &[Kill]) -> Option<u64> {
    kills.iter().map(|kill| kill.pending_calls).sum()
}

/// How many calls gateways may take on between the moment they say how many are pending and their death: some milliseconds
/// of load each time, and now and then one of the largest pushes.
const fn taken_on_meanwhile(kills: u64) -> u64 {
    100 + 10 * kills
}

/// One call's state in the store against what its business saw.
fn judge(call: &CallView, cdr: &Cdr, business: Option<usize>, evidence: Evidence<'_>, found: &mut Violations) {
    let tally = business.and_then(|business| evidence.tallies.get(business));
    let is_seen = tally.is_some_and(|tally| tally.callbacks.contains_key(&call.call_id));
    match call.state {
        CallState::Delivered | CallState::Rejected if !is_seen => {
            found.add("P3 accounted: answered and never seen", &call.call_id);
        }
        CallState::NotSent if is_seen => found.add("P3 accounted: not sent and yet seen", &call.call_id),
        CallState::Skipped if business.is_some() => {
            found.add("P3 accounted: skipped though there is a business", &call.call_id);
        }
        CallState::Delivered | CallState::Rejected | CallState::NotSent | CallState::MaybeSent
            if business.is_none() =>
        {
            found.add("P3 accounted: called back though there is nobody", &call.call_id);
        }
        CallState::Pending => found.add("P3 accounted: pending for ever", &call.call_id),
        CallState::Waiting => found.add("P3 accounted: waiting though nothing holds it", &call.call_id),
        CallState::Unknown if !is_explained(call, cdr, evidence.kills) => {
            let CallView { call_id, received_at, .. } = call;
            let what = format!("{call_id}, received at {received_at}, pushed as {:?}", cdr.attempts());
            found.add("P3 accounted: unknown though no gateway that had it was killed", &what);
        }
        _ => {}
    }
}

/// Whether a gateway was killed that had the call: after the call was pushed to it, and before it must have had an outcome.
///
/// `received_at` is the store's reckoning, its own time less the push's age when the request left. A request that was held up on its way is
/// committed later, perhaps after the death of its gateway, and `received_at` is then as much too late.
fn is_explained(call: &CallView, cdr: &Cdr, kills: &[Kill]) -> bool {
    let latest = call.received_at.saturating_add(LONGEST_PENDING_MS);
    let had_it = |attempt: &Attempt| attempt.began_at <= call.received_at;
    cdr.attempts().iter().filter(|attempt| had_it(attempt)).any(|attempt| {
        kills.iter().any(|kill| kill.gateway == attempt.gateway && (attempt.began_at..=latest).contains(&kill.dead_at))
    })
}

fn session_id(raw: &str) -> Option<String> {
    let cdr: serde_json::Value = serde_json::from_str(raw).ok()?;
    Some(cdr.get("sessionId")?.as_str()?.to_owned())
}

/// Broken promises by kind, with some of the calls that show it. A call's id is a hash and may be told.
#[derive(Default)]
struct Violations(std::collections::BTreeMap<&'static str, Vec<String>>);

impl Violations {
    fn add(&mut self, kind: &'static str, what: &str) {
        self.0.entry(kind).or_default().push(what.to_owned());
    }

    fn told(self) -> Vec<String> {
        let tell = |(kind, what): (&str, Vec<String>)| {
            let some: Vec<_> = what.iter().take(TOLD).map(String::as_str).collect();
            let more = if what.len() > TOLD { " …" } else { "" };
            format!("{kind}: {} ({}{more})", what.len(), some.join(", "))
        };
        self.0.into_iter().map(tell).collect()
    }
}

#[cfg(test)]
mod tests;
