//! The store's place in the world: what goes wrong before and behind the real store.

use std::collections::{BTreeMap, BTreeSet};

use privatenumber_contract::{
    CallDetail, CallResult, CallVerdict, CallView, MaybeSent, Outcome, OutcomeReport, Outcomes, PushAnswer, PushBatch,
    PushBatchAnswer, PushId, PushResult, PushVerdict, paths,
};
use serde_json::{Map, Value, json};

use super::event::{Asker, Event, Letter, Reply};
use super::gateway::{all_refused, claimed};
use super::requests::Request;
use super::works::granted;
use super::{World, note, wall};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, check};
use crate::scenario::Variant;
use crate::store::{MachineTime, Store, StoreAnswer, StoreRequest};

/// See the [module](self).
pub struct StoreSide<'s> {
    pub store: &'s Store,
    /// Away: nobody listens.
    pub is_down: bool,
    /// How far its wall clock is off.
    pub wall_offset: i64,
    /// Whether that clock ever jumped.
    pub has_jumped: bool,
    /// What waits for the next commit.
    waiting: Vec<Letter>,
    is_committing: bool,
    /// The status with which batches are refused, and until when.
    pub refuses_batches: Option<(u16, u64)>,
    /// Until when it refuses requests for works so.
    pub refuses_works_until: u64,
    /// Until then one of two stores hangs.
    pub hangs_until: u64,
    /// The answer to an earlier batch.
    earlier_answer: Option<Vec<u8>>,
    /// The answer to an earlier request for works.
    pub earlier_works: Option<Vec<u8>>,
    /// What operators and businesses ask for, which waits for the next commit.
    pub requests: Vec<Request>,
}

impl<'s> StoreSide<'s> {
    pub fn new(store: &'s Store) -> Self {
        Self {
            store,
            is_down: false,
            wall_offset: 0,
            has_jumped: false,
            waiting: Vec::new(),
            is_committing: false,
            refuses_batches: None,
            refuses_works_until: 0,
            hangs_until: 0,
            earlier_answer: None,
            earlier_works: None,
            requests: Vec::new(),
        }
    }

    /// The time at its machine.
    pub fn time(&self, elapsed_ms: u64) -> MachineTime {
        MachineTime { wall_ms: wall(elapsed_ms, self.wall_offset), elapsed_ms }
    }

    /// Empties it: a run begins.
    pub fn begin(&self, elapsed_ms: u64) -> Result<(), Stop> {
        Ok(self.store.begin(self.time(elapsed_ms))?)
    }

    /// What the real store answers.
    pub fn serve_now(&self, requests: &[StoreRequest<'_>], elapsed_ms: u64) -> Result<Vec<StoreAnswer>, Stop> {
        Ok(self.store.serve(requests, self.time(elapsed_ms))?)
    }
}

impl World<'_> {
    pub(super) fn register_bindings(&mut self) -> Step {
        for binding in self.scenario.bindings.iter().filter(|binding| binding.comes_at == Some(0)) {
            let path = format!("{}/{}", paths::BINDINGS, binding.id);
            let body = serde_json::to_vec(&binding.row).map_err(anyhow::Error::from)?;
            let request = StoreRequest { method: "PUT", path: &path, body: &body };
            let answers = self.store.serve_now(&[request], self.now)?;
            if !answers.iter().all(|answer| (200..300).contains(&answer.status)) {
                return Err(Stop::Failed(anyhow::anyhow!("a binding was refused: {answers:?}")));
            }
            self.truth.bound.insert(binding.id.clone());
        }
        Ok(())
    }

    /// The time as the store knows it.
    pub(super) fn store_now(&self) -> i64 {
        self.store.store.now_ms(self.store.time(self.now))
    }

    /// A call as the store shows it now.
    pub(super) fn view(&self, call_id: &str) -> Result<Option<CallView>, Stop> {
        self.store_view_at(call_id, self.store_now())
    }

    /// A call as the store shows it at that moment, epoch milliseconds.
    pub(super) fn store_view_at(&self, call_id: &str, now_ms: i64) -> Result<Option<CallView>, Stop> {
        let mut view = self.store.store.call(call_id, now_ms)?.map(|detail| detail.call);
        if let (Some(view), Some(overwritten)) = (&mut view, self.truth.overwritten.get(call_id)) {
            view.outcome = Some(*overwritten);
        }
        Ok(view)
    }

