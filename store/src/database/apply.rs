//! What a group of works does inside a transaction: who is granted a claim, which outcome counts, what a binding's next version is.
//!
//! All works of a group wait at the same moment, so nobody can tell in which order they are done. Registrations come first, so that a
//! push finds the newest row; then pauses; then outcomes, so that a claim asked for again after its outcome is a duplicate; then releases,
//! so that the push they retire is a duplicate as well; then pushes; then imports, so that a call which a push brings too is called back;
//! and works are granted last, so that a worker is given what just became one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use privatenumber_contract::{
    Binding, CallVerdict, Outcome, OutcomeReport, Private, PushId, RegisteredBinding, Skipped, WaitFor, WithoutBinding,
    limits,
};
use serde_json::value::RawValue;

use super::EngineError;
use super::binding_rows::{bindings_of, joined};
use super::import::apply_imports;
use super::later_cdrs::LaterCdrs;
use super::pause::{apply_pauses, go_on};
use super::release::{apply_parked_releases, apply_releases};
use super::replays::Replays;
use super::take::apply_takes;
use super::transaction::{BindingRow, CallRow, Events, NOBODY, Renewal, Standing, TextRow, Transaction, WaitRow};
use super::work::{
    BindingDone, BindingWork, Bindings, CallDone, CallWork, NewCall, OutcomeResult, OutcomesDone, PushDone, PushWork,
    Slot, TextWork, Unit, Work,
};

/// Does `units` inside `transaction`, at the time `now_ms` (epoch milliseconds), and fills in their results. Remembers signatures for
/// `replay_days` days. Returns the new events that it kept.
pub(crate) fn apply<'a, 'u: 'a, T: Transaction>(
    transaction: &mut T,
    units: impl Iterator<Item = &'a mut Unit<'u>>,
    now_ms: i64,
    replay_days: u32,
) -> Result<Events, EngineError> {
    let (mut pushes, mut outcomes, mut bindings, mut checks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut releases, mut parked_releases, mut imports, mut takes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut pauses = Vec::new();
    for unit in units {
        match unit {
            Unit::Push(slot) => pushes.push(&mut **slot),
            Unit::Outcomes(slot) => outcomes.push(&mut **slot),
            Unit::Binding(slot) => bindings.push(&mut **slot),
            Unit::Release(slot) => releases.push(&mut **slot),
            Unit::ParkedRelease(slot) => parked_releases.push(&mut **slot),
            Unit::Import(slot) => imports.push(&mut **slot),
            Unit::Pause(slot) => pauses.push(&mut **slot),
            Unit::Works(slot) => takes.push(&mut **slot),
            Unit::Readiness(slot) => checks.push(&mut **slot),
        }
    }
    if !bindings.is_empty() {
        apply_bindings(transaction, &mut bindings, now_ms)?;
    }
    if !pauses.is_empty() {
        apply_pauses(transaction, &mut pauses, now_ms)?;
    }
    if !outcomes.is_empty() {
        apply_outcomes(transaction, &mut outcomes, now_ms)?;
    }
    if !releases.is_empty() {
        apply_releases(transaction, &mut releases, now_ms)?;
    }
    if !parked_releases.is_empty() {
        apply_parked_releases(transaction, &mut parked_releases, now_ms)?;
    }
    let events = if pushes.is_empty() {
        Events::default()
    } else {
        apply_pushes(transaction, &mut pushes, now_ms, replay_days)?
    };
    if !imports.is_empty() {
        apply_imports(transaction, &mut imports, now_ms)?;
    }
    if !takes.is_empty() {
        go_on(transaction, now_ms)?;
        apply_takes(transaction, &mut takes, now_ms)?;
    }
    if !(pushes.is_empty() && outcomes.is_empty() && takes.is_empty()) {
        let waiting = transaction.count_due(limits::WORKS_COUNTED, now_ms)?;
        done_of(&mut pushes).for_each(|done| done.works_waiting = waiting);
        done_of(&mut outcomes).for_each(|done| done.answer.works_waiting = waiting);
        done_of(&mut takes).for_each(|done| done.works_waiting = waiting);
    }
    if !checks.is_empty() {
        transaction.write_readiness(now_ms)?;
        checks.into_iter().for_each(|check| check.result = Some(Ok(())));
    }
    Ok(events)
}

/// What works came to that were done.
fn done_of<'s, W: Work>(slots: &'s mut [&mut Slot<W>]) -> impl Iterator<Item = &'s mut W::Done> {
    slots.iter_mut().filter_map(|slot| slot.result.as_mut()?.as_mut().ok())
}

