//! What a group of works does inside a transaction: who is granted a claim, which outcome counts, what a binding's next version is.
//!
//! All works of a group wait at the same moment, so nobody can tell in which order they are done. Registrations come first, so that a
//! push finds the newest row; then outcomes, so that a claim asked for again after its outcome is a duplicate; then pushes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use privatenumber_contract::{Binding, CallVerdict, OutcomeReport, Private, PushId, RegisteredBinding};
use serde_json::value::RawValue;

use super::EngineError;
use super::transaction::{BindingRow, CallRow, Renewal, TextRow, Transaction};
use super::work::{
    BindingDone, BindingWork, Bindings, CallDone, CallWork, NewCall, OutcomeResult, OutcomesDone, PushDone, PushWork,
    Slot, TextWork, Unit,
};
use crate::record;

/// Does `units` inside `transaction`, at the time `now_ms` (epoch milliseconds), and fills in their results.
pub(crate) fn apply<'a, 'u: 'a, T: Transaction>(
    transaction: &mut T,
    units: impl Iterator<Item = &'a mut Unit<'u>>,
    now_ms: i64,
) -> Result<(), EngineError> {
    let (mut pushes, mut outcomes, mut bindings, mut checks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for unit in units {
        match unit {
            Unit::Push(slot) => pushes.push(&mut **slot),
            Unit::Outcomes(slot) => outcomes.push(&mut **slot),
            Unit::Binding(slot) => bindings.push(&mut **slot),
            Unit::Readiness(slot) => checks.push(&mut **slot),
        }
    }
    if !bindings.is_empty() {
        apply_bindings(transaction, &mut bindings, now_ms)?;
    }
    if !outcomes.is_empty() {
        apply_outcomes(transaction, &mut outcomes, now_ms)?;
    }
    if !pushes.is_empty() {
        apply_pushes(transaction, &mut pushes, now_ms)?;
    }
    if !checks.is_empty() {
        transaction.write_readiness(now_ms)?;
        checks.into_iter().for_each(|check| check.result = Some(Ok(())));
    }
    Ok(())
}

fn apply_pushes<T: Transaction>(
    transaction: &mut T,
    pushes: &mut [&mut Slot<PushWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    let works: Vec<&PushWork> = pushes.iter().map(|slot| &slot.work).collect();
    let calls = apply_calls(transaction, &works, now_ms)?;
    let parked = works.iter().enumerate().flat_map(|(index, work)| {
        let unusable = work.calls.iter().filter_map(|call| match call {
            CallWork::Usable(_) => None,
            CallWork::Unusable { parked, .. } => Some(parked),
        });
        unusable.chain(&work.parked).map(move |text| (index, text))
    });
    let parked = keep_texts(&works, parked, now_ms, |rows| transaction.park(rows))?;
    let events = works.iter().enumerate().filter_map(|(index, work)| Some((index, work.event.as_ref()?)));
    let events = keep_texts(&works, events, now_ms, |rows| transaction.keep_events(rows))?;

    let mut done: Vec<PushDone> = calls.into_iter().map(|calls| PushDone { calls, ..PushDone::default() }).collect();
    for (index, new) in parked {
        if let Some(done) = done.get_mut(index) {
            if new { done.parked_new += 1 } else { done.parked_repeated += 1 }
        }
    }
    for (index, new) in events {
        if let Some(done) = done.get_mut(index) {
            done.event_new = Some(new);
        }
    }
    for (slot, done) in pushes.iter_mut().zip(done) {
        slot.result = Some(Ok(done));
    }
    Ok(())
}

/// Who holds a call's claim once the group is done.
struct Holder {
    push_id: PushId,
    has_outcome: bool,
    ak: Option<String>,
    record: Box<RawValue>,
    /// Whether the group recorded it, so that its deadline is new.
    new: bool,
}

/// The rule of P1: the claim goes to the first push that asks, and again to the same push while there is no outcome, with the record
/// that is kept, whatever the deadline.
fn apply_calls<T: Transaction>(
    transaction: &mut T,
    works: &[&PushWork],
    now_ms: i64,
) -> Result<Vec<Vec<CallDone>>, EngineError> {
    let holders = holders(transaction, works, now_ms)?;
    let mut duplicates: HashMap<&str, i64> = HashMap::new();
    let mut renewals: HashMap<&str, Renewal<'_>> = HashMap::new();
    let mut done = Vec::with_capacity(works.len());
    for work in works {
        let mut results: Vec<CallDone> = Vec::with_capacity(work.calls.len());
        for call in &work.calls {
            let result = match call {
                CallWork::Unusable { call_id, .. } => {
                    CallDone { verdict: CallVerdict::Parked, call_id: call_id.clone(), ak: None, record: None }
                }
                CallWork::Usable(call) => {
                    // A call that the push names twice is claimed for its first mention only, now and whenever the push asks again.
                    let first_mention = !results.iter().any(|result| result.call_id == call.call_id);
                    let holder = holders.get(call.call_id.as_str()).ok_or(EngineError::Conflict)?;
                    if first_mention && holder.push_id == work.push_id && !holder.has_outcome {
                        if !holder.new && matches!(call.lasts, super::work::Lasts::For(_)) {
                            let claim_deadline = call.lasts.deadline(now_ms);
                            let call_id = call.call_id.as_str();
                            renewals.insert(call_id, Renewal { call_id, push_id: work.push_id, claim_deadline });
                        }
                        claimed(call, holder)
                    } else {
                        *duplicates.entry(&call.call_id).or_default() += 1;
                        let call_id = call.call_id.clone();
                        CallDone { verdict: CallVerdict::Duplicate, call_id, ak: None, record: None }
                    }
                }
            };
            results.push(result);
        }
        done.push(results);
    }
    if !renewals.is_empty() {
        transaction.renew(&renewals.into_values().collect::<Vec<_>>())?;
    }
    if !duplicates.is_empty() {
        transaction.count_duplicates(&duplicates.into_iter().collect::<Vec<_>>())?;
    }
    Ok(done)
}

fn claimed(call: &NewCall, holder: &Holder) -> CallDone {
    CallDone {
        verdict: CallVerdict::Claimed,
        call_id: call.call_id.clone(),
        ak: holder.ak.clone(),
        record: Some(Private::new(holder.record.clone())),
    }
}

/// Records the calls that are new, and says of every call of the group who holds its claim.
fn holders<'w, T: Transaction>(
    transaction: &mut T,
    works: &[&'w PushWork],
    now_ms: i64,
) -> Result<HashMap<&'w str, Holder>, EngineError> {
    // The first mention of each call in the group; only that can be recorded.
    let mut firsts: Vec<(&PushWork, &NewCall)> = Vec::with_capacity(works.len());
    let mut holders: HashMap<&str, Holder> = HashMap::with_capacity(works.len());
    let mut seen = std::collections::HashSet::with_capacity(works.len());
    for work in works {
        for call in &work.calls {
            if let CallWork::Usable(call) = call
                && seen.insert(call.call_id.as_str())
            {
                firsts.push((work, call));
            }
        }
    }
    if firsts.is_empty() {
        return Ok(holders);
    }
    let bindings = bindings_of(transaction, &firsts)?;
    let mut prepared = Vec::with_capacity(firsts.len());
    for (_, call) in &firsts {
        prepared.push(prepare(call, &bindings, now_ms)?);
    }
    let rows: Vec<CallRow<'_>> = firsts
        .iter()
        .zip(&prepared)
        .map(|((work, call), (ak, record))| CallRow {
            call,
            push_id: work.push_id,
            received_at: work.received.at(now_ms),
            claim_deadline: call.lasts.deadline(now_ms),
            ak: ak.as_deref(),
            record: record.get(),
        })
        .collect();
    let inserted = transaction.insert_calls(&rows, now_ms)?;
    drop(rows);
    let mut met = Vec::new();
    for (((work, call), (ak, record)), inserted) in firsts.into_iter().zip(prepared).zip(inserted) {
        if inserted {
            let holder = Holder { push_id: work.push_id, has_outcome: false, ak, record, new: true };
            holders.insert(&call.call_id, holder);
        } else {
            met.push(call.call_id.as_str());
        }
    }
    if !met.is_empty() {
        let mut claims = transaction.claims(&met)?;
        for call_id in met {
            // Neither recorded now nor there before: another writer's row that is not visible yet. Never a duplicate.
            let claim = claims.remove(call_id).ok_or(EngineError::Conflict)?;
            let record = RawValue::from_string(claim.record).map_err(EngineError::corrupt)?;
            let (push_id, has_outcome, ak) = (claim.push_id, claim.has_outcome, claim.ak);
            holders.insert(call_id, Holder { push_id, has_outcome, ak, record, new: false });
        }
    }
    Ok(holders)
}

fn bindings_of<T: Transaction>(transaction: &mut T, calls: &[(&PushWork, &NewCall)]) -> Result<Bindings, EngineError> {
    let mut ids: Vec<&str> = calls.iter().filter_map(|(_, call)| call.record.subscription_id.as_deref()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() { Ok(Bindings::new()) } else { transaction.bindings(&ids) }
}

/// The `ak` and the record as JSON of a call that may be new.
fn prepare(call: &NewCall, bindings: &Bindings, now_ms: i64) -> Result<(Option<String>, Box<RawValue>), EngineError> {
    let binding = call.record.subscription_id.as_deref().and_then(|id| bindings.get(id));
    let mut record = match binding {
        Some(registered) => record::with_binding(&call.record, &registered.binding),
        None => call.record.clone(),
    };
    record.updated_at = Some(now_ms);
    let text = serde_json::value::to_raw_value(&record).map_err(EngineError::corrupt)?;
    Ok((record.ak, text))
}

/// Keeps texts, each once; says for each mention which work it belongs to and whether the text was new.
fn keep_texts<'w>(
    works: &[&'w PushWork],
    texts: impl Iterator<Item = (usize, &'w TextWork)>,
    now_ms: i64,
    keep: impl FnOnce(&[TextRow<'w>]) -> Result<Vec<bool>, EngineError>,
) -> Result<Vec<(usize, bool)>, EngineError> {
    let mut rows: Vec<TextRow<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    // For each mention: its work, its row, and whether the group mentioned the text before.
    let mut mentions = Vec::new();
    for (index, text) in texts {
        let Some(work) = works.get(index) else { continue };
        let place = *places.entry(&text.digest).or_insert(rows.len());
        mentions.push((index, place, place < rows.len()));
        match rows.get_mut(place) {
            Some(row) => {
                // Asked again by the same push: not a further push.
                row.repetitions += i64::from(row.last_push != work.push_id);
                row.last_push = work.push_id;
            }
            None => rows.push(TextRow {
                text,
                app_key: &work.app_key,
                received_at: work.received.at(now_ms),
                first_push: work.push_id,
                last_push: work.push_id,
                repetitions: 0,
            }),
        }
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let new = keep(&rows)?;
    let is_new = |place: usize| new.get(place).copied().unwrap_or_default();
    Ok(mentions.into_iter().map(|(index, place, repeated)| (index, !repeated && is_new(place))).collect())
}

/// The first outcome wins, however late: a deadline that has passed is no outcome.
fn apply_outcomes<T: Transaction>(
    transaction: &mut T,
    batches: &mut [&mut Slot<Vec<OutcomeReport>>],
    now_ms: i64,
) -> Result<(), EngineError> {
    let mut places: HashMap<(&str, PushId), usize> = HashMap::new();
    let mut firsts: Vec<&OutcomeReport> = Vec::new();
    // For each report of each batch: its place among the first reports, and whether it is that one.
    let mut mentions: Vec<Vec<(usize, bool)>> = Vec::with_capacity(batches.len());
    for batch in batches.iter() {
        let places = batch.work.iter().map(|report| match places.entry((report.call_id.as_str(), report.push_id)) {
            Entry::Occupied(place) => (*place.get(), false),
            Entry::Vacant(free) => {
                firsts.push(report);
                (*free.insert(firsts.len() - 1), true)
            }
        });
        mentions.push(places.collect());
    }
    let written = if firsts.is_empty() { Vec::new() } else { transaction.write_outcomes(&firsts, now_ms)? };
    let mut left: Vec<&str> = firsts
        .iter()
        .zip(&written)
        .filter_map(|(report, written)| (!written).then_some(report.call_id.as_str()))
        .collect();
    left.sort_unstable();
    left.dedup();
    let claims = if left.is_empty() { HashMap::new() } else { transaction.claims(&left)? };
    let results: Vec<OutcomeResult> = firsts
        .iter()
        .zip(written)
        .map(|(report, written)| match claims.get(&report.call_id) {
            _ if written => OutcomeResult::Recorded,
            Some(claim) if claim.push_id == report.push_id => OutcomeResult::Repeated,
            _ => OutcomeResult::Refused,
        })
        .collect();
    for (batch, mentions) in batches.iter_mut().zip(mentions) {
        let mut done = OutcomesDone::default();
        for (place, first) in mentions {
            let result = match results.get(place).copied().unwrap_or(OutcomeResult::Refused) {
                OutcomeResult::Recorded if !first => OutcomeResult::Repeated,
                result => result,
            };
            match result {
                OutcomeResult::Recorded => done.answer.recorded += 1,
                OutcomeResult::Repeated => done.answer.repeated += 1,
                OutcomeResult::Refused => done.answer.refused += 1,
            }
            done.results.push(result);
        }
        batch.result = Some(Ok(done));
    }
    Ok(())
}

fn apply_bindings<T: Transaction>(
    transaction: &mut T,
    works: &mut [&mut Slot<BindingWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    let mut ids: Vec<&str> = works.iter().map(|slot| slot.work.subscription_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut latest = transaction.bindings(&ids)?;
    let mut written: Vec<(String, i64, String)> = Vec::new();
    for slot in works.iter_mut() {
        let id = &slot.work.subscription_id;
        let binding = Binding { subscription_id: Some(id.clone()), ..slot.work.binding.clone() };
        let (created, version) = match latest.get(id) {
            Some(registered) if registered.binding == binding => {
                let registered = registered.clone();
                slot.result = Some(Ok(BindingDone { registered, created: false, changed: false }));
                continue;
            }
            Some(registered) => (false, registered.version.saturating_add(1)),
            None => (true, 1),
        };
        written.push((id.clone(), version, serde_json::to_string(&binding).map_err(EngineError::corrupt)?));
        let registered = RegisteredBinding { version, registered_at: now_ms, binding, history: Vec::new() };
        latest.insert(id.clone(), registered.clone());
        slot.result = Some(Ok(BindingDone { registered, created, changed: true }));
    }
    if written.is_empty() {
        return Ok(());
    }
    let rows: Vec<BindingRow<'_>> = written
        .iter()
        .map(|(subscription_id, version, binding)| BindingRow { subscription_id, version: *version, binding })
        .collect();
    transaction.insert_bindings(&rows, now_ms)
}