    /// A call with its history as the store shows it now.
    pub(super) fn detail(&self, call_id: &str) -> Result<Option<CallDetail>, Stop> {
        Ok(self.store.store.call(call_id, self.store_now())?)
    }

    /// The CDRs of this run that are parked, and the numbers they have in the store.
    pub(super) fn parked_cdrs(&self) -> Result<Vec<(usize, i64)>, Stop> {
        let limit = u32::try_from(self.scenario.cdrs.len()).unwrap_or(u32::MAX);
        let parked = self.store.store.parked(limit)?;
        let number = |text: &str| parked.iter().find(|known| known.raw.expose() == text).map(|known| known.number);
        let cdrs = self.scenario.cdrs.iter().enumerate();
        Ok(cdrs.filter_map(|(index, cdr)| Some((index, number(&cdr.text)?))).collect())
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
        if self.now < self.store.hangs_until && self.random.chance(500) {
            // Given up by then, and executed later now and then.
            if self.random.chance(300) {
                let pause = self.random.pick([2_000, 10_000, 70_000]);
                self.after(pause, Event::LetterArrives(letter));
            }
            return Ok(());
        }
        if let Some((status, until)) = self.store.refuses_batches
            && (letter.path == paths::PUSH_BATCHES && self.now < until
                || letter.path == paths::WORK_TAKE && self.now < self.store.refuses_works_until)
            && (status != 413 || letter.push_ids.len() > 1)
        {
            self.answer_error(letter.asker, status);
            return Ok(());
        }
        if letter.path == paths::PUSH_BATCHES && letter.push_ids.len() == 1 && self.strikes(Fault::BatchRetry) {
            let mut answer = all_refused(&letter.push_ids, letter.path);
            let text = String::from_utf8_lossy(&answer.body);
            answer.body = text.replace("\"refused\"", "\"retry\"").into_bytes();
            self.after(1, Event::ReplyArrives(letter.asker, Reply::Store { answer, ends_early: false }));
            return Ok(());
        }
        if self.strikes(Fault::StoreRequestLost) {
            if self.random.chance(500) {
                self.after(1, Event::ReplyArrives(letter.asker, Reply::Reset));
            }
            return Ok(());
        }
        if self.strikes(Fault::StoreFailsBeforeCommit) {
            self.answer_error(letter.asker, 503);
            return Ok(());
        }
        if self.mutates(Mutation::BadCdrLost) {
            let mut body: Value = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
            for push in pushes_of(&mut body, "appKey") {
                push.remove("parked");
            }
            letter.body = body.to_string().into_bytes();
        }
        if is_claims(letter.path) {
            self.mutate_signatures(&mut letter)?;
        }
        if self.mutates(Mutation::LateOutcomeRefused) && letter.path == paths::OUTCOMES {
            self.leave_out_late_outcomes(&mut letter)?;
        }
        note!(self, "store: request to {} of {:?} waits for a commit", letter.path, letter.asker);
        self.store.waiting.push(letter);
        self.commit_soon();
        Ok(())
    }

    /// What waits will be committed.
    pub(super) fn commit_soon(&mut self) {
        if !self.store.is_committing {
            self.store.is_committing = true;
            let took = if self.strikes(Fault::StoreSlow) {
                self.random.pick([50, 500, 3_000, 20_000])
            } else {
                self.random.pick([0, 1, 1, 5])
            };
            self.after(took, Event::Commit);
        }
    }

