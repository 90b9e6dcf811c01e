use serde::{Deserialize, Serialize};

use crate::{CallResult, Problem, Push, PushId};

/// Several pushes in one request: `POST /v1/push-batches`.
///
/// Each push stands for itself: it is committed or not, and answered, whatever becomes of the others. At most
/// [`limits::BATCH_PUSHES`](crate::limits::BATCH_PUSHES).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushBatch<'a> {
    /// The pushes, no two with the same `pushId`.
    #[serde(borrow)]
    pub pushes: Vec<Push<'a>>,
}

/// What the store says of one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushVerdict {
    /// All of it is durably committed.
    Committed,
    /// The store refuses this push and always will, because of its bytes alone. Nothing of it was ever committed.
    Refused,
    /// This answer does not say what became of it: ask again with the same `pushId`, which changes nothing where it was committed.
    /// Either the store could not commit it now, or it did and the answer had no room for more, see
    /// [`limits::ANSWER_BYTES`](crate::limits::ANSWER_BYTES). The first committed push of an answer always has room.
    Retry,
    /// The push is older than the time for which the store keeps the keys of calls, and this `pushId` holds no claim. Nothing was
    /// committed, and never will be.
    Expired,
}

/// The store's answer to a [`PushBatch`], status 200.
///
/// It may leave pushes out, and may come in any order: whatever push is not named here, ask again with the same `pushId`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushBatchAnswer<'a> {
    /// What became of each push.
    #[serde(borrow)]
    pub pushes: Vec<PushResult<'a>>,
    /// How many works wait in the store for a worker to take them.
    #[serde(default)]
    pub works_waiting: u64,
}

/// What became of one push of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushResult<'a> {
    /// The push.
    pub push_id: PushId,
    /// What became of it.
    pub verdict: PushVerdict,
    /// Of a committed push: one for each of its `calls`, in their order.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallResult<'a>>,
    /// Of a push that is refused, or that could not be committed now: why.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem<'a>>,
}

#[cfg(test)]
mod tests {
    use super::{PushBatch, PushBatchAnswer, PushVerdict};

    #[test]
    fn a_batch_and_its_answer_can_be_read() {
        let batch =
            r#"{"pushes":[{"ageMs":3,"pushId":"000102030405060708090a0b0c0d0eff","appKey":"app","receivedAt":1}]}"#;
        let batch: PushBatch<'_> = serde_json::from_str(batch).unwrap();
        assert_eq!(batch.pushes[0].age_ms, Some(3));
        let answer = r#"{"pushes":[{"pushId":"000102030405060708090a0b0c0d0eff","verdict":"retry"}],"worksWaiting":2}"#;
        let answer: PushBatchAnswer<'_> = serde_json::from_str(answer).unwrap();
        assert_eq!((answer.pushes[0].verdict, answer.works_waiting), (PushVerdict::Retry, 2));
    }
}
