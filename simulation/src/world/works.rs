//! Works: calls that wait in the store until a worker takes them (`docs/claim-protocol.md`, rule 20).
//!
//! Played between the gateways and the real store, which knows nothing of them: it holds calls without a binding where their push
//! says so, releases what an operator releases, hands works out, and takes their outcomes.

use std::collections::{BTreeMap, BTreeSet};

use privatenumber_contract::{
    CallState, CallVerdict, CallView, NotSent, Outcome, OutcomeReport, Outcomes, OutcomesAnswer, Push, PushAnswer,
    PushBatch, PushBatchAnswer, PushId, WithoutBinding, WorkRequest, paths,
};
use serde_json::{Value, json};

use super::event::{Event, Letter};
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, check};
use crate::store::StoreAnswer;

/// The works of the store.
#[derive(Debug, Default)]
pub struct Works {
    /// By call id.
    all: BTreeMap<String, Work>,
    /// The ids that ever held one.
    takers: BTreeSet<PushId>,
    /// The businesses that are paused.
    paused: BTreeSet<String>,
    /// The answer to an earlier request.
    earlier_answer: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Work {
    stage: Stage,
    /// The pushes that held its claim before.
    earlier: BTreeSet<PushId>,
    ak: Option<String>,
    record: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits for a binding until that moment of virtual time.
    Held(u64),
    /// It waits for its business, which is paused.
    Paused,
    /// It waits for a worker.
    Waiting,
    /// A worker has it.
    Taken(Taken),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    push_id: PushId,
    /// Epoch milliseconds of the store.
    deadline: i64,
    outcome: Option<Outcome>,
}

impl Works {
    /// Whether nothing waits.
    pub fn are_taken(&self) -> bool {
        self.all.values().all(|work| matches!(work.stage, Stage::Taken(_)))
    }

    /// P8: a call that waits is taken in the end.
    pub fn check_taken(&self, call_id: &str) -> Step {
        let is_taken = self.all.get(call_id).is_none_or(|work| matches!(work.stage, Stage::Taken(_)));
        check(Promise::P8Finished, is_taken, || format!("call {call_id} waits in the store for ever"))
    }

    /// How many wait for a worker at that moment of virtual time.
    fn waiting(&mut self, now: u64) -> u64 {
        let mut waiting = 0;
        for work in self.all.values_mut() {
            if matches!(work.stage, Stage::Held(until) if until <= now) {
                work.stage = Stage::Waiting;
            }
            if work.stage == Stage::Waiting && work.ak.as_ref().is_some_and(|ak| self.paused.contains(ak)) {
                work.stage = Stage::Paused;
            }
            waiting += u64::from(work.stage == Stage::Waiting);
        }
        waiting
    }

    /// What the store shows of a call at `now_ms`, where it is a work.
    pub fn show(&self, view: &mut CallView, now_ms: i64) {
        let Some(work) = self.all.get(&view.call_id) else { return };
        (view.outcome, view.state) = (None, CallState::Pending);
        if let Stage::Taken(taken) = work.stage {
            (view.outcome, view.push_id, view.claim_deadline) = (taken.outcome, taken.push_id, taken.deadline);
            if taken.outcome.is_none() && now_ms > taken.deadline {
                view.state = CallState::Unknown;
            }
        }
    }

