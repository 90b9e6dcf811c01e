//! A group: works that wait together are committed together.

use super::apply::apply;
use super::transaction::{Transaction, WriteEngine};
use super::work::Waiting;
use super::{EngineError, WriteError};

/// How often a group is tried when another writer came in between.
const ATTEMPTS_AT_A_CONFLICT: u32 = 10;

/// Commits `works` in one transaction and fills in what each came to; the result of one that nobody waits for any more stays empty.
///
/// If one of them cannot be stored, nothing of that transaction is kept and each half is tried in a transaction of its own, so that
/// in the end it alone fails. If the database as a whole cannot be written, all that are left fail and nothing of them is kept.
pub(crate) fn commit<E: WriteEngine>(engine: &mut E, works: &mut [Waiting<'_>], now_after: &dyn Fn(i64) -> i64) {
    // Halves that are still to be tried, the next one last.
    let mut left = vec![works];
    while let Some(works) = left.pop() {
        let Err(error) = attempt_over_conflicts(engine, works, now_after) else { continue };
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
) -> Result<(), WriteError> {
    for _ in 0..ATTEMPTS_AT_A_CONFLICT {
        match attempt(engine, works, now_after) {
            Err(Failure::Engine(EngineError::Conflict)) => {
                works.iter_mut().for_each(|waiting| waiting.unit.forget());
            }
            Err(Failure::Engine(EngineError::Unavailable(reason))) => return Err(WriteError::Unavailable(reason)),
            Err(Failure::Engine(EngineError::Statement(reason))) => return Err(WriteError::Refused(reason)),
            Err(Failure::Commit(error)) => return Err(error),
            Ok(()) => return Ok(()),
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
) -> Result<(), Failure> {
    let mut transaction = engine.begin().map_err(Failure::Engine)?;
    // The transaction may have waited for a lock. Whoever left meanwhile was promised nothing and asks again: what nobody waits for
    // is not committed, so that a dead gateway's claims do not become `unknown`.
    let mut awaited = works.iter_mut().filter(|waiting| waiting.requester.waits()).peekable();
    if awaited.peek().is_none() {
        return Ok(());
    }
    // Whatever became of the clock, of this process or another: what is committed later is never recorded as earlier.
    let now_ms = now_after(transaction.latest_time().map_err(Failure::Engine)?);
    apply(&mut transaction, awaited.map(|waiting| &mut waiting.unit), now_ms).map_err(Failure::Engine)?;
    transaction.commit().map_err(|error| Failure::Commit(error.into()))
}
