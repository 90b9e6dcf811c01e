//! What a release does inside a transaction. A call can be released where its callback certainly never left: then nobody was told of it,
//! and whoever held its claim has said so.

use std::collections::{HashMap, HashSet};

use privatenumber_contract::{NotSent, Outcome, WaitFor};

use super::EngineError;
use super::transaction::{CallRow, NOBODY, Releasable, Transaction, WaitRow};
use super::work::{NotReleasable, ParkedReleaseResult, ParkedReleaseWork, ReleaseResult, ReleaseWork, Slot};

/// What a release of the call comes to at `now_ms`, epoch milliseconds.
fn judge(call: &Releasable, now_ms: i64) -> ReleaseResult {
    let refused = match (&call.waits_for, &call.outcome) {
        (Some(WaitFor::Released), _) => return ReleaseResult::AlreadyReleased,
        (Some(WaitFor::Binding), _) => NotReleasable::WaitsForBinding,
        (Some(WaitFor::Paused), _) => NotReleasable::Paused,
        (None, Some(Outcome::NotSent { reason: NotSent::Erased })) => NotReleasable::Erased,
        (None, Some(Outcome::NotSent { .. } | Outcome::Skipped { .. })) => return ReleaseResult::Released,
        (None, Some(Outcome::Delivered { .. })) => NotReleasable::Delivered,
        (None, Some(Outcome::Rejected { .. })) => NotReleasable::Rejected,
        (None, Some(Outcome::MaybeSent { .. })) => NotReleasable::MaybeSent,
        (None, None) if now_ms > call.claim_deadline => NotReleasable::Unknown,
        (None, None) => NotReleasable::Pending,
    };
    ReleaseResult::Refused(refused)
}

pub(super) fn apply_releases<T: Transaction>(
    transaction: &mut T,
    slots: &mut [&mut Slot<ReleaseWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    let mut ids: Vec<&str> = slots.iter().flat_map(|slot| &slot.work.call_ids).map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    let calls = if ids.is_empty() { HashMap::new() } else { transaction.releasable(&ids)? };
    let mut released: HashSet<String> = HashSet::new();
    for slot in slots {
        let ReleaseWork { call_ids, ak } = &slot.work;
        let (mut results, mut to_release) = (Vec::with_capacity(call_ids.len()), Vec::new());
        for call_id in call_ids {
            let result = match calls.get(call_id) {
                None => ReleaseResult::Refused(NotReleasable::NoSuchCall),
                Some(_) if released.contains(call_id) => ReleaseResult::AlreadyReleased,
                Some(call) => judge(call, now_ms),
            };
            if result == ReleaseResult::Released {
                to_release.push(call_id.as_str());
                released.insert(call_id.clone());
            }
            results.push(result);
        }
        if !to_release.is_empty() {
            transaction.release(&to_release, ak.as_deref(), now_ms)?;
        }
        slot.result = Some(Ok(results));
    }
    Ok(())
}

pub(super) fn apply_parked_releases<T: Transaction>(
    transaction: &mut T,
    slots: &mut [&mut Slot<ParkedReleaseWork>],
    now_ms: i64,
) -> Result<(), EngineError> {
    let mut numbers: Vec<i64> = slots.iter().map(|slot| slot.work.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut made = transaction.released_parked(&numbers)?;
    for slot in slots {
        let ParkedReleaseWork { number, received_at, call } = &slot.work;
        let call_id = call.call_id.clone();
        let result = match made.get(number) {
            None => ParkedReleaseResult::NotParked,
            Some(Some(call_id)) => ParkedReleaseResult::AlreadyReleased { call_id: call_id.clone() },
            Some(None) => {
                let mut record = call.record.clone();
                record.updated_at = Some(now_ms);
                let text = serde_json::to_string(&record).map_err(EngineError::corrupt)?;
                let row = CallRow {
                    call,
                    push_id: NOBODY,
                    received_at: *received_at,
                    claim_deadline: now_ms,
                    ak: record.ak.as_deref(),
                    record: &text,
                };
                if transaction.insert_calls(&[row], now_ms)? == [true] {
                    let waits_for = WaitFor::Released;
                    let wait = WaitRow { call_id: &call_id, waits_for, due_at: Some(now_ms), brought_by: None };
                    transaction.wait(&[wait], now_ms)?;
                    transaction.note_released_parked(&[(*number, &call_id)])?;
                    made.insert(*number, Some(call_id.clone()));
                    ParkedReleaseResult::Released { call_id }
                } else {
                    ParkedReleaseResult::CallExists { call_id }
                }
            }
        };
        slot.result = Some(Ok(result));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::{MaybeSent, NotSent, Outcome, Skipped, WaitFor};

    use super::{Releasable, ReleaseResult, judge};
    use crate::database::work::NotReleasable;

    #[test]
    fn p1_only_what_certainly_never_left_can_be_released() {
        let released = ReleaseResult::Released;
        let refused = ReleaseResult::Refused;
        let not_sent = |reason| Some(Outcome::NotSent { reason });
        for (waits_for, outcome, expected) in [
            (None, not_sent(NotSent::NoCluster), released),
            (None, not_sent(NotSent::NoHealthyHost), released),
            (None, not_sent(NotSent::ConnectionFailed), released),
            (None, not_sent(NotSent::Overflow), released),
            (None, not_sent(NotSent::QueueFull), released),
            (None, not_sent(NotSent::Erased), refused(NotReleasable::Erased)),
            (None, Some(Outcome::Skipped { reason: Skipped::NoBinding }), released),
            (None, Some(Outcome::Skipped { reason: Skipped::NoCallback }), released),
            (None, Some(Outcome::Skipped { reason: Skipped::Imported }), released),
            (None, Some(Outcome::of_status(200)), refused(NotReleasable::Delivered)),
            (None, Some(Outcome::of_status(503)), refused(NotReleasable::Rejected)),
            (None, Some(Outcome::MaybeSent { reason: MaybeSent::Timeout }), refused(NotReleasable::MaybeSent)),
            (None, None, refused(NotReleasable::Pending)),
            (Some(WaitFor::Binding), None, refused(NotReleasable::WaitsForBinding)),
            (Some(WaitFor::Released), None, ReleaseResult::AlreadyReleased),
            (Some(WaitFor::Paused), None, refused(NotReleasable::Paused)),
        ] {
            assert_eq!(judge(&Releasable { waits_for, outcome, claim_deadline: 5 }, 5), expected, "{outcome:?}");
        }
        let late = Releasable { waits_for: None, outcome: None, claim_deadline: 5 };
        assert_eq!(judge(&late, 6), refused(NotReleasable::Unknown));
    }
}
