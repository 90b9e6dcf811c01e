//! What one work does inside a transaction: who is granted a claim, which outcome counts, what a binding's next version is.

use std::collections::HashSet;

use privatenumber_contract::{Binding, CallVerdict, OutcomeReport, Private, RegisteredBinding};
use serde_json::value::{RawValue, to_raw_value};

use super::EngineError;
use super::transaction::Transaction;
use super::work::{
    BindingDone, BindingWork, CallDone, CallWork, Done, NewCall, OutcomeResult, OutcomesDone, PushDone, PushWork, Work,
};
use crate::record;

/// Does `work` inside `transaction`, at the time `now_ms` (epoch milliseconds).
pub(crate) async fn apply<T: Transaction>(transaction: &mut T, work: &Work, now_ms: i64) -> Result<Done, EngineError> {
    match work {
        Work::Push(push) => apply_push(transaction, push, now_ms).await.map(Done::Push),
        Work::Outcomes(reports) => apply_outcomes(transaction, reports, now_ms).await.map(Done::Outcomes),
        Work::Binding(binding) => {
            apply_binding(transaction, binding, now_ms).await.map(|done| Done::Binding(Box::new(done)))
        }
        Work::Readiness => transaction.write_readiness(now_ms).await.map(|()| Done::Readiness),
    }
}

async fn apply_push<T: Transaction>(
    transaction: &mut T,
    push: &PushWork,
    now_ms: i64,
) -> Result<PushDone, EngineError> {
    let mut done = PushDone { calls: Vec::with_capacity(push.calls.len()), ..PushDone::default() };
    // A call that the push names twice is claimed for its first mention only, now and whenever the push asks again.
    let mut mentioned = HashSet::new();
    for call in &push.calls {
        let result = match call {
            CallWork::Usable(call) => {
                let first_mention = mentioned.insert(call.call_id.as_str());
                apply_call(transaction, push, call, first_mention, now_ms).await?
            }
            CallWork::Unusable { call_id, parked } => {
                let new = transaction.park(push, parked).await?;
                count(&mut done, new);
                CallDone { verdict: CallVerdict::Parked, call_id: call_id.clone(), ak: None, record: None }
            }
        };
        done.calls.push(result);
    }
    for parked in &push.parked {
        let new = transaction.park(push, parked).await?;
        count(&mut done, new);
    }
    if let Some(event) = &push.event {
        done.event_new = Some(transaction.keep_event(push, event).await?);
    }
    Ok(done)
}

fn count(done: &mut PushDone, new: bool) {
    if new {
        done.parked_new += 1;
    } else {
        done.parked_repeated += 1;
    }
}

/// The rule of P1: the claim goes to the first push that asks, and again to the same push while there is no outcome.
async fn apply_call<T: Transaction>(
    transaction: &mut T,
    push: &PushWork,
    call: &NewCall,
    first_mention: bool,
    now_ms: i64,
) -> Result<CallDone, EngineError> {
    let (ak, record) = match transaction.claim(&call.call_id).await? {
        None => record_call(transaction, push, call, now_ms).await?,
        Some(claim) if first_mention && !claim.has_outcome && claim.is_held_by(push.push_id) => {
            (claim.ak, RawValue::from_string(claim.record).map_err(EngineError::corrupt)?)
        }
        Some(_) => {
            transaction.count_duplicate(&call.call_id).await?;
            let call_id = call.call_id.clone();
            return Ok(CallDone { verdict: CallVerdict::Duplicate, call_id, ak: None, record: None });
        }
    };
    Ok(CallDone {
        verdict: CallVerdict::Claimed,
        call_id: call.call_id.clone(),
        ak,
        record: Some(Private::new(record)),
    })
}

async fn record_call<T: Transaction>(
    transaction: &mut T,
    push: &PushWork,
    call: &NewCall,
    now_ms: i64,
) -> Result<(Option<String>, Box<RawValue>), EngineError> {
    let binding = match &call.record.subscription_id {
        Some(subscription_id) => transaction.binding(subscription_id).await?,
        None => None,
    };
    let mut record = match binding {
        Some(registered) => record::with_binding(&call.record, registered.binding),
        None => call.record.clone(),
    };
    record.updated_at = Some(now_ms);
    let text = to_raw_value(&record).map_err(EngineError::corrupt)?;
    transaction.insert_call(push, call, record.ak.as_deref(), text.get(), now_ms).await?;
    Ok((record.ak, text))
}

async fn apply_outcomes<T: Transaction>(
    transaction: &mut T,
    reports: &[OutcomeReport],
    now_ms: i64,
) -> Result<OutcomesDone, EngineError> {
    let mut done = OutcomesDone::default();
    for report in reports {
        let result = apply_outcome(transaction, report, now_ms).await?;
        match result {
            OutcomeResult::Recorded => done.answer.recorded += 1,
            OutcomeResult::Repeated => done.answer.repeated += 1,
            OutcomeResult::Refused => done.answer.refused += 1,
        }
        done.results.push(result);
    }
    Ok(done)
}

/// The first outcome wins, however late: a deadline that has passed is no outcome.
async fn apply_outcome<T: Transaction>(
    transaction: &mut T,
    report: &OutcomeReport,
    now_ms: i64,
) -> Result<OutcomeResult, EngineError> {
    if transaction.write_outcome(report, now_ms).await? {
        return Ok(OutcomeResult::Recorded);
    }
    match transaction.claim(&report.call_id).await? {
        Some(claim) if claim.is_held_by(report.push_id) => Ok(OutcomeResult::Repeated),
        _ => Ok(OutcomeResult::Refused),
    }
}

async fn apply_binding<T: Transaction>(
    transaction: &mut T,
    work: &BindingWork,
    now_ms: i64,
) -> Result<BindingDone, EngineError> {
    let current = transaction.binding(&work.subscription_id).await?;
    let work = BindingWork {
        subscription_id: work.subscription_id.clone(),
        binding: Binding { subscription_id: Some(work.subscription_id.clone()), ..work.binding.clone() },
    };
    let (created, version) = match current {
        Some(registered) if registered.binding == work.binding => {
            return Ok(BindingDone { registered, created: false, changed: false });
        }
        Some(registered) => (false, registered.version + 1),
        None => (true, 1),
    };
    transaction.insert_binding(&work, version, now_ms).await?;
    let registered = RegisteredBinding { version, registered_at: now_ms, binding: work.binding, history: Vec::new() };
    Ok(BindingDone { registered, created, changed: true })
}