    /// Hands works out; `to_two`: those that another worker has, too.
    fn take(&mut self, request: &WorkRequest, now_ms: i64, to_two: bool) -> Vec<Value> {
        let id = request.push_id;
        let is_own =
            |work: &Work| matches!(work.stage, Stage::Taken(taken) if taken.push_id == id && taken.outcome.is_none());
        let is_free = |work: &Work| match work.stage {
            Stage::Held(_) | Stage::Paused => false,
            Stage::Waiting => true,
            Stage::Taken(taken) => to_two && taken.outcome.is_none(),
        };
        let is_fresh = self.takers.insert(id);
        let most = usize::try_from(request.most).unwrap_or(usize::MAX);
        let granted = self.all.iter_mut().filter(|(_, work)| is_own(work) || is_fresh && is_free(work)).take(most);
        let deadline = now_ms.saturating_add_unsigned(request.ttl_ms);
        granted
            .map(|(call_id, work)| {
                work.stage = Stage::Taken(Taken { push_id: id, deadline, outcome: None });
                json!({"verdict": "claimed", "callId": call_id, "ak": work.ak, "record": work.record})
            })
            .collect()
    }
}

impl World<'_> {
    /// An operator pauses a business, and resumes it after a while.
    pub(super) fn pause(&mut self) {
        let index = self.random.index(self.scenario.businesses.len());
        let pause = self.random.pick([1_000, 60_000, 600_000]);
        let Some(business) = self.scenario.businesses.get(index) else { return };
        let ak = business.ak.clone();
        note!(self, "store: {ak} is paused");
        self.store.works.paused.insert(ak.clone());
        self.after(pause, Event::Resume(ak));
    }

    /// Its calls become works.
    pub(super) fn resume(&mut self, ak: &str) {
        if self.store.works.paused.remove(ak) {
            note!(self, "store: {ak} resumes");
            for work in self.store.works.all.values_mut() {
                if work.stage == Stage::Paused && work.ak.as_deref() == Some(ak) {
                    work.stage = Stage::Waiting;
                }
            }
        }
    }

    pub(super) fn resume_all(&mut self) {
        for ak in self.store.works.paused.clone() {
            self.resume(&ak);
        }
    }

    /// An operator releases calls that certainly never reached a business: each that can be, as a filter or a coin has it.
    pub(super) fn release(&mut self) -> Step {
        let all = self.random.chance(500);
        let ids: Vec<String> =
            self.scenario.cdrs.iter().filter_map(|cdr| cdr.call.as_ref()).map(|call| call.id.clone()).collect();
        for call_id in ids {
            if !all && self.random.chance(700) {
                continue;
            }
            let Some(view) = self.view(&call_id)? else { continue };
            let is_releasable = match view.outcome {
                Some(Outcome::NotSent { reason }) => reason != NotSent::Erased,
                Some(Outcome::Skipped { .. }) => true,
                Some(Outcome::MaybeSent { .. }) => self.mutates(Mutation::MaybeSentReleased),
                _ => false,
            };
            if is_releasable {
                self.release_call(view)?;
            }
        }
        Ok(())
    }

    fn release_call(&mut self, view: CallView) -> Step {
        let CallView { call_id, push_id, record, .. } = view;
        note!(self, "store: call {call_id} is released");
        self.figures.released += 1;
        let (ak, record) = (record.ak.clone(), serde_json::to_value(&record).map_err(anyhow::Error::from)?);
        let work = Work { stage: Stage::Waiting, earlier: BTreeSet::new(), ak, record };
        let work = self.store.works.all.entry(call_id.clone()).or_insert(work);
        work.stage = Stage::Waiting;
        work.earlier.insert(push_id);
        let call = self.truth.call(&call_id);
        (call.outcome, call.claimed_at, call.departures) = (None, None, 0);
        Ok(())
    }

    /// What a request comes to that the real store does not see as it is. `Some(body)` is what it is to see; `None` that it is to see
    /// nothing. The second is what is to be added to its answer.
    pub(super) fn before_commit(
        &mut self,
        letter: &Letter,
        body: Vec<u8>,
    ) -> Result<(Option<Vec<u8>>, OutcomesAnswer), Stop> {
        let mut added = OutcomesAnswer::default();
        if letter.path == paths::WORK_TAKE {
            return Ok((None, added));
        }
        if letter.path != paths::OUTCOMES || self.store.works.all.is_empty() {
            return Ok((Some(body), added));
        }
        let mut batch: Outcomes = serde_json::from_slice(&body).map_err(anyhow::Error::from)?;
        batch.outcomes.retain(|report| !self.store.works.report(report, &mut added));
        let rest = serde_json::to_vec(&batch).map_err(anyhow::Error::from)?;
        Ok(((!batch.outcomes.is_empty()).then_some(rest), added))
    }

