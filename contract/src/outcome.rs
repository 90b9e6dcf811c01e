use serde::{Deserialize, Serialize};

use crate::PushId;

/// What became of the one callback of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Outcome {
    /// The business answered, with whatever status.
    Answered {
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The callback certainly never left.
    NotSent {
        /// Why.
        reason: NotSent,
    },
    /// The callback left, or may have; whether the business processed it is not known.
    MaybeSent {
        /// Why the answer is missing.
        reason: MaybeSent,
    },
    /// There was nobody to call back.
    Skipped {
        /// Why.
        reason: Skipped,
    },
}

/// Why a callback certainly never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotSent {
    /// Envoy has no cluster of the configured name.
    NoCluster,
    /// The cluster has no healthy host.
    NoHealthyHost,
    /// No connection to the business could be made.
    ConnectionFailed,
    /// The cluster's circuit breaker refused the request.
    Overflow,
    /// The call's data was erased before its callback left.
    Erased,
    /// The gateway holds as many calls of this business as it may: the business answers too slowly. Since 0.2.
    QueueFull,
}

/// Why the answer to a callback is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaybeSent {
    /// No answer within the business's time-out.
    Timeout,
    /// The connection ended before an answer.
    Reset,
    /// The answer was cut off.
    Truncated,
}

/// Why there was nobody to call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// No binding row, and the configuration names no `ak` for the application.
    NoBinding,
    /// The record's `ak` has no callback configured.
    NoCallback,
    /// No push brought the call: an operator imported its CDR and did not ask for a callback.
    Imported,
}

/// One outcome as the gateway reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeReport {
    /// The call.
    pub call_id: String,
    /// The push that was granted the claim; an outcome reported under another push id is refused.
    pub push_id: PushId,
    /// What became of the callback.
    pub outcome: Outcome,
    /// From dispatch to answer, milliseconds; `null` where nothing was sent.
    pub duration_ms: Option<i64>,
}

/// `POST /v1/outcomes`: a batch of at most [`limits::OUTCOMES`](crate::limits::OUTCOMES). Idempotent: repeating a report changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes {
    /// The reports.
    pub outcomes: Vec<OutcomeReport>,
}

/// The store's answer to [`Outcomes`]. Once it is 200 every report has been dealt with; none needs repeating.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomesAnswer {
    /// How many were written by this request.
    pub recorded: u64,
    /// How many were there already.
    pub repeated: u64,
    /// How many named a call that is not there, or a push that does not hold its claim. They are counted and dropped.
    pub refused: u64,
    /// How many works wait in the store for a worker to take them.
    #[serde(default)]
    pub works_waiting: u64,
}
