use serde::{Deserialize, Serialize};

use crate::{CallResult, PushId};

/// What a worker asks for when it takes work: `POST /v1/work:take`.
///
/// The works are calls that an operator released, or that waited in the store for a binding. The store grants their claims to `pushId`
/// in one durable transaction. Asked again with the same `pushId`, it answers the works that this id holds and that have no outcome,
/// with the records that are kept, and renews their time to live; it never hands out further ones, nor any to an id that it told there
/// are none: a late copy of a request would take works of which its worker never hears. So a worker draws a fresh id for each request,
/// and repeats a request whose answer it missed with the same id until the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkRequest {
    /// Drawn by the worker for this request: it holds the claims.
    pub push_id: PushId,
    /// Most works that are handed out, 1 to [`limits::WORKS`](crate::limits::WORKS).
    pub most: u32,
    /// How long after the grant a claim without an outcome reads as `unknown`, milliseconds.
    pub ttl_ms: u64,
}

/// The store's answer to a [`WorkRequest`], status 200: every claim in it is durably granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkAnswer<'a> {
    /// The request's `pushId`. An answer with another one says nothing: ask again.
    pub push_id: PushId,
    /// The works, each with the verdict `claimed`; none where nothing waits.
    #[serde(borrow)]
    pub calls: Vec<CallResult<'a>>,
    /// How many works wait in the store for a worker to take them, besides these.
    #[serde(default)]
    pub works_waiting: u64,
}

#[cfg(test)]
mod tests {
    use super::{WorkAnswer, WorkRequest};
    use crate::PushId;

    #[test]
    fn a_work_request_and_its_answer_can_be_read() {
        let push_id = PushId::from_bytes([7; 16]);
        let text = r#"{"pushId":"07070707070707070707070707070707","most":16,"ttlMs":900000}"#;
        let request = WorkRequest { push_id, most: 16, ttl_ms: 900_000 };
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<WorkRequest>(text).unwrap(), request);
        let text = r#"{"pushId":"07070707070707070707070707070707","calls":[{"verdict":"claimed","callId":"c","ak":"A","record":{}}],"worksWaiting":3}"#;
        let answer: WorkAnswer<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((answer.push_id, answer.calls.len(), answer.works_waiting), (push_id, 1, 3));
    }
}
