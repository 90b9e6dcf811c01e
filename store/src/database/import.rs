//! What an import does inside a transaction: records calls that no push brought. A call that is there already stays as it is.

use std::collections::HashSet;

use privatenumber_contract::{Outcome, OutcomeReport, Skipped, WaitFor};

use super::EngineError;
use super::binding_rows::{bindings_of, joined};
use super::transaction::{CallRow, NOBODY, Transaction, WaitRow};
use super::work::{Bindings, ImportDone, ImportWork, NewCall, Slot};

/// A call that may be new, as it is recorded then.
struct Prepared<'w> {
    /// Its place among the calls of the work.
    place: usize,
    call: &'w NewCall,
    ak: Option<String>,
    record: String,
}

pub(super) fn apply_imports<T: Transaction>(
    transaction: &mut T,
    slots: &mut [&mut Slot<ImportWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    for slot in slots {
        slot.result = Some(Ok(import(transaction, &slot.work, now_ms)?));
    }
    Ok(())
}

fn import<T: Transaction>(transaction: &mut T, work: &ImportWork, now_ms: i64) -> Result<Vec<ImportDone>, EngineError> {
    // A call that is named twice is recorded by its first mention.
    let mut done = vec![ImportDone::AlreadyThere; work.calls.len()];
    let bindings = bindings_of(transaction, work.calls.iter().map(|call| call.record.subscription_id.as_deref()))?;
    let (mut prepared, mut ownerless, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (place, call) in work.calls.iter().enumerate() {
        if seen.insert(call.call_id.as_str()) {
            let call = prepare(place, call, &bindings, now_ms)?;
            let list = if work.release && call.ak.is_none() { &mut ownerless } else { &mut prepared };
            list.push(call);
        }
    }
    if !ownerless.is_empty() {
        let ids: Vec<&str> = ownerless.iter().map(|call| call.call.call_id.as_str()).collect();
        let there = transaction.claims(&ids)?;
        for (place, call) in work.calls.iter().enumerate() {
            let is_new = ids.contains(&call.call_id.as_str()) && !there.contains_key(&call.call_id);
            if let Some(done) = done.get_mut(place).filter(|_| is_new) {
                *done = ImportDone::NobodyToCallBack;
            }
        }
    }
    if prepared.is_empty() {
        return Ok(done);
    }
    let rows: Vec<CallRow<'_>> = prepared.iter().map(|call| call.row(now_ms)).collect();
    let inserted = transaction.insert_calls(&rows, now_ms)?;
    drop(rows);
    let mut new = Vec::with_capacity(prepared.len());
    for (Prepared { place, call, .. }, _) in prepared.iter().zip(inserted).filter(|(_, inserted)| *inserted) {
        new.push(call.call_id.as_str());
        if let Some(done) = done.get_mut(*place) {
            *done = ImportDone::Imported;
        }
    }
    if work.release {
        wait(transaction, &new, now_ms)?
    } else {
        skip(transaction, &new, now_ms)?
    }
    Ok(done)
}

fn prepare<'w>(place: usize, call: &'w NewCall, bindings: &Bindings, now_ms: i64) -> Result<Prepared<'w>, EngineError> {
    let record = joined(&call.record, bindings, now_ms);
    let text = serde_json::to_string(&record).map_err(EngineError::corrupt)?;
    Ok(Prepared { place, call, ak: record.ak, record: text })
}

impl Prepared<'_> {
    fn row(&self, now_ms: i64) -> CallRow<'_> {
        CallRow {
            call: self.call,
            push_id: NOBODY,
            received_at: now_ms,
            claim_deadline: now_ms,
            ak: self.ak.as_deref(),
            record: &self.record,
        }
    }
}

/// Lets new calls wait for a worker.
fn wait<T: Transaction>(transaction: &mut T, call_ids: &[&str], now_ms: i64) -> Result<(), EngineError> {
    let row = |call_id| WaitRow { call_id, waits_for: WaitFor::Released, due_at: Some(now_ms), brought_by: None };
    let rows: Vec<WaitRow<'_>> = call_ids.iter().copied().map(row).collect();
    if rows.is_empty() { Ok(()) } else { transaction.wait(&rows, now_ms) }
}

/// Ends new calls as skipped, so that an operator can release them.
fn skip<T: Transaction>(transaction: &mut T, call_ids: &[&str], now_ms: i64) -> Result<(), EngineError> {
    let report = |call_id: &&str| OutcomeReport {
        call_id: (*call_id).to_owned(),
        push_id: NOBODY,
        outcome: Outcome::Skipped { reason: Skipped::Imported },
        duration_ms: None,
    };
    let reports: Vec<OutcomeReport> = call_ids.iter().map(report).collect();
    if !reports.is_empty() {
        transaction.write_outcomes(&reports.iter().collect::<Vec<_>>(), now_ms)?;
    }
    Ok(())
}
