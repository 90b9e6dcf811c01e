//! Works: calls that wait in the store until a worker takes them (`docs/claim-protocol.md`, rule 20).
//!
//! The real store holds them, releases them and hands them out. Here is what the run knows of them, what must hold, and the mistakes that
//! a store could make.

use privatenumber_contract::{CallDetail, CallView, NotSent, Outcome, WaitFor, WorkRequest};
use serde_json::{Value, json};

use super::event::Letter;
use super::gateway::claimed;
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, check};
use crate::store::StoreAnswer;

/// How long a work that is due may wait for a worker where nothing is wrong any more, milliseconds: the longest interval between
/// requests, and the longest pause of one that is repeated, are 600,000.
const TAKEN_WITHIN_MS: u64 = 720_000;

impl World<'_> {
    /// Whether calls wait for a worker, now or later.
    pub(super) fn works_wait(&self) -> bool {
        !self.truth.waiting.is_empty() || !self.truth.released_wrongly.is_empty()
    }

    /// Notes whether the call waits, as the store shows it.
    pub(super) fn note_wait(&mut self, view: &CallView) {
        let Some(wait) = view.wait else {
            self.truth.waiting.remove(&view.call_id);
            return;
        };
        let before = self.truth.waiting.insert(view.call_id.clone(), wait.due);
        if wait.due.is_none() && before != Some(None) {
            note!(self, "store: call {} waits for its business", view.call_id);
            self.figures.paused += 1;
        }
        if before.flatten().zip(wait.due).is_some_and(|(before, due)| due < before) {
            note!(self, "store: call {} no longer waits for its binding", view.call_id);
            self.figures.holds_ended_early += 1;
        }
    }

    /// The store has told the push that brought it that the call waits.
    pub(super) fn is_held_for(&mut self, push_id: privatenumber_contract::PushId, call_id: String) -> Step {
        let wait = match self.view(&call_id)? {
            Some(view) => {
                self.note_wait(&view);
                view.wait
            }
            None => None,
        };
        let is_paused = wait.is_some_and(|wait| wait.waits_for == WaitFor::Paused);
        if self.truth.brought_by.insert(call_id.clone(), push_id).is_none() && !is_paused {
            note!(self, "store: call {call_id} is held");
            self.figures.held += 1;
        }
        Ok(())
    }

    /// Looks at all calls once an operator or a business has asked for something.
    pub(super) fn look_at_calls(&mut self) -> Step {
        for call_id in self.scenario.call_ids() {
            let Some(detail) = self.detail(&call_id)? else { continue };
            self.note_wait(&detail.call);
            self.note_releases(&detail)?;
        }
        Ok(())
    }

    /// P1: what was released certainly never reached its business.
    fn note_releases(&mut self, detail: &CallDetail) -> Step {
        let call_id = &detail.call.call_id;
        let call = self.truth.call(call_id);
        let (first, arrivals) = (call.outcome, call.arrivals);
        for earlier in detail.history.iter().skip(call.releases) {
            let outcome = earlier.outcome;
            let is_releasable = match outcome {
                Outcome::NotSent { reason } => reason != NotSent::Erased,
                Outcome::Skipped { .. } => true,
                _ => false,
            };
            check(Promise::P1Once, is_releasable && arrivals == 0, || {
                format!("call {call_id} is released: it was {outcome:?}, and {arrivals} callbacks arrived")
            })?;
            check(Promise::P3Accounted, first.is_none_or(|first| first == outcome), || {
                format!("the outcome of call {call_id} was {first:?} and is {outcome:?} once it is released")
            })?;
            self.figures.released += 1;
            self.figures.skipped_released += u64::from(matches!(outcome, Outcome::Skipped { .. }));
        }
        if detail.history.len() > call_releases(&self.truth, call_id) {
            note!(self, "store: call {call_id} is released");
            let call = self.truth.call(call_id);
            call.releases = detail.history.len();
            (call.outcome, call.claimed_at, call.departures) = (None, None, 0);
        }
        Ok(())
    }

    /// A claim of the call is committed: from here on it is known whom it belongs to.
    pub(super) fn claim_committed(&mut self, call_id: &str) {
        note!(self, "store: call {call_id} is claimed");
        let (now, ak) = (self.now, self.business_by_now(call_id));
        let call = self.truth.call(call_id);
        if call.claimed_at.is_none() {
            (call.claimed_at, call.ak) = (Some(now), ak);
        }
    }

    /// Whom the call belongs to if it is claimed now.
    pub(super) fn business_by_now(&self, call_id: &str) -> Option<String> {
        let call = self.scenario.call(call_id)?;
        let binding = call.binding.and_then(|index| self.scenario.bindings.get(index));
        match binding.filter(|binding| self.truth.bound.contains(&binding.id)) {
            Some(binding) => Some(binding.ak.clone()),
            None => call.ak.clone(),
        }
    }

    /// The store has answered a request for works.
    pub(super) fn works_committed(&mut self, letter: &Letter, answer: &mut StoreAnswer) -> Step {
        let request: WorkRequest = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        self.mutate_works(&request, answer)?;
        for call_id in claimed(&answer.body) {
            note!(self, "store: call {call_id} is taken by {}", request.push_id);
            self.check_taken_in_time(&call_id)?;
            self.claim_committed(&call_id);
            self.truth.taken.insert(call_id, request.push_id);
            self.figures.works_taken += 1;
            self.progressed_at = self.now;
        }
        let earlier = self.store.earlier_works.replace(answer.body.clone());
        if let Some(earlier) = earlier
            && self.strikes(Fault::WorksMisrouted)
        {
            answer.body = earlier;
        }
        Ok(())
    }

    /// P8: what waits is taken soon once it is due, and nothing is taken before.
    fn check_taken_in_time(&mut self, call_id: &str) -> Step {
        let Some(due) = self.truth.waiting.remove(call_id) else { return Ok(()) };
        check(Promise::P8Finished, due.is_some(), || format!("call {call_id} is taken, and its business is paused"))?;
        let Some(due) = due else { return Ok(()) };
        let late = self.store_now().saturating_sub(due);
        check(Promise::P8Finished, late >= 0, || format!("call {call_id} is taken {} ms before it is due", -late))?;
        let since_faults = self.now.saturating_sub(self.scenario.faults_end);
        let late = u64::try_from(late).unwrap_or(0).min(since_faults);
        self.figures.latest_work_ms = self.figures.latest_work_ms.max(late);
        check(Promise::P8Finished, late <= TAKEN_WITHIN_MS, || format!("call {call_id} is taken {late} ms late"))
    }

    /// P8: a call that waits is taken in the end.
    pub(super) fn check_taken(&self, view: &CallView) -> Step {
        check(Promise::P8Finished, view.wait.is_none(), || format!("call {} waits in the store for ever", view.call_id))
    }

    /// What a store that makes mistakes hands out besides.
    fn mutate_works(&mut self, request: &WorkRequest, answer: &mut StoreAnswer) -> Step {
        let besides: Vec<String> = match self.mutation {
            Some(Mutation::MaybeSentReleased) => std::mem::take(&mut self.truth.released_wrongly).into_iter().collect(),
            Some(Mutation::WorkGrantedToTwo) => {
                let of_others = self.truth.taken.iter().filter(|(_, push_id)| **push_id != request.push_id);
                of_others.map(|(call_id, _)| call_id.clone()).collect()
            }
            _ => return Ok(()),
        };
        let mut body: Value = serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
        for call_id in besides {
            let Some(view) = self.view(&call_id)? else { continue };
            let goes = self.mutation == Some(Mutation::MaybeSentReleased) || view.outcome.is_none();
            if goes && let Some(calls) = body.get_mut("calls").and_then(Value::as_array_mut) {
                calls.push(granted(&view)?);
            }
        }
        answer.body = body.to_string().into_bytes();
        Ok(())
    }

    /// Whether that push held the call before it was taken as a work, or is to be.
    pub(super) fn held_before(&self, call_id: &str, push_id: &str) -> Result<bool, Stop> {
        let Some(detail) = self.detail(call_id)? else { return Ok(false) };
        let was_holder = detail.history.iter().any(|earlier| earlier.push_id.to_string() == push_id);
        let brought = self.truth.brought_by.get(call_id).is_some_and(|by| by.to_string() == push_id);
        Ok(was_holder || brought && detail.call.wait.is_none())
    }
}

fn call_releases(truth: &super::truth::Truth, call_id: &str) -> usize {
    truth.calls.get(call_id).map_or(0, |call| call.releases)
}

/// The call as it stands in the answer to somebody who is to call back.
pub(super) fn granted(view: &CallView) -> Result<Value, Stop> {
    let record = serde_json::to_value(&view.record).map_err(anyhow::Error::from)?;
    Ok(json!({"verdict": "claimed", "callId": view.call_id, "ak": view.record.ak, "record": record}))
}
