//! The promises: what must hold after every step, and what must hold once everything is at rest.

use std::collections::BTreeSet;

use private_number_gateway::metrics::{Gauge, Metric};
use privatenumber_contract::{CallState, CallView, Outcome, Skipped};

use super::World;
use super::event::RootId;
use super::gateway::Root;
use super::truth::End;
use crate::figures::UnknownCause;
use crate::promise::{Promise, Step, Stop, check};

/// What began this long after the last fault met none, milliseconds.
const AFTERMATH_MS: u64 = 60_000;

impl World<'_> {
    /// After every step: what a root says is under way is what is under way, and no more is held than is allowed.
    pub(super) fn check_step(&self) -> Step {
        for (id, root) in &self.roots {
            let gauges = root.driver.gauges();
            let under_way = root.callbacks.len() + root.held.len();
            check(Promise::P8Finished, gauges.callbacks_in_flight == under_way, || {
                format!("root {id} counts {} callbacks under way, there are {under_way}", gauges.callbacks_in_flight)
            })?;
            let most = root.config.limits.pending_bytes;
            check(Promise::P6Standing, gauges.pending_bytes <= most, || {
                format!("root {id} counts {} bytes of {most}", gauges.pending_bytes)
            })?;
            if self.scenario.is_crowded {
                self.check_bodies(*id, root)?;
            }
        }
        Ok(())
    }

    /// P6: what Envoy really holds for pushes, whatever the filter counts.
    fn check_bodies(&self, id: RootId, root: &Root) -> Step {
        let most = root.config.limits.pending_bytes;
        let own = || self.streams.values().filter(|stream| stream.root == id && !stream.is_answered);
        let held: usize = own().filter(|_| self.is_held(id)).map(|stream| stream.arrived).sum();
        let unfinished: usize = own().filter(|stream| !stream.is_complete).map(|stream| stream.arrived).sum();
        let known = root.driver.held_bytes();
        // A push that gave way is answered by the wake-up that follows; Envoy holds it until then.
        let late = root.config.limits.max_body_bytes;
        check(Promise::P6Standing, held.max(known) <= most && unfinished <= most / 2 + late, || {
            format!(
                "root {id} holds {held} bytes of bodies, {unfinished} of unfinished ones, of {most}; it knows of {known}"
            )
        })
    }

    /// P2 and P4: what an answer to Huawei means, at the moment Huawei sees its status.
    pub(super) fn check_answer(&mut self, status: Option<u16>, batch: &[usize]) -> Step {
        let is_refused = status.is_some_and(|status| (400..500).contains(&status));
        check(Promise::P4Apart, !is_refused, || format!("a push was refused as a whole: {status:?}"))?;
        if status == Some(200) { self.check_kept(batch) } else { Ok(()) }
    }

    /// P2: every CDR of the batch is in the store.
    pub(super) fn check_kept(&mut self, batch: &[usize]) -> Step {
        for index in batch {
            let is_kept = self.is_kept(*index)?;
            check(Promise::P2Kept, is_kept, || format!("CDR {index} was answered 200 and is not in the store"))?;
        }
        Ok(())
    }

    fn is_kept(&mut self, index: usize) -> Result<bool, Stop> {
        if self.truth.kept.contains(&index) {
            return Ok(true);
        }
        let Some(cdr) = self.scenario.cdrs.get(index) else { return Ok(false) };
        let is_kept = match &cdr.call {
            Some(call) => self.view(&call.id)?.is_some() || self.is_parked_as_replay(cdr)?,
            None => self.is_parked(&cdr.text)?,
        };
        if is_kept {
            self.truth.kept.insert(index);
        }
        Ok(is_kept)
    }

    /// P3: the outcome that the store shows agrees with what happened, and is the one it showed first.
    pub(super) fn check_outcome(&mut self, call_id: &str) -> Step {
        let Some(view) = self.view(call_id)? else { return Ok(()) };
        let Some(outcome) = view.outcome else { return Ok(()) };
        let is_skipped_rightly = self.is_skipped_rightly(&view);
        let call = self.truth.call(call_id);
        let first = *call.outcome.get_or_insert(outcome);
        check(Promise::P3Accounted, first == outcome, || {
            format!("the outcome of call {call_id} was {first:?} and became {outcome:?}")
        })?;
        let agrees = match outcome {
            Outcome::Delivered { status } | Outcome::Rejected { status } => call.statuses.contains(&status),
            Outcome::NotSent { .. } => call.arrivals == 0,
            Outcome::MaybeSent { .. } => call.departures > 0,
            Outcome::Skipped { .. } => call.departures == 0 && call.arrivals == 0 && is_skipped_rightly,
        };
        check(Promise::P3Accounted, agrees, || {
            let (left, came) = (call.departures, call.arrivals);
            let statuses = &call.statuses;
            format!("call {call_id} reads {outcome:?}; {left} callbacks left, {came} arrived, answered {statuses:?}")
        })
    }

    /// Whether there was nobody to call back, for the reason given.
    fn is_skipped_rightly(&self, view: &CallView) -> bool {
        let claimed = self.truth.calls.get(&view.call_id).filter(|call| call.claimed_at.is_some());
        let ak = claimed.and_then(|call| call.ak.as_deref());
        let variant = self.truth.holders.get(&view.push_id).and_then(|root| self.truth.variants.get(root));
        let variant = variant.and_then(|variant| self.scenario.variants.get(*variant));
        match view.outcome {
            Some(Outcome::Skipped { reason: Skipped::NoBinding }) => {
                claimed.is_some() && ak.is_none() || self.is_to_be_skipped(view)
            }
            Some(Outcome::Skipped { reason: Skipped::NoCallback }) => ak.is_some_and(|ak| {
                variant.is_some_and(|variant| !variant.concurrency.iter().any(|(known, _)| known == ak))
            }),
            _ => true,
        }
    }

    /// Whether a configuration says that calls like this are skipped, having no binding.
    fn is_to_be_skipped(&self, view: &CallView) -> bool {
        let is_unbound = self.scenario.call(&view.call_id).is_some_and(|call| !self.scenario.is_bound_early(call));
        let variant = self.truth.holders.get(&view.push_id).and_then(|root| self.truth.variants.get(root));
        let variant = variant.and_then(|variant| self.scenario.variants.get(*variant));
        is_unbound && variant.is_some_and(|variant| variant.skips.contains(&view.app_key))
    }

    /// Whether what began at that moment cannot have met a fault.
    pub(super) fn is_after_the_faults(&self, began: u64) -> bool {
        began > self.scenario.faults_end + AFTERMATH_MS
    }

    /// Once everything is at rest.
    pub(super) fn check_quiescence(&mut self) -> Step {
        check(Promise::P8Finished, self.streams.is_empty(), || "a push never ends".to_owned())?;
        for (id, root) in &self.roots {
            let gauges = root.driver.gauges();
            check(Promise::P8Finished, gauges == Default::default(), || {
                format!("root {id} never comes to rest: {gauges:?}")
            })?;
            check(Promise::P8Finished, !root.is_draining, || format!("root {id} never ends"))?;
            let untold = Gauge::ALL.iter().find(|gauge| root.driver.told(Metric::Gauge(**gauge)) != 0);
            check(Promise::P8Finished, untold.is_none(), || format!("root {id} leaves {untold:?} as it was"))?;
        }
        self.check_replays()?;
        self.figures.cdrs = self.scenario.cdrs.len() as u64;
        for index in 0..self.scenario.cdrs.len() {
            self.check_cdr(index)?;
        }
        // Calls that were made of parked CDRs and that no CDR brought by itself.
        let of_cdrs: BTreeSet<_> =
            self.scenario.cdrs.iter().filter_map(|cdr| Some(cdr.call.as_ref()?.id.clone())).collect();
        for call_id in self.scenario.call_ids().into_iter().filter(|call_id| !of_cdrs.contains(call_id)) {
            self.check_call(&call_id)?;
        }
        self.check_reconciliation()
    }

    fn check_cdr(&mut self, index: usize) -> Step {
        let (Some(cdr), Some(state)) = (self.scenario.cdrs.get(index).cloned(), self.huawei.cdrs.get(index).cloned())
        else {
            return Ok(());
        };
        // Looked up afresh: what was there once must be there still.
        self.truth.kept.remove(&index);
        let is_kept = self.is_kept(index)?;
        check(Promise::P2Kept, is_kept || !state.is_answered, || format!("CDR {index} is gone from the store"))?;
        let met_faults = !self.is_after_the_faults(state.last_attempt) || state.is_excused || cdr.is_poison;
        check(Promise::P4Apart, is_kept || met_faults, || {
            format!("CDR {index} was pushed with nothing wrong any more and is not in the store")
        })?;
        match cdr.call {
            Some(call) if is_kept => {
                let is_parked = self.view(&call.id)?.is_none();
                self.figures.parked += u64::from(is_parked);
                self.figures.parked_as_replays += u64::from(is_parked);
                self.check_call(&call.id)
            }
            None if is_kept => {
                self.figures.parked += 1;
                Ok(())
            }
            _ => {
                self.figures.given_up += 1;
                Ok(())
            }
        }
    }

    fn check_call(&mut self, call_id: &str) -> Step {
        self.check_outcome(call_id)?;
        let Some(view) = self.view(call_id)? else { return Ok(()) };
        let state = match view.outcome {
            Some(outcome) => outcome.state().as_str(),
            None => {
                self.check_taken(&view)?;
                let cause = self.unknown_cause(call_id, &view)?;
                *self.figures.unknown.entry(cause).or_default() += 1;
                "unknown"
            }
        };
        *self.figures.calls.entry(state).or_default() += 1;
        Ok(())
    }

    /// P8 and P3: a call without an outcome is one whose gateway died, and reads as unknown once its deadline is past.
    fn unknown_cause(&mut self, call_id: &str, view: &CallView) -> Result<UnknownCause, Stop> {
        let end = self.truth.holders.get(&view.push_id).and_then(|root| self.truth.ends.get(root));
        let Some(End::Killed(died_at)) = end.copied() else {
            let what = format!("call {call_id} has no outcome although the gateway that holds its claim never died");
            return Err(Stop::Broken(Promise::P8Finished, what));
        };
        let late = self.store_view_at(call_id, view.claim_deadline.saturating_add(1))?;
        let reads_as_unknown = late.is_some_and(|late| late.state == CallState::Unknown);
        check(Promise::P3Accounted, reads_as_unknown, || format!("call {call_id} is pending for ever"))?;
        let call = self.truth.call(call_id);
        Ok(match call.claimed_at {
            Some(claimed_at) if call.departures == 0 && claimed_at <= died_at => UnknownCause::BeforeTheCallback,
            _ if call.departures == 0 => UnknownCause::BeforeTheCommit,
            _ => UnknownCause::AfterTheCallback,
        })
    }
}
