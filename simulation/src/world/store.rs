//! The store's place in the world: what goes wrong before and behind the real store.

use std::collections::BTreeMap;

use privatenumber_contract::{
    CallVerdict, CallView, MaybeSent, Outcome, OutcomeReport, Outcomes, Push, PushAnswer, PushId, paths,
};
use serde_json::json;

use super::event::{Asker, Callback, Event, Letter, Reply};
use super::{World, note, wall};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop};
use crate::store::{Store, StoreAnswer, StoreRequest};

/// See the [module](self).
pub struct StoreSide<'s> {
    store: &'s Store,
    /// Away: nobody listens.
    pub is_down: bool,
    /// How far its wall clock is off.
    pub wall_offset: i64,
    /// What waits for the next commit.
    waiting: Vec<Letter>,
    is_committing: bool,
}

impl<'s> StoreSide<'s> {
    pub fn new(store: &'s Store) -> Self {
        Self { store, is_down: false, wall_offset: 0, waiting: Vec::new(), is_committing: false }
    }
}

impl World<'_> {
    pub(super) fn register_bindings(&mut self) -> Step {
        let now = self.store_wall();
        for (id, row) in &self.scenario.bindings {
            let path = format!("{}/{id}", paths::BINDINGS);
            let body = serde_json::to_vec(row).map_err(anyhow::Error::from)?;
            let answers = self.store.store.serve(&[StoreRequest { method: "PUT", path: &path, body: &body }], now)?;
            if !answers.iter().all(|answer| (200..300).contains(&answer.status)) {
                return Err(Stop::Failed(anyhow::anyhow!("a binding was refused: {answers:?}")));
            }
        }
        Ok(())
    }

    /// The time as the store knows it.
    fn store_wall(&self) -> i64 {
        wall(self.now, self.store.wall_offset)
    }

    /// A call as the store shows it now.
    pub(super) fn view(&self, call_id: &str) -> Result<Option<CallView>, Stop> {
        self.store_view_at(call_id, self.store_wall())
    }

    /// A call as the store shows it at that moment, epoch milliseconds.
    pub(super) fn store_view_at(&self, call_id: &str, now_ms: i64) -> Result<Option<CallView>, Stop> {
        let mut view = self.store.store.call(call_id, now_ms)?;
        if let (Some(view), Some(overwritten)) = (&mut view, self.truth.overwritten.get(call_id)) {
            view.outcome = Some(*overwritten);
        }
        Ok(view)
    }

    /// Whether the CDR's text is parked.
    pub(super) fn is_parked(&self, text: &str) -> Result<bool, Stop> {
        let limit = u32::try_from(self.scenario.cdrs.len()).unwrap_or(u32::MAX);
        Ok(self.store.store.parked(limit)?.iter().any(|parked| parked.raw.expose() == text))
    }

    /// Whether whoever asked is still there.
    fn is_waiting(&self, asker: Asker) -> bool {
        match asker {
            Asker::Stream { stream, .. } => self.streams.contains_key(&stream),
            Asker::Root { root, .. } => self.roots.contains_key(&root),
            Asker::Nobody => true,
        }
    }

    pub(super) fn letter_arrives(&mut self, mut letter: Letter) -> Step {
        // The connection of somebody who left may take the request with it.
        if !self.is_waiting(letter.asker) && self.random.chance(500) {
            note!(self, "store: the request of {:?} never arrives", letter.asker);
            return Ok(());
        }
        if self.store.is_down {
            let travel = self.travel();
            self.after(travel, Event::ReplyArrives(letter.asker, Reply::Unreachable));
            return Ok(());
        }
        if self.strikes(Fault::StoreRequestLost) {
            if self.random.chance(500) {
                self.after(1, Event::ReplyArrives(letter.asker, Reply::Reset));
            }
            return Ok(());
        }
        if self.strikes(Fault::StoreFailsBeforeCommit) {
            let problem = json!({"type": "about:blank", "title": "Service Unavailable", "status": 503});
            let answer = StoreAnswer {
                status: 503,
                content_type: Some(b"application/problem+json".to_vec()),
                committed: None,
                body: problem.to_string().into_bytes(),
            };
            self.after(1, Event::ReplyArrives(letter.asker, Reply::Store { answer, ends_early: false }));
            return Ok(());
        }
        if self.mutates(Mutation::BadCdrLost)
            && letter.path == paths::PUSHES
            && let Ok(mut push) = serde_json::from_slice::<Push<'_>>(&letter.body)
        {
            push.parked.clear();
            letter.body = serde_json::to_vec(&push).map_err(anyhow::Error::from)?;
        }
        if self.mutates(Mutation::LateOutcomeRefused) && letter.path == paths::OUTCOMES {
            self.leave_out_late_outcomes(&mut letter)?;
        }
        note!(self, "store: request to {} of {:?} waits for a commit", letter.path, letter.asker);
        self.store.waiting.push(letter);
        if !self.store.is_committing {
            self.store.is_committing = true;
            let took = if self.strikes(Fault::StoreSlow) {
                self.random.pick([50, 500, 3_000, 20_000])
            } else {
                self.random.pick([0, 1, 1, 5])
            };
            self.after(took, Event::Commit);
        }
        Ok(())
    }

    /// The real store commits what waits, all together.
    pub(super) fn commit(&mut self) -> Step {
        self.store.is_committing = false;
        let letters = std::mem::take(&mut self.store.waiting);
        if letters.is_empty() {
            return Ok(());
        }
        self.figures.commits += 1;
        let requests: Vec<_> = letters
            .iter()
            .map(|letter| StoreRequest { method: "POST", path: letter.path, body: &letter.body })
            .collect();
        let answers = self.store.store.serve(&requests, self.store_wall())?;
        for (letter, mut answer) in letters.iter().zip(answers) {
            note!(self, "store: {} of {:?} comes to {}", letter.path, letter.asker, answer.status);
            if answer.status != 200 {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(Stop::Broken(Promise::P2Kept, format!("the store refuses {}: {said}", letter.path)));
            }
            match letter.path {
                paths::PUSHES => self.push_committed(letter, &mut answer)?,
                _ => self.outcomes_committed(letter)?,
            }
            self.reply(letter.asker, answer);
        }
        Ok(())
    }

    fn push_committed(&mut self, letter: &Letter, answer: &mut StoreAnswer) -> Step {
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        let parsed: PushAnswer<'_> = serde_json::from_str(&said).map_err(anyhow::Error::from)?;
        let now = self.now;
        for call in parsed.calls.iter().filter(|call| call.verdict == CallVerdict::Claimed) {
            note!(self, "store: call {} is claimed", call.call_id);
            self.truth.call(&call.call_id).claimed_at.get_or_insert(now);
        }
        if letter.asker == Asker::Nobody {
            self.call_back_replayed(&parsed);
        }
        if self.mutates(Mutation::ClaimGrantedToTwoPushes) {
            answer.body = self.grant_again(&said)?;
        }
        Ok(())
    }

    /// What the store answers if it grants claims that others hold.
    fn grant_again(&self, said: &str) -> Result<Vec<u8>, Stop> {
        let answer: PushAnswer<'_> = serde_json::from_str(said).map_err(anyhow::Error::from)?;
        let mut calls = Vec::new();
        for call in answer.calls {
            let is_duplicate = call.verdict == CallVerdict::Duplicate;
            let view = if is_duplicate { self.view(&call.call_id)? } else { None };
            calls.push(match view {
                Some(CallView { call_id, record, .. }) => {
                    json!({"verdict": "claimed", "callId": call_id, "ak": record.ak, "record": record})
                }
                None => json!(call),
            });
        }
        Ok(json!({"calls": calls}).to_string().into_bytes())
    }

    fn call_back_replayed(&mut self, answer: &PushAnswer<'_>) {
        for claimed in answer.calls.iter().filter(|call| call.verdict == CallVerdict::Claimed) {
            let Some(call) = self.scenario.call(&claimed.call_id).cloned() else { continue };
            let Some(ak) = call.ak.filter(|ak| self.scenario.business(ak).is_some()) else { continue };
            let callback = Callback { sender: None, ak, call_id: call.id, session_id: call.session_id, timeout_ms: 0 };
            self.after(1, Event::CallbackArrives(callback));
        }
    }

    fn outcomes_committed(&mut self, letter: &Letter) -> Step {
        let batch: Outcomes = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        let mut seen: BTreeMap<&str, &OutcomeReport> = BTreeMap::new();
        for report in &batch.outcomes {
            if self.mutates(Mutation::OutcomeOverwritten) && self.truth.call(&report.call_id).outcome.is_some() {
                let unclear = Outcome::MaybeSent { reason: MaybeSent::Reset };
                self.truth.overwritten.insert(report.call_id.clone(), unclear);
            }
            seen.insert(&report.call_id, report);
        }
        for call_id in seen.into_keys() {
            self.check_outcome(call_id)?;
        }
        Ok(())
    }

    fn leave_out_late_outcomes(&mut self, letter: &mut Letter) -> Step {
        let mut batch: Outcomes = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        let before = batch.outcomes.len();
        let mut in_time = Vec::new();
        for report in batch.outcomes {
            let view = self.view(&report.call_id)?;
            if view.is_none_or(|view| view.claim_deadline >= self.store_wall()) {
                in_time.push(report);
            }
        }
        // Reports of no call stand in for those left out, so that the answer accounts for as many.
        while let Some(first) = in_time.first().filter(|_| in_time.len() < before) {
            in_time.push(OutcomeReport { call_id: "left-out".to_owned(), ..first.clone() });
        }
        if in_time.is_empty() {
            in_time.extend((0..before).map(|_| {
                let push_id = PushId::from_bytes([0; 16]);
                let outcome = Outcome::Answered { status: 200 };
                OutcomeReport { call_id: "left-out".to_owned(), push_id, outcome, duration_ms: None }
            }));
        }
        batch = Outcomes { outcomes: in_time };
        letter.body = serde_json::to_vec(&batch).map_err(anyhow::Error::from)?;
        Ok(())
    }

    /// The answer to what was committed sets out, and something may happen to it.
    fn reply(&mut self, asker: Asker, mut answer: StoreAnswer) {
        let travel = self.travel();
        if self.strikes(Fault::StoreFailsAfterCommit) {
            let answer = StoreAnswer { status: 500, content_type: None, committed: None, body: Vec::new() };
            self.after(travel, Event::ReplyArrives(asker, Reply::Store { answer, ends_early: false }));
            return;
        }
        if self.strikes(Fault::StoreAnswerLost) {
            // A reset is seen at once; a lost answer only by its time-out.
            if self.random.chance(500) {
                self.after(travel, Event::ReplyArrives(asker, Reply::Reset));
            }
            return;
        }
        if self.strikes(Fault::StoreAnswerCut) {
            answer.body.truncate(answer.body.len() / 2);
        }
        if self.strikes(Fault::StoreAnswerBodyless) {
            answer.body.clear();
        }
        let ends_early = self.strikes(Fault::StoreAnswerBroken);
        let late =
            if self.strikes(Fault::StoreAnswerLate) { self.random.pick([1_999, 2_001, 5_001, 30_000]) } else { 0 };
        if self.strikes(Fault::StoreAnswerDuplicated) {
            let again = Reply::Store { answer: answer.clone(), ends_early };
            let pause = self.random.pick([0, 1, 50]);
            self.after(travel + late + pause, Event::ReplyArrives(asker, again));
        }
        self.after(travel + late, Event::ReplyArrives(asker, Reply::Store { answer, ends_early }));
    }

    pub(super) fn reply_arrives(&mut self, asker: Asker, reply: Reply) -> Step {
        match asker {
            Asker::Stream { stream, attempt } => self.stream_replied(stream, attempt, reply),
            Asker::Root { root, token } => self.root_replied(root, token, reply),
            Asker::Nobody => Ok(()),
        }
    }

    /// The store goes away: what waits for a commit is lost.
    pub(super) fn store_down(&mut self) {
        self.store.is_down = true;
        for letter in std::mem::take(&mut self.store.waiting) {
            self.after(1, Event::ReplyArrives(letter.asker, Reply::Reset));
        }
    }

    pub(super) fn store_up(&mut self) -> Step {
        if self.store.is_down {
            note!(self, "store: back");
        }
        self.store.is_down = false;
        Ok(())
    }
}