fn apply_pushes<T: Transaction>(
    transaction: &mut T,
    pushes: &mut [&mut Slot<PushWork>],
    now_ms: i64,
    replay_days: u32,
) -> Result<Events, EngineError> {
    let works: Vec<&PushWork> = pushes.iter().map(|slot| &slot.work).collect();
    let replays = Replays::find(transaction, &works, now_ms, replay_days)?;
    let CallsDone { mut done, parked: of_replays } = apply_calls(transaction, &works, &replays, now_ms)?;
    let parked = works.iter().enumerate().flat_map(|(index, work)| {
        let unusable = work.calls.iter().filter_map(|call| match call {
            CallWork::Usable(_) => None,
            CallWork::Unusable { parked, .. } => Some(parked),
        });
        unusable.chain(&work.parked).map(move |text| (index, text))
    });
    let parked = parked.chain(of_replays.iter().map(|(index, text)| (*index, text)));
    let parked = keep_texts(&works, parked, now_ms, |rows| transaction.park(rows))?;
    let events = works.iter().enumerate().filter_map(|(index, work)| Some((index, work.event.as_ref()?)));
    let events = keep_texts(&works, events, now_ms, |rows| transaction.keep_events(rows))?;

    for (index, new) in parked {
        if let Some(done) = done.get_mut(index) {
            if new { done.parked_new += 1 } else { done.parked_repeated += 1 }
        }
    }
    let mut new_events = Events::default();
    for (index, new) in events {
        if new && let Some(text) = works.get(index).and_then(|work| work.event.as_ref()) {
            new_events.events = new_events.events.saturating_add(1);
            new_events.bytes = new_events.bytes.saturating_add(text.as_bytes().len() as u64);
        }
        if let Some(done) = done.get_mut(index) {
            done.event_new = Some(new);
        }
    }
    for (index, (slot, done)) in pushes.iter_mut().zip(done).enumerate() {
        slot.result = Some(Ok(PushDone { replay: replays.of(index), ..done }));
    }
    Ok(new_events)
}

/// What the calls of a group came to.
struct CallsDone {
    /// For each work.
    done: Vec<PushDone>,
    /// CDRs of replays that are parked, and the work that brings each.
    parked: Vec<(usize, TextWork)>,
}

/// How a call stands once the calls of the group are recorded.
struct Holder<'w> {
    standing: Standing,
    ak: Option<String>,
    record: Box<RawValue>,
    /// The call as the group recorded it, so that its deadline is new; `None` where it was there before.
    recorded: Option<&'w NewCall>,
}

/// The rule of P1: the claim goes to the first push that asks, and again to the same push while there is no outcome, with the record
/// that is kept, whatever the deadline. A call that waits is granted to no push: the one that brought it is told that it is held, any
/// other that it is a duplicate, like the pushes that come once somebody holds it. A replay whose CDRs are parked is granted no new
/// claim.
fn apply_calls<T: Transaction>(
    transaction: &mut T,
    works: &[&PushWork],
    replays: &Replays,
    now_ms: i64,
) -> Result<CallsDone, EngineError> {
    let holders = holders(transaction, works, replays, now_ms)?;
    let mut duplicates: HashMap<&str, i64> = HashMap::new();
    let mut renewals: HashMap<&str, Renewal<'_>> = HashMap::new();
    let mut later_cdrs = LaterCdrs::default();
    let mut done = Vec::with_capacity(works.len());
    let mut parked = Vec::new();
    for (index, work) in works.iter().enumerate() {
        let mut results: Vec<CallDone> = Vec::with_capacity(work.calls.len());
        let mut skipped = 0;
        for (position, call) in work.calls.iter().enumerate() {
            let call = match call {
                CallWork::Usable(call) => call,
                CallWork::Unusable { call_id, .. } => {
                    results.push(without_record(CallVerdict::Parked, call_id));
                    continue;
                }
            };
            // A call that the push names twice is claimed for its first mention only, now and whenever the push asks again.
            let first_mention = !results.iter().any(|result| result.call_id == call.call_id);
            let holder = match (holders.get(call.call_id.as_str()), replays.parked(index)) {
                (Some(holder), _) => holder,
                (None, Some(first_push_id)) => {
                    let note = format!(
                        "/calls/{position}: the signature of this push came with other CDRs before, in the push {first_push_id}"
                    );
                    parked.push((index, TextWork::of_call(&work.app_key, &note, call)));
                    results.push(without_record(CallVerdict::Parked, &call.call_id));
                    continue;
                }
                (None, None) => return Err(EngineError::Conflict),
            };
            later_cdrs.note(index, work, call, holder.recorded, now_ms);
            match holder.standing {
                Standing::Granted { push_id, has_outcome: false } if push_id == work.push_id && first_mention => {
                    if holder.recorded.is_none() {
                        let claim_deadline = now_ms.saturating_add_unsigned(call.ttl_ms);
                        let call_id = call.call_id.as_str();
                        renewals.insert(call_id, Renewal { call_id, push_id, claim_deadline });
                    }
                    results.push(claimed(call, holder));
                }
                Standing::Held { brought_by } if brought_by == work.push_id && first_mention => {
                    results.push(without_record(CallVerdict::Held, &call.call_id));
                }
                Standing::Granted { push_id, has_outcome: true }
                    if push_id == work.push_id && first_mention && holder.recorded.is_some() =>
                {
                    skipped += 1;
                    results.push(without_record(CallVerdict::Duplicate, &call.call_id));
                }
                _ => {
                    *duplicates.entry(&call.call_id).or_default() += 1;
                    results.push(without_record(CallVerdict::Duplicate, &call.call_id));
                }
            }
        }
        done.push(PushDone { calls: results, skipped, ..PushDone::default() });
    }
    if !renewals.is_empty() {
        transaction.renew(&renewals.into_values().collect::<Vec<_>>())?;
    }
    if !duplicates.is_empty() {
        transaction.count_duplicates(&duplicates.into_iter().collect::<Vec<_>>())?;
    }
    later_cdrs.keep(transaction, &mut done)?;
    Ok(CallsDone { done, parked })
}

