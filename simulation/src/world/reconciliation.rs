//! A business that reconciles as the README says, whatever the clocks show.

use std::collections::BTreeSet;

use privatenumber_contract::{CallPage, CallState};

use super::{World, note};
use crate::promise::{Promise, Step, check};
use crate::random::Random;
use crate::store::StoreRequest;

/// How far the clocks are set forward at the end, so that every claim's time to live is over, milliseconds.
const LONG_MS: i64 = 7 * 86_400_000;

/// In so many steps of a thousand the business reconciles.
const PER_MILLE: u64 = 10;

/// What a business knows that reconciles.
#[derive(Debug)]
pub struct Reconciliation {
    /// Of its own, so that the rest of a run is the same with and without it.
    random: Random,
    /// What the last answer said: where the next reconciliation begins.
    from: i64,
    /// The calls that it was given.
    seen: BTreeSet<String>,
}

impl Reconciliation {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(!seed), from: 0, seen: BTreeSet::new() }
    }
}

impl World<'_> {
    /// The run begins, on machines whose clocks may be off.
    pub(super) fn set_clocks(&mut self) -> Step {
        let far = [0, 0, 0, 0, 120_000, -120_000, 28_800_000, -28_800_000];
        for gateway in &mut self.gateways {
            gateway.wall_offset = self.reconciliation.random.pick(far);
        }
        self.store.wall_offset = self.reconciliation.random.pick(far);
        self.store.begin(self.now)
    }

    /// After a step the business may reconcile.
    pub(super) fn may_reconcile(&mut self) -> Step {
        if self.reconciliation.random.chance(PER_MILLE) { self.reconcile() } else { Ok(()) }
    }

    /// The business asks for what was not delivered, all pages.
    fn reconcile(&mut self) -> Step {
        let from = self.reconciliation.from;
        let mut next_from = None;
        let question = format!("/v1/calls?outcome=undelivered&limit=3&from={from}");
        let mut path = question.clone();
        loop {
            let request = StoreRequest { method: "GET", path: &path, body: b"" };
            let answer = self.store.serve_now(&[request], self.now)?.pop().unwrap_or_default();
            let page: CallPage = serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
            self.reconciliation.seen.extend(page.calls.into_iter().map(|call| call.call_id));
            next_from = next_from.or(page.next_from);
            let Some(cursor) = page.next_cursor else { break };
            path = format!("{question}&cursor={cursor}");
        }
        self.figures.reconciliations += 1;
        note!(self, "the business reconciles from {from} on, next from {next_from:?}");
        let goes_on = next_from.is_some_and(|next| next >= from);
        check(Promise::P3Accounted, goes_on, || format!("reconciliation from {from} on goes back to {next_from:?}"))?;
        self.reconciliation.from = next_from.unwrap_or(from);
        Ok(())
    }

    /// P3: once every claim's time to live is over, whoever reconciled has been given all that was not delivered.
    pub(super) fn check_reconciliation(&mut self) -> Step {
        self.store.wall_offset += LONG_MS;
        self.reconcile()?;
        for call_id in self.scenario.call_ids() {
            let Some(view) = self.store_view_at(&call_id, self.store_now())? else { continue };
            let is_seen = self.reconciliation.seen.contains(&call_id);
            check(Promise::P3Accounted, is_seen || !CallState::UNDELIVERED.contains(&view.state), || {
                format!("call {call_id} is {:?} and was in no reconciliation", view.state)
            })?;
        }
        Ok(())
    }
}
