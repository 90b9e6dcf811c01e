//! Huawei: pushes CDRs in batches, and again on its schedule, in other batches.

use std::collections::BTreeSet;

use privatenumber_sim::huawei::RetrySchedule;

use super::event::{Event, StreamId};
use super::stream::{SignedPush, Stream};
use super::{World, note};
use crate::fault::Fault;
use crate::promise::Step;
use crate::scenario::Scenario;

/// What is due within this is pushed together, milliseconds: repetitions of different pushes meet.
const TOGETHER_MS: u64 = 5_000;

/// Huawei puts no more CDRs into one push.
pub const MOST_CDRS: usize = 50;

/// Where one CDR stands with Huawei.
#[derive(Clone, Debug)]
pub struct CdrState {
    /// When it was, or will be, pushed first.
    pub first: u64,
    /// How often it was pushed on schedule.
    pub attempts: usize,
    /// When it is pushed next; `None` while a push is under way, once it is answered, and once it is given up.
    pub due: Option<u64>,
    /// Whether a push of it was answered 200, completely.
    pub is_answered: bool,
    /// The push that brought it last, by the number of its signature.
    pub signature: Option<usize>,
    /// When the last attempt began.
    pub last_attempt: u64,
    /// Whether its last attempt could not succeed although nothing was wrong any more.
    pub is_excused: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Huawei {
    pub cdrs: Vec<CdrState>,
    pub streams: StreamId,
    /// What each signature was made for.
    signed: Vec<Signed>,
}

/// A push as it was signed.
#[derive(Clone, Debug)]
struct Signed {
    application: usize,
    batch: Vec<usize>,
}

impl Huawei {
    pub fn new(scenario: &Scenario) -> Self {
        let state = |at| CdrState {
            first: at,
            attempts: 0,
            due: Some(at),
            is_answered: false,
            signature: None,
            last_attempt: 0,
            is_excused: false,
        };
        Self { cdrs: scenario.cdrs.iter().map(|cdr| state(cdr.at)).collect(), streams: 0, signed: Vec::new() }
    }
}

impl World<'_> {
    pub(super) fn pushes_due(&mut self) -> Step {
        for application in 0..self.scenario.applications.len() {
            let mut due: Vec<usize> = Vec::new();
            for (index, (state, cdr)) in self.huawei.cdrs.iter().zip(&self.scenario.cdrs).enumerate() {
                if cdr.application == application && state.due.is_some_and(|due| due <= self.now) {
                    due.push(index);
                }
            }
            self.push_as_before(&mut due)?;
            self.random.shuffle(&mut due);
            let mut rest = due.as_slice();
            while !rest.is_empty() {
                let size = self.random.between(1, self.scenario.batch as u64);
                let (batch, others) = rest.split_at(usize::try_from(size).unwrap_or(1).min(rest.len()));
                rest = others;
                let mut batch = batch.to_vec();
                if batch.len() < MOST_CDRS && self.strikes(Fault::CdrDoubled) {
                    batch.extend(batch.first().copied());
                }
                let signature = self.sign(application, &batch);
                self.push(&batch, application, signature, true)?;
                if self.strikes(Fault::PushDoubled) {
                    self.push(&batch, application, signature, false)?;
                }
            }
        }
        Ok(())
    }

    /// Pushes again, in the same bodies under the same signatures, some of the batches that are due as a whole.
    fn push_as_before(&mut self, due: &mut Vec<usize>) -> Step {
        let last: BTreeSet<usize> = due.iter().filter_map(|index| self.huawei.cdrs.get(*index)?.signature).collect();
        for signature in last {
            let Some(Signed { application, batch }) = self.huawei.signed.get(signature).cloned() else { continue };
            let is_last =
                |index: &usize| self.huawei.cdrs.get(*index).is_some_and(|state| state.signature == Some(signature));
            let is_due = batch.iter().all(|index| due.contains(index) && is_last(index));
            if is_due && self.random.chance(400) {
                due.retain(|index| !batch.contains(index));
                self.figures.retried_as_before += 1;
                self.push(&batch, application, signature, true)?;
            }
        }
        Ok(())
    }