    /// The real store commits what waits, all together.
    pub(super) fn commit(&mut self) -> Step {
        self.store.is_committing = false;
        let letters = std::mem::take(&mut self.store.waiting);
        let requests = std::mem::take(&mut self.store.requests);
        if letters.is_empty() && requests.is_empty() {
            return Ok(());
        }
        self.figures.commits += 1;
        let letters = self.without_poison(letters);
        let mut withheld = Vec::new();
        let mut bodies = Vec::new();
        for letter in &letters {
            let (body, ids) = self.withhold(letter)?;
            bodies.push(body);
            withheld.push(ids);
        }
        let (alone, together): (Vec<_>, Vec<_>) = requests.into_iter().partition(Request::reads_first);
        let sent = letters.iter().zip(&bodies);
        let sent = sent.map(|(letter, body)| StoreRequest { method: "POST", path: letter.path, body });
        let sent: Vec<_> = sent.chain(together.iter().map(Request::as_sent)).collect();
        let mut answers = self.store.serve_now(&sent, self.now)?;
        let mut answered: Vec<_> = together.into_iter().zip(answers.split_off(letters.len())).collect();
        for request in alone {
            let answer = self.store.serve_now(&[request.as_sent()], self.now)?;
            answered.extend(answer.into_iter().map(|answer| (request.clone(), answer)));
        }
        self.requests_committed(&answered)?;
        self.mutate_group(&letters, &mut answers)?;
        for ((letter, mut answer), withheld) in letters.iter().zip(answers).zip(withheld) {
            note!(self, "store: {} of {:?} comes to {}", letter.path, letter.asker, answer.status);
            if answer.status != 200 && !self.mutates(Mutation::RefusedByState) {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(Stop::Broken(Promise::P2Kept, format!("the store refuses {}: {said}", letter.path)));
            }
            match letter.path {
                paths::OUTCOMES => self.outcomes_committed(letter)?,
                paths::WORK_TAKE => self.works_committed(letter, &mut answer)?,
                _ => self.pushes_committed(letter, &answer)?,
            }
            if letter.path == paths::PUSH_BATCHES {
                self.disturb(&withheld, &mut answer)?;
            }
            self.reply(letter, answer);
        }
        Ok(())
    }

    /// An error of the store, as a problem document.
    fn answer_error(&mut self, asker: Asker, status: u16) {
        let problem = json!({"type": "about:blank", "title": "It does not work", "status": status});
        let answer = StoreAnswer {
            status,
            content_type: Some(b"application/problem+json".to_vec()),
            committed: None,
            body: problem.to_string().into_bytes(),
        };
        self.after(1, Event::ReplyArrives(asker, Reply::Store { answer, ends_early: false }));
    }

