//! What a worker that asks for works is granted inside a transaction.

use std::collections::HashMap;

use privatenumber_contract::{CallVerdict, Private, PushId, Record, WorkRequest, limits};
use serde_json::value::RawValue;

use super::EngineError;
use super::binding_rows::{bindings_of, joined};
use super::transaction::{DueWork, GrantRow, Renewal, Transaction};
use super::work::{Bindings, CallDone, Slot, WorksDone};

/// What a work takes of an answer besides its record and its `ak`, bytes, and more.
const ENTRY_BYTES: usize = 128;

/// How often due works are looked for, where all that were found belong to paused businesses.
const LOOKS: usize = 20;

/// A work that is granted now.
struct Granted {
    call_id: String,
    push_id: PushId,
    claim_deadline: i64,
    ak: Option<String>,
    record: Box<RawValue>,
}

/// Grants works, those first that are due longest. An id that asked before is given those of its works that have no outcome, and never
/// further ones: what it did not hear of would be lost among them. That holds for an id that was given nothing, too: its worker has
/// heard so, and no longer waits for what a late copy of its request is granted.
pub(super) fn apply_takes<T: Transaction>(
    transaction: &mut T,
    slots: &mut [&mut Slot<WorkRequest>],
    now_ms: i64,
) -> Result<(), EngineError> {
    // Who asks twice at once is answered twice the same.
    let mut asked: Vec<WorkRequest> = Vec::with_capacity(slots.len());
    for slot in slots.iter() {
        if !asked.iter().any(|other| other.push_id == slot.work.push_id) {
            asked.push(slot.work);
        }
    }
    let ids: Vec<PushId> = asked.iter().map(|request| request.push_id).collect();
    let mut held = transaction.works_of(&ids)?;
    held.retain(|_, works| works.ever_asked);
    let mut calls: HashMap<PushId, Vec<CallDone>> = renew(transaction, &asked, held, now_ms)?;

    let fresh: Vec<WorkRequest> = asked.into_iter().filter(|request| !calls.contains_key(&request.push_id)).collect();
    let granted = grant(transaction, &fresh, now_ms)?;
    for work in granted {
        let done = claimed(work.call_id, work.ak, work.record);
        calls.entry(work.push_id).or_default().push(done);
    }
    for request in fresh.iter().filter(|request| !calls.contains_key(&request.push_id)) {
        transaction.note_empty_handed(request.push_id);
    }
    for slot in slots {
        let calls = calls.get(&slot.work.push_id).cloned().unwrap_or_default();
        slot.result = Some(Ok(WorksDone { calls, works_waiting: 0 }));
    }
    Ok(())
}

fn claimed(call_id: String, ak: Option<String>, record: Box<RawValue>) -> CallDone {
    CallDone { verdict: CallVerdict::Claimed, call_id, ak, record: Some(Private::new(record)) }
}

/// The works that ids have taken before, whose time to live begins again.
fn renew<T: Transaction>(
    transaction: &mut T,
    asked: &[WorkRequest],
    mut held: HashMap<PushId, super::transaction::WorksOf>,
    now_ms: i64,
) -> Result<HashMap<PushId, Vec<CallDone>>, EngineError> {
    let mut renewals = Vec::new();
    for request in asked {
        let claim_deadline = now_ms.saturating_add_unsigned(request.ttl_ms);
        for work in held.get(&request.push_id).into_iter().flat_map(|held| &held.works) {
            renewals.push(Renewal { call_id: &work.call_id, push_id: request.push_id, claim_deadline });
        }
    }
    if !renewals.is_empty() {
        transaction.renew(&renewals)?;
    }
    drop(renewals);
    let mut calls = HashMap::with_capacity(held.len());
    for (push_id, works) in held.drain() {
        let mut done = Vec::with_capacity(works.works.len());
        for DueWork { call_id, ak, record } in works.works {
            done.push(claimed(call_id, ak, RawValue::from_string(record).map_err(EngineError::corrupt)?));
        }
        calls.insert(push_id, done);
    }
    Ok(calls)
}