    /// A signature for the batch: its own, or one that another had before it.
    fn sign(&mut self, application: usize, batch: &[usize]) -> usize {
        let of_same = |signed: &(usize, &Signed)| signed.1.application == application;
        let earlier: Vec<_> = self.huawei.signed.iter().enumerate().filter(of_same).map(|(number, _)| number).collect();
        if !earlier.is_empty() && self.strikes(Fault::SignatureReused) {
            let number = self.random.index(earlier.len());
            return earlier.get(number).copied().unwrap_or(0);
        }
        self.huawei.signed.push(Signed { application, batch: batch.to_vec() });
        self.huawei.signed.len() - 1
    }

    /// Pushes a batch to any gateway. `counts`: whether it is the push by whose answer Huawei decides what to repeat.
    pub(super) fn push(&mut self, batch: &[usize], application: usize, signature: usize, counts: bool) -> Step {
        if counts {
            for index in batch.iter().collect::<BTreeSet<_>>() {
                if let Some(state) = self.huawei.cdrs.get_mut(*index) {
                    state.attempts += 1;
                    state.signature = Some(signature);
                    state.due = None;
                    state.last_attempt = self.now;
                }
            }
        }
        let gateway = self.random.index(self.gateways.len());
        let Some(root) = self.current_root(gateway) else {
            note!(self, "huawei: gateway {gateway} is not there for {batch:?}");
            self.push_ended(batch, counts, None, false, false);
            return Ok(());
        };
        self.huawei.streams += 1;
        let id = self.huawei.streams;
        note!(
            self,
            "huawei: push {id} of {batch:?} signed {signature} to gateway {gateway} root {root}, counts: {counts}"
        );
        let texts: Vec<_> =
            batch.iter().filter_map(|index| self.scenario.cdrs.get(*index)).map(|cdr| cdr.text.as_str()).collect();
        let body = format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, texts.join(",")).into_bytes();
        let signed = SignedPush { application, signature, batch: batch.to_vec() };
        self.streams.insert(id, Stream::new(root, gateway, signed, counts, body, self.now));
        if let Some(root) = self.roots.get_mut(&root) {
            root.streams += 1;
        }
        let travel = self.travel();
        self.after(travel, Event::PushHeaders(id));
        if self.strikes(Fault::PusherGone) {
            let patience = self.random.pick([0, 1, 2, 4, 8, 20, 1_000, 3_000]);
            self.after(travel + patience, Event::PusherGone(id));
        }
        Ok(())
    }

    /// A push is over for Huawei, with the status it saw and whether the answer was complete.
    pub(super) fn push_ended(
        &mut self,
        batch: &[usize],
        counts: bool,
        status: Option<u16>,
        is_complete: bool,
        is_excused: bool,
    ) {
        *self.figures.pushes.entry(status.unwrap_or(0)).or_default() += 1;
        let is_good = status == Some(200) && is_complete;
        let mut repeated = Vec::new();
        for index in batch.iter().collect::<BTreeSet<_>>() {
            let Some(state) = self.huawei.cdrs.get_mut(*index) else { continue };
            state.is_answered |= is_good;
            if !counts {
                continue;
            }
            state.is_excused = is_excused;
            if is_good {
                if self.faults.strikes(Fault::PushRepeated, &mut self.random) {
                    repeated.push(*index);
                }
                continue;
            }
            let pause = state.attempts.checked_sub(1).and_then(|index| RetrySchedule::REAL.offsets().nth(index));
            let Some(pause) = pause else { continue };
            let due = state.first.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            let due = due.max(self.now + 1_000).div_ceil(TOGETHER_MS) * TOGETHER_MS;
            state.due = Some(due);
            self.queue.put(due, Event::PushesDue);
        }
        for index in repeated {
            if let Some(state) = self.huawei.cdrs.get_mut(index) {
                let due = self.now + self.random.pick([1, 10, 60_000, 240_000]);
                state.due = Some(due);
                // It was answered: the repetition does not use up an attempt.
                state.attempts = state.attempts.saturating_sub(1);
                self.queue.put(due, Event::PushesDue);
            }
        }
    }
}
