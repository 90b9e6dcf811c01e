//! With `--batch`: pushes and outcomes that wait to share a request to the store, as they do in the filter.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privatenumber_contract::limits::{ANSWER_BYTES, BATCH_BYTES, CALL_ANSWER_BYTES};
use privatenumber_contract::{OutcomeReport, PushId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::service::Received;

/// So many pushes that wait are sent at once.
const PUSHES: usize = 16;
/// A push waits that long for others at most.
const PUSH_DELAY: Duration = Duration::from_millis(2);
/// So many calls that wait are sent at once: the answer to more could be larger than the store's largest.
const CALLS: usize = ANSWER_BYTES / CALL_ANSWER_BYTES;
/// So many batches are at the store at a time.
const IN_FLIGHT: usize = 4;
/// A batch that is older no longer counts among those: one store of several that hangs is not to stop everything.
const YOUNG: Duration = Duration::from_millis(250);
/// So many outcomes that wait are sent at once.
const OUTCOMES: usize = 100;
/// An outcome waits that long for others at most.
const OUTCOME_DELAY: Duration = Duration::from_millis(20);

/// A push that waits for its verdict.
pub struct Waiting {
    /// Under which its claims are asked for.
    pub push_id: PushId,
    /// When it came.
    pub received: Received,
    /// The push as JSON, without its age.
    pub text: Vec<u8>,
    /// How many calls it asks for.
    pub calls: usize,
    /// Room for its calls.
    pub pending: OwnedSemaphorePermit,
    /// Who answers Huawei.
    pub answered: oneshot::Sender<Result<(), Refusal>>,
}

/// Pushes that are sent together.
pub struct Batch {
    number: u64,
    /// At least one.
    pub pushes: Vec<Waiting>,
}

impl Batch {
    /// The body of a [`PushBatch`](privatenumber_contract::PushBatch) that is sent now.
    pub fn body(&self) -> Vec<u8> {
        let length: usize = self.pushes.iter().map(|push| push.text.len() + 32).sum();
        let mut body = Vec::with_capacity(length + 16);
        body.extend_from_slice(b"{\"pushes\":[");
        for (index, push) in self.pushes.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(format!("{{\"ageMs\":{},", push.received.age_ms()).as_bytes());
            body.extend_from_slice(push.text.get(1..).unwrap_or_default());
        }
        body.extend_from_slice(b"]}");
        body
    }
}

/// What is to be done about the pushes that wait.
pub enum Due {
    /// Send this batch, then ask again.
    Batch(Batch),
    /// Ask again at this moment.
    At(Instant),
    /// Nothing: somebody asks again anyway.
    Nothing,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Instant, Waiting)>,
    /// The batches at the store.
    in_flight: Vec<(u64, Instant)>,
    sent: u64,
    /// When somebody asks again.
    asks_again: Option<Instant>,
}

/// Pushes that wait to be sent.
#[derive(Default)]
pub struct Pushes(Mutex<Queue>);

impl Pushes {
    /// One more.
    pub fn add(&self, push: Waiting) {
        lock(&self.0).waiting.push_back((Instant::now(), push));
    }

    /// The answer to this batch is there, or none will come.
    pub fn ended(&self, batch: &Batch) {
        lock(&self.0).in_flight.retain(|(number, _)| *number != batch.number);
    }

    /// What is to be done now.
    pub fn due(&self) -> Due {
        let now = Instant::now();
        let mut queue = lock(&self.0);
        queue.asks_again = queue.asks_again.filter(|at| *at > now);
        let Some(oldest) = queue.waiting.front().map(|(since, _)| *since) else { return Due::Nothing };
        let mut young = queue.in_flight.iter().map(|(_, sent)| *sent + YOUNG).filter(|until| *until > now);
        let crowded = young.clone().count() >= IN_FLIGHT;
        let again = match young.next() {
            Some(no_longer_young) if crowded => no_longer_young,
            _ if queue.is_full() || oldest + PUSH_DELAY <= now => return Due::Batch(queue.take(now)),
            _ => oldest + PUSH_DELAY,
        };
        if queue.asks_again.is_some_and(|at| at <= again) {
            return Due::Nothing;
        }
        queue.asks_again = Some(again);
        Due::At(again)
    }
}

impl Queue {
    /// How many of those that wait fit into one batch, and whether that is as much as a batch takes.
    fn fitting(&self) -> (usize, bool) {
        let (mut pushes, mut calls, mut bytes) = (0, 0, 0);
        for (_, push) in &self.waiting {
            calls += push.calls;
            bytes += push.text.len() + 32;
            if pushes > 0 && (calls > CALLS || bytes > BATCH_BYTES) {
                return (pushes, true);
            }
            pushes += 1;
            if pushes == PUSHES || calls >= CALLS {
                return (pushes, true);
            }
        }
        (pushes, false)
    }

    fn is_full(&self) -> bool {
        self.fitting().1
    }