    /// Answers requests with a push that the store cannot stomach, and returns the others.
    fn without_poison(&mut self, letters: Vec<Letter>) -> Vec<Letter> {
        let is_poison =
            |world: &Self, letter: &Letter| letter.push_ids.iter().any(|push_id| world.truth.poison.contains(push_id));
        if !letters.iter().any(|letter| is_poison(self, letter)) {
            return letters;
        }
        self.faults.count(Fault::PoisonPush, 1);
        let fails_all = self.mutates(Mutation::GroupNotBisected);
        let (poisoned, good): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| is_poison(self, letter) || fails_all && is_claims(letter.path));
        for letter in poisoned {
            note!(self, "store: request of {:?} holds a push that it cannot stomach", letter.asker);
            if self.mutates(Mutation::NeverHalved) {
                self.truth.poison.extend(&letter.push_ids);
            }
            let is_alone = letter.push_ids.len() == 1;
            let never_alone = self.mutates(Mutation::NeverHalved);
            if is_alone && self.now >= self.scenario.poison_until && !fails_all && !never_alone {
                self.answer_error(letter.asker, 422);
            } else if self.random.chance(500) {
                self.answer_error(letter.asker, 500);
            } else {
                let answer = StoreAnswer { status: 200, content_type: None, committed: None, body: b"{".to_vec() };
                self.after(1, Event::ReplyArrives(letter.asker, Reply::Store { answer, ends_early: true }));
            }
        }
        good
    }

    /// Takes pushes out of a batch of which the store is to say `retry`. Returns what is left, and what was taken out.
    fn withhold(&mut self, letter: &Letter) -> Result<(Vec<u8>, Vec<PushId>), Stop> {
        let mut taken = Vec::new();
        if letter.path != paths::PUSH_BATCHES || !self.strikes(Fault::BatchRetry) {
            return Ok((letter.body.clone(), taken));
        }
        let mut batch: PushBatch<'_> = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        batch.pushes.retain(|push| {
            let stays = self.random.chance(500);
            if !stays {
                taken.push(push.push_id);
            }
            stays
        });
        if batch.pushes.is_empty() {
            return Ok((letter.body.clone(), Vec::new()));
        }
        Ok((serde_json::to_vec(&batch).map_err(anyhow::Error::from)?, taken))
    }

    /// Makes the mistakes of a store in what a group comes to.
    fn mutate_group(&mut self, letters: &[Letter], answers: &mut [StoreAnswer]) -> Step {
        let of_group: BTreeSet<String> = if self.mutates(Mutation::GroupNotDeduplicated) {
            answers.iter().flat_map(|answer| claimed(&answer.body)).collect()
        } else {
            BTreeSet::new()
        };
        for (letter, answer) in letters.iter().zip(answers) {
            if !is_claims(letter.path) {
                continue;
            }
            let known = |push_id: &PushId| self.truth.committed.contains(push_id);
            match self.mutation {
                Some(Mutation::ClaimGrantedToTwoPushes) => self.grant_again(letter, answer, |_, _| Ok(true))?,
                Some(Mutation::GroupNotDeduplicated) => {
                    self.grant_again(letter, answer, |id, _| Ok(of_group.contains(id)))?;
                }
                Some(Mutation::EarlierIdNotRetired) => {
                    self.grant_again(letter, answer, |id, push_id| self.held_before(id, push_id))?;
                }
                Some(Mutation::RefusedByState) if letter.push_ids.iter().any(known) => {
                    *answer = all_refused(&letter.push_ids, letter.path);
                }
                Some(Mutation::DuplicateToOwnPushId) if letter.push_ids.iter().any(known) => {
                    let text = String::from_utf8_lossy(&answer.body);
                    answer.body = text.replace("\"claimed\"", "\"duplicate\"").into_bytes();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pushes_committed(&mut self, letter: &Letter, answer: &StoreAnswer) -> Step {
        if letter.path == paths::PUSHES && answer.status == 200 {
            self.truth.committed.extend(&letter.push_ids);
        } else if answer.status == 200 {
            let read: PushBatchAnswer<'_> = serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
            let committed = read.pushes.iter().filter(|result| result.verdict == PushVerdict::Committed);
            self.truth.committed.extend(committed.map(|result| result.push_id));
        }
        let now = self.now;
        self.progressed_at = now;
        for (push_id, call_id) in calls_with(CallVerdict::Held, letter, &answer.body) {
            self.is_held_for(push_id, call_id)?;
        }
        for call_id in claimed(&answer.body) {
            self.check_time_to_live(letter, &call_id)?;
            self.claim_committed(&call_id);
            if letter.asker == Asker::Nobody {
                self.call_back_besides(&call_id);
            }
        }
        Ok(())
    }

    /// P3: whatever the clock of its gateway shows, a claim lasts for what the gateway is configured to ask for.
    fn check_time_to_live(&self, letter: &Letter, call_id: &str) -> Step {
        let view = self.view(call_id)?.filter(|view| letter.push_ids.contains(&view.push_id));
        // A store that makes mistakes may say so of a claim that another push holds.
        let Some(view) = view else { return Ok(()) };
        let left = view.claim_deadline.saturating_sub(self.store_now());
        let asked_for = |variant: &Variant| variant.config.store.claim_deadline_ms == left.unsigned_abs();
        let is_right = self.scenario.variants.iter().any(asked_for);
        check(Promise::P3Accounted, left > 0 && is_right, || format!("the claim of call {call_id} lasts {left} ms"))
    }

    /// What may happen to the answer to a batch that is otherwise right.
    fn disturb(&mut self, withheld: &[PushId], answer: &mut StoreAnswer) -> Step {
        let strikes = [
            self.strikes(Fault::BatchPartial),
            self.strikes(Fault::BatchReordered),
            self.strikes(Fault::BatchNamesTwice),
            self.strikes(Fault::BatchMisrouted),
        ];
        let [partial, reordered, twice, misrouted] = strikes;
        if strikes.contains(&true) || !withheld.is_empty() {
            let said = std::mem::take(&mut answer.body);
            let mut read: PushBatchAnswer<'_> = serde_json::from_slice(&said).map_err(anyhow::Error::from)?;
            read.pushes.extend(withheld.iter().map(|push_id| PushResult {
                push_id: *push_id,
                verdict: PushVerdict::Retry,
                calls: Vec::new(),
                problem: None,
            }));
            if partial {
                read.pushes.retain(|_| self.random.chance(500));
            }
            if reordered {
                self.random.shuffle(&mut read.pushes);
            }
            if twice {
                let again = read.pushes.first().cloned();
                read.pushes.extend(again);
            }
            answer.body = serde_json::to_vec(&read).map_err(anyhow::Error::from)?;
        }
        let earlier = self.store.earlier_answer.replace(answer.body.clone());
        if let Some(earlier) = earlier.filter(|_| misrouted) {
            answer.body = earlier;
        }
        Ok(())
    }

    /// What the store answers if it grants claims that others hold. `grants`: whether it does, by call and push.
    fn grant_again(
        &self,
        letter: &Letter,
        answer: &mut StoreAnswer,
        grants: impl Fn(&str, &str) -> Result<bool, Stop>,
    ) -> Step {
        let mut body: Value = serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
        for push in pushes_of(&mut body, "calls") {
            let alone = letter.push_ids.first().map(ToString::to_string);
            let push_id = push.get("pushId").and_then(Value::as_str).map(str::to_owned).or(alone).unwrap_or_default();
            let calls = push.get_mut("calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten() {
                let verdict = call.get("verdict").and_then(Value::as_str).unwrap_or_default();
                let call_id = call.get("callId").and_then(Value::as_str).unwrap_or_default().to_owned();
                if !["duplicate", "held"].contains(&verdict) || !grants(&call_id, &push_id)? {
                    continue;
                }
                if let Some(view) = self.view(&call_id)? {
                    *call = granted(&view)?;
                }
            }
        }
        answer.body = body.to_string().into_bytes();
        Ok(())
    }

    fn outcomes_committed(&mut self, letter: &Letter) -> Step {
        self.progressed_at = self.now;
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
            if view.is_none_or(|view| view.claim_deadline >= self.store_now()) {
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
                let outcome = Outcome::Delivered { status: 200 };
                OutcomeReport { call_id: "left-out".to_owned(), push_id, outcome, duration_ms: None }
            }));
        }
        batch = Outcomes { outcomes: in_time };
        letter.body = serde_json::to_vec(&batch).map_err(anyhow::Error::from)?;
        Ok(())
    }

    /// Makes the mistakes that lie in what the store is told of a signature.
    fn mutate_signatures(&self, letter: &mut Letter) -> Step {
        if !self.mutates(Mutation::NonceLeftOut) && !self.mutates(Mutation::SignatureForgotten) {
            return Ok(());
        }
        let mut body: Value = serde_json::from_slice(&letter.body).map_err(anyhow::Error::from)?;
        for push in pushes_of(&mut body, "appKey") {
            if self.mutates(Mutation::SignatureForgotten) {
                push.remove("signature");
            } else if let Some(signature) = push.get_mut("signature").and_then(Value::as_object_mut) {
                signature.insert("hash".to_owned(), json!("0".repeat(32)));
            }
        }
        letter.body = body.to_string().into_bytes();
        Ok(())
    }

    /// The answer to what was committed sets out, and something may happen to it.
    fn reply(&mut self, letter: &Letter, mut answer: StoreAnswer) {
        let (asker, travel) = (letter.asker, self.travel());
        let is_large = letter.push_ids.len() > self.scenario.answer_pushes;
        if letter.path == paths::PUSH_BATCHES && is_large && self.strikes(Fault::BatchAnswerTooLarge) {
            self.after(travel, Event::ReplyArrives(asker, Reply::Store { answer, ends_early: true }));
            return;
        }
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
        for request in std::mem::take(&mut self.store.requests) {
            self.request_lost(&request);
        }
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

/// Whether claims of pushes are asked for there.
pub(super) fn is_claims(path: &str) -> bool {
    [paths::PUSHES, paths::PUSH_BATCHES].contains(&path)
}

/// The calls with that verdict in the answer to a push or a batch, each with its push.
fn calls_with(verdict: CallVerdict, letter: &Letter, body: &[u8]) -> Vec<(PushId, String)> {
    let of = |push_id: PushId, calls: &[CallResult<'_>]| -> Vec<(PushId, String)> {
        let wanted = calls.iter().filter(|call| call.verdict == verdict);
        wanted.map(|call| (push_id, call.call_id.to_string())).collect()
    };
    if let Ok(answer) = serde_json::from_slice::<PushBatchAnswer<'_>>(body) {
        return answer.pushes.iter().flat_map(|result| of(result.push_id, &result.calls)).collect();
    }
    let Ok(answer) = serde_json::from_slice::<PushAnswer<'_>>(body) else { return Vec::new() };
    letter.push_ids.first().map(|push_id| of(*push_id, &answer.calls)).unwrap_or_default()
}

/// The pushes, or what is said of them, in a body about one, which has that member, or about several.
fn pushes_of<'a>(body: &'a mut Value, member: &str) -> Vec<&'a mut Map<String, Value>> {
    let Value::Object(object) = body else { return Vec::new() };
    if object.contains_key(member) {
        return vec![object];
    }
    let several = object.get_mut("pushes").and_then(Value::as_array_mut);
    several.into_iter().flatten().filter_map(Value::as_object_mut).collect()
}
