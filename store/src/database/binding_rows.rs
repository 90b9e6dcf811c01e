//! The binding rows of a group's calls, and the records that are made with them.

use privatenumber_contract::Record;

use super::EngineError;
use super::transaction::Transaction;
use super::work::Bindings;
use crate::record;

/// The bindings that are registered under these ids.
pub(super) fn bindings_of<'i, T: Transaction>(
    transaction: &mut T,
    ids: impl Iterator<Item = Option<&'i str>>,
) -> Result<Bindings, EngineError> {
    let mut ids: Vec<&str> = ids.flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() { Ok(Bindings::new()) } else { transaction.bindings(&ids) }
}

/// The record of `call` as it is at `now_ms` (epoch milliseconds): with the row of its binding, or from the CDR alone where there is none.
pub(super) fn joined(call: &Record, bindings: &Bindings, now_ms: i64) -> Record {
    let mut record = match call.subscription_id.as_deref().and_then(|id| bindings.get(id)) {
        Some(registered) => record::with_binding(call, &registered.binding),
        None => call.clone(),
    };
    record.updated_at = Some(now_ms);
    record
}