    fn take(&mut self, now: Instant) -> Batch {
        let (pushes, _) = self.fitting();
        self.sent += 1;
        self.in_flight.push((self.sent, now));
        Batch { number: self.sent, pushes: self.waiting.drain(..pushes).map(|(_, push)| push).collect() }
    }
}

/// Outcomes that wait to be sent, each with the room that its call takes until then.
#[derive(Default)]
pub struct Outcomes(Mutex<WaitingOutcomes>);

#[derive(Default)]
struct WaitingOutcomes {
    reports: Vec<OutcomeReport>,
    pending: Vec<OwnedSemaphorePermit>,
    oldest: Option<Instant>,
    somebody_waits: bool,
}

/// Outcomes that are sent together. The calls' room is free when this is dropped.
pub struct Reports {
    /// At least one.
    pub reports: Vec<OutcomeReport>,
    _pending: Vec<OwnedSemaphorePermit>,
}

/// What is to be done about the outcomes that wait.
pub enum OutcomesDue {
    /// Send them.
    Reports(Reports),
    /// Wait until this moment and [ask](Outcomes::after_waiting).
    Wait(Instant),
    /// Nothing: somebody waits already, or nothing is left.
    Nothing,
}

impl Outcomes {
    /// One more.
    pub fn add(&self, report: OutcomeReport, pending: OwnedSemaphorePermit) -> OutcomesDue {
        let mut waiting = lock(&self.0);
        waiting.reports.push(report);
        waiting.pending.push(pending);
        let oldest = *waiting.oldest.get_or_insert_with(Instant::now);
        if waiting.reports.len() >= OUTCOMES {
            return OutcomesDue::Reports(waiting.take());
        }
        if mem::replace(&mut waiting.somebody_waits, true) {
            return OutcomesDue::Nothing;
        }
        OutcomesDue::Wait(oldest + OUTCOME_DELAY)
    }

    /// What is to be done after [`OutcomesDue::Wait`], by whoever waited.
    pub fn after_waiting(&self) -> OutcomesDue {
        let mut waiting = lock(&self.0);
        match waiting.oldest {
            Some(oldest) if oldest + OUTCOME_DELAY > Instant::now() => OutcomesDue::Wait(oldest + OUTCOME_DELAY),
            oldest => {
                waiting.somebody_waits = false;
                if oldest.is_some() { OutcomesDue::Reports(waiting.take()) } else { OutcomesDue::Nothing }
            }
        }
    }
}

impl WaitingOutcomes {
    fn take(&mut self) -> Reports {
        self.oldest = None;
        Reports { reports: mem::take(&mut self.reports), _pending: mem::take(&mut self.pending) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privatenumber_contract::{PushBatch, PushId};
    use tokio::sync::{Semaphore, oneshot};
    use tokio::time::{Duration, advance};

    use super::{Batch, Due, Pushes, Waiting};
    use crate::service::Received;

    fn waiting(number: u8, calls: usize) -> Waiting {
        let push_id = PushId::from_bytes([number; 16]);
        Waiting {
            push_id,
            received: Received::now(),
            text: format!(r#"{{"pushId":"{push_id}","appKey":"app","receivedAt":1}}"#).into_bytes(),
            calls,
            pending: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
            answered: oneshot::channel().0,
        }
    }

    fn batch(pushes: &Pushes) -> Option<Batch> {
        if let Due::Batch(batch) = pushes.due() { Some(batch) } else { None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_leaves_when_it_is_full_or_two_milliseconds_old() {
        let pushes = Pushes::default();
        assert!(matches!(pushes.due(), Due::Nothing));
        pushes.add(waiting(0, 1));
        assert!(matches!(pushes.due(), Due::At(_)));
        assert!(matches!(pushes.due(), Due::Nothing), "somebody asks again already");
        advance(Duration::from_millis(2)).await;
        let sent = batch(&pushes).unwrap();
        let body = sent.body();
        assert_eq!(serde_json::from_slice::<PushBatch<'_>>(&body).unwrap().pushes[0].push_id, sent.pushes[0].push_id);
        for number in 1..=17 {
            pushes.add(waiting(number, 1));
        }
        let sent = batch(&pushes).unwrap();
        let body = sent.body();
        assert_eq!(serde_json::from_slice::<PushBatch<'_>>(&body).unwrap().pushes.len(), 16);
        assert!(batch(&pushes).is_none(), "one is left, and young");
    }

    #[tokio::test(start_paused = true)]
    async fn four_young_batches_are_at_the_store_at_a_time_and_none_asks_for_too_much() {
        let pushes = Pushes::default();
        for number in 0..6 {
            pushes.add(waiting(number, 50));
        }
        let sent: Vec<_> = (0..4).map(|_| batch(&pushes).unwrap()).collect();
        assert!(sent.iter().all(|batch| batch.pushes.len() == 1), "the answer to two could be too large");
        assert!(batch(&pushes).is_none());
        pushes.ended(&sent[2]);
        assert!(batch(&pushes).is_some());
        advance(Duration::from_millis(250)).await;
        assert!(batch(&pushes).is_some(), "those at the store are old now");
    }
}
