//! What pausing a business comes to inside a transaction.

use privatenumber_contract::BusinessView;

use super::EngineError;
use super::transaction::Transaction;
use super::work::{PauseWork, Slot};

/// How many calls of a business that resumes become due in one step: so a step delays other works by some milliseconds.
const STEP: usize = 1_000;

pub(super) fn apply_pauses<T: Transaction>(
    transaction: &mut T,
    slots: &mut [&mut Slot<PauseWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    // In their order: of two for one business the last one counts.
    for slot in slots {
        let PauseWork { ak, pause } = &slot.work;
        if *pause {
            transaction.pause(ak, now_ms)?;
        } else if transaction.resume(ak, now_ms)? {
            step(transaction, ak, now_ms)?;
        }
        let (paused_since, calls_waiting) = transaction.business(ak)?;
        slot.result = Some(Ok(BusinessView { ak: ak.clone(), paused_since, calls_waiting }));
    }
    Ok(())
}

/// Makes further calls of businesses that resume due.
pub(super) fn go_on<T: Transaction>(transaction: &mut T, now_ms: i64) -> Result<(), EngineError> {
    for ak in transaction.resuming()? {
        step(transaction, &ak, now_ms)?;
    }
    Ok(())
}

fn step<T: Transaction>(transaction: &mut T, ak: &str, now_ms: i64) -> Result<(), EngineError> {
    if transaction.make_due(ak, STEP, now_ms)? < STEP {
        transaction.resumed(ak)?;
    }
    Ok(())
}
