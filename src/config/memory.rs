//! What a worker takes of memory at worst. `docs/operations.md`, *Memory*, explains the formula.

use privatenumber_contract::limits::{ANSWER_BYTES, BINDING_BYTES, CALL_ANSWER_BYTES, PUSH_CDRS};

use super::{Business, Limits};

/// Envoy's default of `http.async_response_buffer_limit`, bytes.
pub(super) const ENVOYS_RESPONSE_BUFFER_BYTES: u64 = 32 << 20;

/// What a callback under way takes besides its answer, bytes: its record, its headers and its connection.
const CALLBACK_BYTES: u64 = CALL_ANSWER_BYTES as u64 + (48 << 10);

/// Requests to the store that are under way at a time: claims, and one each for outcomes and works.
const STORE_REQUESTS: u64 = 34;

/// What the bodies of those requests take together, bytes.
const STORE_REQUEST_BYTES: u64 = 17 << 20;

/// The largest answer of the store, bytes: to a batch, or to one push with the text of its CDRs.
pub(super) fn largest_answer_bytes(limits: &Limits) -> u64 {
    // What a record holds beside its binding row and texts of the CDR: names of members, numbers, `null`.
    const REST: usize = 1_024;
    // A text grows at most to twice its size: GB 18030 that becomes UTF-8.
    let one_push =
        PUSH_CDRS.saturating_mul(BINDING_BYTES + REST).saturating_add(limits.max_body_bytes.saturating_mul(2));
    whole(one_push.max(ANSWER_BYTES))
}

/// What one worker takes at worst for pushes, calls and callbacks, bytes.
pub(super) fn of_worker<'b>(
    limits: &Limits,
    businesses: impl Iterator<Item = &'b Business>,
    response_buffer_bytes: u64,
) -> u64 {
    let concurrency = businesses.fold(0_usize, |sum, business| sum.saturating_add(business.concurrency));
    let callbacks = whole(concurrency.min(limits.pending_calls));
    // Bodies and claim requests, and as much again for records, which come once the store has granted their claims.
    let pushes = whole(limits.pending_bytes).saturating_mul(2);
    let callbacks = callbacks.saturating_mul(response_buffer_bytes.saturating_add(CALLBACK_BYTES));
    let store = STORE_REQUESTS.saturating_mul(response_buffer_bytes).saturating_add(STORE_REQUEST_BYTES);
    pushes.saturating_add(callbacks).saturating_add(store)
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::config;

    #[test]
    fn p6_the_worst_case_of_a_worker_is_what_operations_says() {
        let config = config("hold", json!({"envoy": {"response_buffer_bytes": 1_048_576}}));
        // 2 x 64 MiB, 100 callbacks of 1 MiB and 64 KiB, 34 answers of 1 MiB, 17 MiB of requests.
        assert_eq!(config.worker_bytes(), (128 << 20) + 100 * ((1 << 20) + (64 << 10)) + (34 << 20) + (17 << 20));
    }
}