/// Grants due works to those who never had any, each as many as it asks for and as its answer has room for.
fn grant<T: Transaction>(transaction: &mut T, asked: &[WorkRequest], now_ms: i64) -> Result<Vec<Granted>, EngineError> {
    let most: usize = asked.iter().map(most_of).sum();
    if most == 0 {
        return Ok(Vec::new());
    }
    let mut due = due(transaction, most, now_ms)?.into_iter().peekable();
    let mut granted = Vec::new();
    for request in asked {
        let claim_deadline = now_ms.saturating_add_unsigned(request.ttl_ms);
        let (mut number, mut room) = (0, limits::ANSWER_BYTES - ENTRY_BYTES);
        while number < most_of(request)
            && let Some(next) = due.peek()
        {
            let bytes = next.bytes();
            // A work alone is given whatever its size.
            if number > 0 && bytes > room {
                break;
            }
            let Some(Built { call_id, ak, record }) = due.next() else { break };
            granted.push(Granted { call_id, push_id: request.push_id, claim_deadline, ak, record });
            number += 1;
            room = room.saturating_sub(bytes);
        }
    }
    let rows: Vec<GrantRow<'_>> = granted
        .iter()
        .map(|work| GrantRow {
            call_id: &work.call_id,
            push_id: work.push_id,
            claim_deadline: work.claim_deadline,
            ak: work.ak.as_deref(),
            record: work.record.get(),
        })
        .collect();
    if !rows.is_empty() {
        transaction.grant_works(&rows, now_ms)?;
    }
    drop(rows);
    Ok(granted)
}

/// Works that are due, with the records that they are granted with. Those of paused businesses are not any more: they wait.
fn due<T: Transaction>(transaction: &mut T, most: usize, now_ms: i64) -> Result<Vec<Built>, EngineError> {
    let paused = transaction.paused()?;
    for _ in 0..LOOKS {
        let mut works = Vec::new();
        for work in transaction.due_works(most, now_ms)? {
            let record: Record = serde_json::from_str(&work.record).map_err(EngineError::corrupt)?;
            works.push((work, record));
        }
        let bindings = bindings_of(transaction, works.iter().map(|(_, record)| record.subscription_id.as_deref()))?;
        let mut due = Vec::with_capacity(works.len());
        for (work, record) in works {
            due.push(build(work, record, &bindings, now_ms)?);
        }
        let is_paused = |built: &Built| built.ak.as_ref().is_some_and(|ak| paused.contains(ak));
        let (waiting, due): (Vec<_>, Vec<_>) = due.into_iter().partition(is_paused);
        if waiting.is_empty() {
            return Ok(due);
        }
        let waiting: Vec<_> =
            waiting.iter().filter_map(|built| Some((built.call_id.as_str(), built.ak.as_deref()?))).collect();
        transaction.wait_for_businesses(&waiting)?;
        if !due.is_empty() {
            return Ok(due);
        }
    }
    // There are more works than can be looked at in one transaction. The answer says that works wait, so the worker asks again.
    Ok(Vec::new())
}

/// A work with the record that it is granted with.
struct Built {
    call_id: String,
    ak: Option<String>,
    record: Box<RawValue>,
}

impl Built {
    /// What it takes of an answer.
    fn bytes(&self) -> usize {
        // Escaped, a character takes up to six bytes.
        let ak = self.ak.as_deref().map_or(0, str::len).saturating_mul(6);
        self.record.get().len().saturating_add(ak).saturating_add(ENTRY_BYTES)
    }
}

/// The record as it is now: with the newest row of the binding, else from the CDR.
fn build(work: DueWork, call: Record, bindings: &Bindings, now_ms: i64) -> Result<Built, EngineError> {
    let call = Record { ak: call.ak.or(work.ak), ..call };
    let record = joined(&call, bindings, now_ms);
    let text = serde_json::value::to_raw_value(&record).map_err(EngineError::corrupt)?;
    Ok(Built { call_id: work.call_id, ak: record.ak, record: text })
}

/// How many works a request may be granted.
fn most_of(request: &WorkRequest) -> usize {
    usize::try_from(request.most).unwrap_or(usize::MAX).min(limits::WORKS)
}