    /// Makes of the real store's answer, or of none, what a store with works answers.
    pub(super) fn after_commit(
        &mut self,
        letter: &Letter,
        added: OutcomesAnswer,
        answer: Option<StoreAnswer>,
    ) -> Result<StoreAnswer, Stop> {
        let said = answer.unwrap_or_else(|| StoreAnswer {
            status: 200,
            content_type: Some(b"application/json".to_vec()),
            committed: None,
            body: b"{\"recorded\":0,\"repeated\":0,\"refused\":0}".to_vec(),
        });
        if said.status != 200 {
            return Ok(said);
        }
        let body = match letter.path {
            paths::WORK_TAKE => self.hand_out(letter)?,
            paths::OUTCOMES => {
                let mut all: OutcomesAnswer = serde_json::from_slice(&said.body).map_err(anyhow::Error::from)?;
                all.recorded += added.recorded;
                all.repeated += added.repeated;
                all.refused += added.refused;
                all.works_waiting = self.store.works.waiting(self.now);
                serde_json::to_vec(&all)
            }
            .map_err(anyhow::Error::from)?,
            paths::PUSHES => {
                let push: Push<'_> = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
                let read: PushAnswer<'_> = serde_json::from_slice(&said.body).map_err(anyhow::Error::from)?;
                let mut all = serde_json::to_value(&read).map_err(anyhow::Error::from)?;
                self.look_at_push(&push, &mut all);
                self.say_waiting(&mut all)
            }
            _ => {
                let batch: PushBatch<'_> = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
                let read: PushBatchAnswer<'_> = serde_json::from_slice(&said.body).map_err(anyhow::Error::from)?;
                let mut all = serde_json::to_value(&read).map_err(anyhow::Error::from)?;
                let results = all.get_mut("pushes").and_then(Value::as_array_mut);
                for result in results.into_iter().flatten() {
                    let id = result.get("pushId").and_then(Value::as_str).unwrap_or_default().to_owned();
                    if let Some(push) = batch.pushes.iter().find(|push| push.push_id.to_string() == id) {
                        self.look_at_push(push, result);
                    }
                }
                self.say_waiting(&mut all)
            }
        };
        Ok(StoreAnswer { body, ..said })
    }

    fn say_waiting(&mut self, answer: &mut Value) -> Vec<u8> {
        if let Some(object) = answer.as_object_mut() {
            object.insert("worksWaiting".to_owned(), self.store.works.waiting(self.now).into());
        }
        answer.to_string().into_bytes()
    }

