//! Businesses: what they receive, and what they answer.

use privatenumber_contract::Outcome;

use super::event::{Callback, Event, Heard};
use super::{World, note};
use crate::fault::Fault;
use crate::promise::{Promise, Step, check};
use crate::scenario::Temper;

impl World<'_> {
    pub(super) fn callback_arrives(&mut self, callback: Callback) -> Step {
        let Callback { sender, ak, call_id, session_id, timeout_ms } = callback;
        let business = self.scenario.business(&ak).cloned();
        let is_dead = business.as_ref().is_some_and(|known| known.temper == Temper::Dead) && !self.faults.are_over();
        if is_dead && self.random.chance(500) {
            note!(self, "business {ak}: nobody listens");
            return self.hear(sender, 1, Heard::Unreachable);
        }
        note!(self, "business {ak}: callback of {call_id} arrives");
        self.figures.callbacks += 1;
        self.check_arrival(&ak, &call_id, &session_id)?;
        self.check_outcome_allows(&call_id)?;
        if is_dead || self.strikes(Fault::BusinessSilent) {
            return Ok(());
        }
        if self.strikes(Fault::BusinessResets) {
            return self.hear(sender, 1, Heard::Reset);
        }
        let status = if self.strikes(Fault::BusinessFails) { self.random.pick([302, 404, 500, 503]) } else { 200 };
        let is_slow = business.is_some_and(|known| known.temper == Temper::Slow) && !self.faults.are_over();
        let took = if is_slow { timeout_ms / 2 } else { self.random.pick([0, 1, 10]) };
        if self.strikes(Fault::BusinessTruncates) {
            return self.hear(sender, took, Heard::Truncated);
        }
        let took = if self.strikes(Fault::BusinessLate) { timeout_ms + took + 1 } else { took };
        self.truth.call(&call_id).statuses.push(status);
        if self.strikes(Fault::BusinessAnswerDuplicated) {
            self.hear(sender, took + 1, Heard::Status(status))?;
        }
        self.hear(sender, took, Heard::Status(status))
    }

    /// P1 and P3: nothing arrives of a callback that the store says never left.
    fn check_outcome_allows(&mut self, call_id: &str) -> Step {
        let outcome = self.truth.call(call_id).outcome;
        let is_settled = matches!(outcome, Some(Outcome::NotSent { .. } | Outcome::Skipped { .. }));
        check(Promise::P3Accounted, !is_settled, || format!("call {call_id} reads {outcome:?} and is called back"))
    }

    /// P1: no second request for a call, and none before its claim.
    fn check_arrival(&mut self, ak: &str, call_id: &str, session_id: &str) -> Step {
        let call = self.truth.call(call_id);
        call.arrivals += 1;
        let (arrivals, is_claimed, is_owner) =
            (call.arrivals, call.claimed_at.is_some(), call.ak.as_deref() == Some(ak));
        check(Promise::P1Once, arrivals <= 1, || format!("call {call_id} reached its business {arrivals} times"))?;
        check(Promise::P1Once, is_claimed, || format!("call {call_id} was called back before it was claimed"))?;
        let is_right = is_owner && self.scenario.call(call_id).is_some_and(|call| call.session_id == session_id);
        check(Promise::P1Once, is_right, || format!("business {ak} was called back for call {call_id} of another"))
    }

    fn hear(&mut self, sender: Option<(u32, u32)>, pause: u64, heard: Heard) -> Step {
        if let Some((root, token)) = sender {
            let travel = self.travel();
            self.after(pause + travel, Event::CallbackHeard(root, token, heard));
        }
        Ok(())
    }
}
