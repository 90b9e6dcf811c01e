//! Outcomes the store has yet to take: sent in batches, one batch at a time, kept until the store has them.

use std::collections::VecDeque;

use privatenumber_contract::{OutcomeReport, Outcomes};

use super::backoff;
use crate::admission::Permit;
use crate::config;
use crate::now::Now;

/// One outcome; its call stays pending until the store has it.
#[derive(Debug)]
pub(crate) struct PendingOutcome {
    pub report: OutcomeReport,
    /// Held for its `Drop`.
    _permit: Permit,
    /// Monotonic milliseconds.
    since: u64,
}

/// Outcomes that travel together.
#[derive(Debug)]
pub(crate) struct Batch {
    outcomes: Vec<PendingOutcome>,
    body: Vec<u8>,
    pub sent_at: u64,
}

impl Batch {
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn len(&self) -> usize {
        self.outcomes.len()
    }
}

/// What has become of callbacks and is not known to the store.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<PendingOutcome>,
    /// How many outcomes travel.
    travelling: usize,
    attempts: u32,
    /// Not before this monotonic moment: the pause after a failure.
    not_before: u64,
}

impl Backlog {
    pub fn add(&mut self, report: OutcomeReport, permit: Permit, now: Now) {
        self.waiting.push_back(PendingOutcome { report, _permit: permit, since: now.monotonic_ms });
    }

    /// When the next batch is due; `None` while one travels or there is nothing to send.
    pub fn due(&self, store: &config::Store, draining: bool) -> Option<u64> {
        let oldest = self.waiting.front().filter(|_| self.travelling == 0)?;
        let is_full = self.waiting.len() >= store.outcome_batch_size;
        let ready = if is_full || draining { 0 } else { oldest.since.saturating_add(store.outcome_batch_delay_ms) };
        Some(ready.max(self.not_before))
    }

    pub fn take(&mut self, store: &config::Store, draining: bool, now: Now) -> Option<Batch> {
        self.due(store, draining).filter(|due| *due <= now.monotonic_ms)?;
        let count = self.waiting.len().min(store.outcome_batch_size);
        let outcomes: Vec<_> = self.waiting.drain(..count).collect();
        let body = Outcomes { outcomes: outcomes.iter().map(|pending| pending.report.clone()).collect() };
        self.travelling = outcomes.len();
        // Names and numbers only: serialising cannot fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        Some(Batch { outcomes, body, sent_at: now.monotonic_ms })
    }

    /// The store has dealt with the batch, for good or ill.
    pub fn landed(&mut self, batch: Batch) {
        drop(batch);
        self.travelling = 0;
        self.attempts = 0;
        self.not_before = 0;
    }

    /// The store has not taken the batch; it waits again, ahead of the others. Returns the attempts so far and the pause.
    pub fn failed(&mut self, batch: Batch, store: &config::Store, seed: u64, now: Now) -> (u32, u64) {
        for outcome in batch.outcomes.into_iter().rev() {
            self.waiting.push_front(outcome);
        }
        self.travelling = 0;
        self.attempts = self.attempts.saturating_add(1);
        let pause = backoff::pause(store.retry_initial_ms, store.retry_max_ms, self.attempts, seed);
        self.not_before = now.monotonic_ms.saturating_add(pause);
        (self.attempts, pause)
    }

    /// How many outcomes the store has yet to take.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.travelling
    }
}
