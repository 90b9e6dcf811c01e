use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{CallState, CdrText, Problem};

/// Which calls an operator releases: `POST /v1/calls:release`. Either `callIds` or `filter` is given.
///
/// Only a call whose callback certainly never left can be released: `not_sent` (unless its data was erased) and `skipped`. The release
/// retires the push id that held the claim, joins the binding as it is when a worker takes the call, and keeps the earlier outcome in
/// the call's history. Repeating a request changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReleaseRequest {
    /// These calls, at most [`limits::RELEASES`](crate::limits::RELEASES).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_ids: Option<Vec<String>>,
    /// The newest calls that pass this filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<ReleaseFilter>,
    /// Whose a call is that has neither a binding row nor an `ak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ak: Option<String>,
}

/// Which calls to release, as `GET /v1/calls` would list them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseFilter {
    /// `not_sent` or `skipped`.
    pub state: CallState,
    /// Of this business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak: Option<String>,
    /// Of this binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Of this Huawei application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_key: Option<String>,
    /// Recorded at or after this moment, epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// Recorded before this moment, epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// At most so many calls, 1 to [`limits::RELEASES`](crate::limits::RELEASES). Ask again for the next ones until `released` is 0.
    pub most: u32,
}

/// The store's answer to a [`ReleaseRequest`], status 200: what it names as released is durably waiting for a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseAnswer<'a> {
    /// How many calls this request released.
    pub released: u64,
    /// How many were released before, and still wait for a worker.
    pub already_released: u64,
    /// The calls that are not released.
    #[serde(borrow)]
    pub refused: Vec<RefusedRelease<'a>>,
}

/// A call that is not released, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRelease<'a> {
    /// The call.
    #[serde(borrow)]
    pub call_id: Cow<'a, str>,
    /// The call's state and what to do instead.
    #[serde(borrow)]
    pub problem: Problem<'a>,
}

/// How a parked CDR is read again: `POST /v1/parked/{number}:release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ParkedReleaseRequest<'a> {
    /// A corrected CDR; without it the kept one is read with the rules of today.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub cdr: Option<CdrText<'a>>,
    /// Whose the call is where it has no binding row. Without it: of the business that the application had when the CDR came.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Cow<'a, str>>,
}

/// The store's answer to a [`ParkedReleaseRequest`], status 200: the call durably waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedReleaseAnswer {
    /// The call that was made of the CDR.
    pub call_id: String,
    /// Whether an earlier request made it, so that this one changed nothing.
    pub already_released: bool,
}

#[cfg(test)]
mod tests {
    use super::{ParkedReleaseRequest, ReleaseRequest};

    #[test]
    fn a_release_can_be_read_and_a_misspelt_one_cannot() {
        for text in
            [r#"{"callIds":["c"],"ak":"A"}"#, r#"{"filter":{"state":"not_sent","ak":"A","from":1,"to":2,"most":10}}"#]
        {
            let request: ReleaseRequest = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
        }
        for text in [r#"{"callId":"c"}"#, r#"{"filter":{"state":"not_sent"}}"#] {
            assert!(serde_json::from_str::<ReleaseRequest>(text).is_err(), "{text}");
        }
        let text = r#"{"cdr":{ "a": 1.0 },"ak":"A"}"#;
        let request: ParkedReleaseRequest<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(request.cdr.as_ref().unwrap().as_bytes(), b"{ \"a\": 1.0 }");
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
}