    /// Holds calls without a binding where their push says so, and lets nobody else have a call that is a work.
    fn look_at_push(&mut self, push: &Push<'_>, answer: &mut Value) {
        let without_binding = push.application.as_ref().map_or(WithoutBinding::Deliver, |known| known.without_binding);
        let calls = answer.get_mut("calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            let call_id = call.get("callId").and_then(Value::as_str).unwrap_or_default().to_owned();
            let verdict = if let Some(work) = self.store.works.all.get(&call_id) {
                let is_earlier = work.earlier.contains(&push.push_id);
                if is_earlier && self.mutation == Some(Mutation::EarlierIdNotRetired) {
                    let again = json!({"verdict": "claimed", "callId": call_id, "ak": work.ak, "record": work.record});
                    call.extend(again.as_object().cloned().unwrap_or_default());
                    continue;
                }
                match work.stage {
                    Stage::Held(_) | Stage::Paused | Stage::Waiting if is_earlier => CallVerdict::Held,
                    _ => CallVerdict::Duplicate,
                }
            } else {
                if call.get("verdict") != Some(&json!("claimed")) {
                    continue;
                }
                let ak = call.get("ak").and_then(Value::as_str).map(str::to_owned);
                let is_paused = ak.as_ref().is_some_and(|ak| self.store.works.paused.contains(ak));
                let is_bound = self.scenario.call(&call_id).is_none_or(|known| known.is_bound);
                match if is_bound { WithoutBinding::Deliver } else { without_binding } {
                    // One whose claim a worker may have heard of before stays that worker's.
                    WithoutBinding::Deliver if is_paused && self.truth.call(&call_id).claimed_at.is_none() => {
                        let (earlier, record) = (BTreeSet::from([push.push_id]), call.get("record").cloned());
                        let work = Work { stage: Stage::Paused, earlier, ak, record: record.unwrap_or_default() };
                        note!(self, "store: call {call_id} waits for its business");
                        self.figures.paused += 1;
                        self.store.works.all.insert(call_id, work);
                        CallVerdict::Held
                    }
                    WithoutBinding::Deliver => continue,
                    WithoutBinding::Skip => {
                        call.remove("ak");
                        continue;
                    }
                    WithoutBinding::Hold(seconds) => {
                        let until = self.now.saturating_add(u64::from(seconds) * 1_000);
                        let work = Work {
                            stage: Stage::Held(until),
                            earlier: BTreeSet::from([push.push_id]),
                            ak: call.get("ak").and_then(Value::as_str).map(str::to_owned),
                            record: call.get("record").cloned().unwrap_or_default(),
                        };
                        note!(self, "store: call {call_id} is held until {until}");
                        self.figures.held += 1;
                        self.store.works.all.insert(call_id, work);
                        CallVerdict::Held
                    }
                }
            };
            call.insert("verdict".to_owned(), json!(verdict));
            call.remove("record");
        }
    }

    fn hand_out(&mut self, letter: &Letter) -> Result<Vec<u8>, Stop> {
        let request: WorkRequest = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        let (now_ms, to_two) = (self.store_now(), self.mutates(Mutation::WorkGrantedToTwo));
        self.store.works.waiting(self.now);
        let calls = self.store.works.take(&request, now_ms, to_two);
        let most = usize::try_from(request.most).unwrap_or(usize::MAX);
        check(Promise::P6Standing, most <= privatenumber_contract::limits::WORKS, || {
            format!("{most} works are asked for")
        })?;
        for call in &calls {
            let call_id = call.get("callId").and_then(Value::as_str).unwrap_or_default();
            note!(self, "store: call {call_id} is taken by {}", request.push_id);
            self.truth.call(call_id).claimed_at.get_or_insert(self.now);
            self.figures.works_taken += 1;
            self.progressed_at = self.now;
        }
        let waiting = self.store.works.waiting(self.now);
        let answer =
            json!({"pushId": request.push_id, "calls": calls, "worksWaiting": waiting}).to_string().into_bytes();
        let earlier = self.store.works.earlier_answer.replace(answer.clone());
        Ok(match earlier {
            Some(earlier) if self.strikes(Fault::WorksMisrouted) => earlier,
            _ => answer,
        })
    }
}

impl Works {
    /// Whether the call waits, or once waited.
    pub fn knows(&self, call_id: &str) -> bool {
        self.all.contains_key(call_id)
    }

    /// Takes the outcome of a work; `false` where the call is none.
    fn report(&mut self, report: &OutcomeReport, added: &mut OutcomesAnswer) -> bool {
        let Some(work) = self.all.get_mut(&report.call_id) else { return false };
        match &mut work.stage {
            Stage::Taken(taken) if taken.push_id == report.push_id => {
                if taken.outcome.is_some() {
                    added.repeated += 1;
                } else {
                    taken.outcome = Some(report.outcome);
                    added.recorded += 1;
                }
            }
            // What the first to hold it reported is known to the real store, and may be repeated.
            _ if work.earlier.contains(&report.push_id) => added.repeated += 1,
            _ => added.refused += 1,
        }
        true
    }
}