fn without_record(verdict: CallVerdict, call_id: &str) -> CallDone {
    CallDone { verdict, call_id: call_id.to_owned(), ak: None, record: None }
}

fn claimed(call: &NewCall, holder: &Holder<'_>) -> CallDone {
    CallDone {
        verdict: CallVerdict::Claimed,
        call_id: call.call_id.clone(),
        ak: holder.ak.clone(),
        record: Some(Private::new(holder.record.clone())),
    }
}

/// A call that may be new, as it is recorded then.
struct Prepared<'w> {
    work: &'w PushWork,
    call: &'w NewCall,
    ak: Option<String>,
    record: Box<RawValue>,
    start: Start,
}

/// What becomes of a new call.
#[derive(Clone, Copy)]
enum Start {
    /// Its push is granted the claim.
    Claimed,
    /// It waits: for its binding up to this moment, or for its business.
    Held { waits_for: WaitFor, due_at: Option<i64> },
    /// It ends as skipped.
    Skipped,
}

impl Prepared<'_> {
    fn row(&self, now_ms: i64) -> CallRow<'_> {
        CallRow {
            call: self.call,
            push_id: if matches!(self.start, Start::Held { .. }) { NOBODY } else { self.work.push_id },
            received_at: self.work.received.at(now_ms),
            claim_deadline: now_ms.saturating_add_unsigned(self.call.ttl_ms),
            ak: self.ak.as_deref(),
            record: self.record.get(),
        }
    }

    /// How the call stands once it is recorded.
    fn standing(&self) -> Standing {
        let push_id = self.work.push_id;
        match self.start {
            Start::Claimed => Standing::Granted { push_id, has_outcome: false },
            Start::Held { .. } => Standing::Held { brought_by: push_id },
            Start::Skipped => Standing::Granted { push_id, has_outcome: true },
        }
    }
}

/// Records the calls that are new, and says of every call of the group how it stands. A call that only replays bring whose CDRs are
/// parked is not recorded, and stands nowhere unless it was there before.
fn holders<'w, T: Transaction>(
    transaction: &mut T,
    works: &[&'w PushWork],
    replays: &Replays,
    now_ms: i64,
) -> Result<HashMap<&'w str, Holder<'w>>, EngineError> {
    // The first mention of each call in the group; only that can be recorded.
    let mut firsts: Vec<(&'w PushWork, &'w NewCall)> = Vec::with_capacity(works.len());
    let mut holders: HashMap<&str, Holder<'_>> = HashMap::with_capacity(works.len());
    let mut seen = HashSet::with_capacity(works.len());
    for (index, work) in works.iter().enumerate() {
        if replays.parked(index).is_some() {
            continue;
        }
        for call in usable(work) {
            if seen.insert(call.call_id.as_str()) {
                firsts.push((work, call));
            }
        }
    }
    // A replay may ask again for a claim that it was granted before it was found to be one.
    let mut of_replays: Vec<&str> = Vec::new();
    for (index, work) in works.iter().enumerate() {
        if replays.parked(index).is_some() {
            of_replays.extend(usable(work).map(|call| call.call_id.as_str()).filter(|call_id| seen.insert(call_id)));
        }
    }
    let mut met = if firsts.is_empty() { Vec::new() } else { record_new(transaction, &firsts, &mut holders, now_ms)? };
    let recorded = met.len();
    met.append(&mut of_replays);
    if !met.is_empty() {
        let mut claims = transaction.claims(&met)?;
        for (place, call_id) in met.into_iter().enumerate() {
            let claim = match claims.remove(call_id) {
                Some(claim) => claim,
                // Neither recorded now nor there before: another writer's row that is not visible yet. Never a duplicate.
                None if place < recorded => return Err(EngineError::Conflict),
                None => continue,
            };
            let record = RawValue::from_string(claim.record).map_err(EngineError::corrupt)?;
            holders.insert(call_id, Holder { standing: claim.standing, ak: claim.ak, record, recorded: None });
        }
    }
    Ok(holders)
}

