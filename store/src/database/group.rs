//! A group: works that wait together are committed together.

use std::sync::atomic::{AtomicBool, Ordering};

use super::apply::apply;
use super::keeping::{Dropped, Keeping};
use super::transaction::{Events, Transaction, WriteEngine};
use super::work::Waiting;
use super::{EngineError, WriteError};

/// How often a group is tried when another writer came in between.
const ATTEMPTS_AT_A_CONFLICT: u32 = 10;

/// What one transaction drops of the events at most, unless it brings more: some milliseconds of the writer's time.
const DROPPED_AT_ONCE: Events = Events { events: 256, bytes: 4 << 20 };

/// What is kept, and what the transaction before found of it.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) keeping: Keeping,
    /// Whether the events may take more than they may. Looked at by whatever transaction comes next.
    events_over: AtomicBool,
}

impl Upkeep {
    pub(crate) fn new(keeping: Keeping) -> Self {
        Self { keeping, events_over: AtomicBool::new(true) }
    }
}

/// Commits `works` in one transaction and fills in what each came to; the result of one that nobody waits for any more stays empty.
///
/// If one of them cannot be stored, nothing of that transaction is kept and each half is tried in a transaction of its own, so that
/// in the end it alone fails. If the database as a whole cannot be written, all that are left fail and nothing of them is kept.
pub(crate) fn commit<E: WriteEngine>(
    engine: &mut E,
    works: &mut [Waiting<'_>],
    now_after: &dyn Fn(i64) -> i64,
    upkeep: &Upkeep,
) -> Dropped {
    let mut all_dropped = Dropped::default();
    // Halves that are still to be tried, the next one last.
    let mut left = vec![works];
    while let Some(works) = left.pop() {
        let error = match attempt_over_conflicts(engine, works, now_after, upkeep) {
            Ok(dropped) => {
                all_dropped.events = all_dropped.events.saturating_add(dropped.events);
                continue;
            }
            Err(error) => error,
        };
        works.iter_mut().for_each(|waiting| waiting.unit.forget());
        match error {
            WriteError::Refused(reason) if works.len() > 1 => {
                tracing::warn!(works = works.len(), reason, "a group cannot be committed together, trying its halves");
                let (first, second) = works.split_at_mut(works.len() / 2);
                left.push(second);
                left.push(first);
            }
            WriteError::Unavailable(_) => {
                let all = left.drain(..).flatten().chain(works);
                all.for_each(|waiting| fail(waiting, &error));
            }
            WriteError::Refused(_) | WriteError::Unknown(_) => {
                works.iter_mut().for_each(|waiting| fail(waiting, &error));
            }
        }
    }
    all_dropped
}

fn fail(waiting: &mut Waiting<'_>, error: &WriteError) {
    if waiting.requester.waits() {
        waiting.unit.fail(error);
    }
}

fn attempt_over_conflicts<E: WriteEngine>(
    engine: &mut E,
    works: &mut [Waiting<'_>],
    now_after: &dyn Fn(i64) -> i64,
    upkeep: &Upkeep,
) -> Result<Dropped, WriteError> {
    for _ in 0..ATTEMPTS_AT_A_CONFLICT {
        match attempt(engine, works, now_after, upkeep) {
            Err(Failure::Engine(EngineError::Conflict)) => {
                works.iter_mut().for_each(|waiting| waiting.unit.forget());
            }
            Err(Failure::Engine(EngineError::Unavailable(reason))) => return Err(WriteError::Unavailable(reason)),
            Err(Failure::Engine(EngineError::Damaged(reason))) => {
                engine.is_damaged(&reason);
                return Err(WriteError::Unavailable(reason));
            }
            Err(Failure::Engine(EngineError::Statement(reason))) => return Err(WriteError::Refused(reason)),
            Err(Failure::Commit(error)) => return Err(error),
            Ok(dropped) => return Ok(dropped),
        }
    }
    Err(WriteError::Unavailable("another writer came in between each time".to_owned()))
}

enum Failure {
    Engine(EngineError),
    Commit(WriteError),
}

fn attempt<E: WriteEngine>(
    engine: &mut E,
    works: &mut [Waiting<'_>],
    now_after: &dyn Fn(i64) -> i64,
    upkeep: &Upkeep,
) -> Result<Dropped, Failure> {
    let mut transaction = engine.begin().map_err(Failure::Engine)?;
    // The transaction may have waited for a lock. Whoever left meanwhile was promised nothing and asks again: what nobody waits for
    // is not committed, so that a dead gateway's claims do not become `unknown`.
    let mut awaited = works.iter_mut().filter(|waiting| waiting.requester.waits()).peekable();
    if awaited.peek().is_none() {
        return Ok(Dropped::default());
    }
    // Whatever became of the clock, of this process or another: what is committed later is never recorded as earlier.
    let now_ms = now_after(transaction.latest_time().map_err(Failure::Engine)?);
    let days = upkeep.keeping.replay_days;
    let events =
        apply(&mut transaction, awaited.map(|waiting| &mut waiting.unit), now_ms, days).map_err(Failure::Engine)?;
    let over = events.events > 0 || upkeep.events_over.load(Ordering::Relaxed);
    let dropped = if over {
        // More than it brings, so that a budget that was lowered is reached.
        let most = Events {
            events: events.events.saturating_mul(2).max(DROPPED_AT_ONCE.events),
            bytes: events.bytes.saturating_mul(2).max(DROPPED_AT_ONCE.bytes),
        };
        Some(transaction.drop_events(upkeep.keeping.event_bytes, most).map_err(Failure::Engine)?)
    } else {
        None
    };
    transaction.commit().map_err(|error| Failure::Commit(error.into()))?;
    let Some(dropped) = dropped else { return Ok(Dropped::default()) };
    upkeep.events_over.store(dropped.more, Ordering::Relaxed);
    Ok(Dropped { events: dropped.events })
}