fn usable(work: &PushWork) -> impl Iterator<Item = &NewCall> {
    work.calls.iter().filter_map(|call| match call {
        CallWork::Usable(call) => Some(&**call),
        CallWork::Unusable { .. } => None,
    })
}

/// Records those of `firsts` that are new, with their holders. Returns the others.
fn record_new<'w, T: Transaction>(
    transaction: &mut T,
    firsts: &[(&'w PushWork, &'w NewCall)],
    holders: &mut HashMap<&'w str, Holder<'w>>,
    now_ms: i64,
) -> Result<Vec<&'w str>, EngineError> {
    let bindings = bindings_of(transaction, firsts.iter().map(|(_, call)| call.record.subscription_id.as_deref()))?;
    let paused = transaction.paused()?;
    let mut prepared = Vec::with_capacity(firsts.len());
    for (work, call) in firsts {
        prepared.push(prepare(work, call, &bindings, &paused, now_ms)?);
    }
    let rows: Vec<CallRow<'_>> = prepared.iter().map(|prepared| prepared.row(now_ms)).collect();
    let inserted = transaction.insert_calls(&rows, now_ms)?;
    drop(rows);
    let (mut met, mut held, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (prepared, inserted) in prepared.into_iter().zip(inserted) {
        let Prepared { work, call, .. } = prepared;
        let call_id = call.call_id.as_str();
        if !inserted {
            met.push(call_id);
            continue;
        }
        match prepared.start {
            Start::Claimed => {}
            Start::Held { waits_for, due_at } => {
                let brought_by = Some(work.push_id);
                held.push(WaitRow { call_id, waits_for, due_at, brought_by });
            }
            Start::Skipped => skipped.push(OutcomeReport {
                call_id: call.call_id.clone(),
                push_id: work.push_id,
                outcome: Outcome::Skipped { reason: Skipped::NoBinding },
                duration_ms: None,
            }),
        }
        let standing = prepared.standing();
        let recorded = Some(call);
        holders.insert(call_id, Holder { standing, ak: prepared.ak, record: prepared.record, recorded });
    }
    if !held.is_empty() {
        transaction.wait(&held, now_ms)?;
    }
    if !skipped.is_empty() {
        transaction.write_outcomes(&skipped.iter().collect::<Vec<_>>(), now_ms)?;
    }
    Ok(met)
}

fn prepare<'w>(
    work: &'w PushWork,
    call: &'w NewCall,
    bindings: &Bindings,
    paused: &HashSet<String>,
    now_ms: i64,
) -> Result<Prepared<'w>, EngineError> {
    let record = joined(&call.record, bindings, now_ms);
    let is_bound = call.record.subscription_id.as_ref().is_some_and(|id| bindings.contains_key(id));
    let start = match work.without_binding {
        _ if is_bound => Start::Claimed,
        WithoutBinding::Deliver => Start::Claimed,
        // Nothing can come that is worth waiting for.
        WithoutBinding::Hold(_) if !call.can_be_bound() => Start::Claimed,
        WithoutBinding::Hold(seconds) => {
            let due_at = now_ms.saturating_add(i64::from(seconds).saturating_mul(1000));
            Start::Held { waits_for: WaitFor::Binding, due_at: Some(due_at) }
        }
        WithoutBinding::Skip => Start::Skipped,
    };
    let start = match (start, &record.ak) {
        (Start::Claimed, Some(ak)) if paused.contains(ak) => Start::Held { waits_for: WaitFor::Paused, due_at: None },
        (start, _) => start,
    };
    let text = serde_json::value::to_raw_value(&record).map_err(EngineError::corrupt)?;
    Ok(Prepared { work, call, ak: record.ak, record: text, start })
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
                ak: work.ak.as_deref(),
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
            Some(claim) if claim.standing == held_by(report.push_id) => OutcomeResult::Repeated,
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

/// How a call stands whose outcome this push has reported.
fn held_by(push_id: PushId) -> Standing {
    Standing::Granted { push_id, has_outcome: true }
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
    transaction.insert_bindings(&rows, now_ms)?;
    let mut ids: Vec<&str> = rows.iter().map(|row| row.subscription_id).collect();
    ids.sort_unstable();
    ids.dedup();
    transaction.bindings_came(&ids, now_ms)
}
