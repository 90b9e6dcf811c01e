use serde::{Deserialize, Serialize, Serializer};

use crate::{CallState, PushId};

/// What became of the one callback of a call.
///
/// Reading accepts `answered` too, which is what filters report and what stores of 0.1.0 showed: its status decides between `delivered`
/// and `rejected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case", from = "ReportedOutcome")]
pub enum Outcome {
    /// The business, or what stands before it, replied with a 2xx status.
    Delivered {
        /// The HTTP status, 200 to 299.
        status: u16,
    },
    /// The business, or what stands before it, replied with any other status.
    Rejected {
        /// The HTTP status.
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

impl Outcome {
    /// What a reply with this status stands for.
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered { status },
            _ => Self::Rejected { status },
        }
    }

    /// Where a call with this outcome stands.
    pub const fn state(self) -> CallState {
        match self {
            Self::Delivered { .. } => CallState::Delivered,
            Self::Rejected { .. } => CallState::Rejected,
            Self::NotSent { .. } => CallState::NotSent,
            Self::MaybeSent { .. } => CallState::MaybeSent,
            Self::Skipped { .. } => CallState::Skipped,
        }
    }
}

/// An outcome as filters report it, and as a store keeps it so that 0.1.0 can read it: every reply of a business is `answered`,
/// whatever its status. Reading accepts `delivered` and `rejected` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// A reply came, with whatever status.
    #[serde(alias = "delivered", alias = "rejected")]
    Answered {
        /// The HTTP status.
        status: u16,
    },
    /// As [`Outcome::NotSent`].
    NotSent {
        /// Why.
        reason: NotSent,
    },
    /// As [`Outcome::MaybeSent`].
    MaybeSent {
        /// Why the answer is missing.
        reason: MaybeSent,
    },
    /// As [`Outcome::Skipped`].
    Skipped {
        /// Why.
        reason: Skipped,
    },
}

impl From<ReportedOutcome> for Outcome {
    fn from(reported: ReportedOutcome) -> Self {
        match reported {
            ReportedOutcome::Answered { status } => Self::of_status(status),
            ReportedOutcome::NotSent { reason } => Self::NotSent { reason },
            ReportedOutcome::MaybeSent { reason } => Self::MaybeSent { reason },
            ReportedOutcome::Skipped { reason } => Self::Skipped { reason },
        }
    }
}

impl From<Outcome> for ReportedOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered { status } | Outcome::Rejected { status } => Self::Answered { status },
            Outcome::NotSent { reason } => Self::NotSent { reason },
            Outcome::MaybeSent { reason } => Self::MaybeSent { reason },
            Outcome::Skipped { reason } => Self::Skipped { reason },
        }
    }
}

fn as_reported<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    ReportedOutcome::from(*outcome).serialize(serializer)
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
    /// What became of the callback. It travels as a [`ReportedOutcome`].
    #[serde(serialize_with = "as_reported")]
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

#[cfg(test)]
mod tests {
    use super::{NotSent, Outcome, OutcomeReport};
    use crate::PushId;

    #[test]
    fn a_reply_is_delivered_or_rejected_by_its_status_whatever_word_it_came_with() {
        for (status, class) in
            [(199, "rejected"), (200, "delivered"), (299, "delivered"), (300, "rejected"), (503, "rejected")]
        {
            let outcome = Outcome::of_status(status);
            let shown = format!(r#"{{"class":"{class}","status":{status}}}"#);
            assert_eq!(serde_json::to_string(&outcome).unwrap(), shown);
            assert_eq!(outcome.state().as_str(), class);
            for word in ["answered", "delivered", "rejected"] {
                let text = format!(r#"{{"class":"{word}","status":{status}}}"#);
                assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
            }
        }
    }

    #[test]
    fn a_store_of_0_1_0_can_read_what_a_filter_reports() {
        let report = |outcome| OutcomeReport {
            call_id: "c".to_owned(),
            push_id: PushId::from_bytes([7; 16]),
            outcome,
            duration_ms: None,
        };
        for (outcome, text) in [
            (Outcome::of_status(200), r#"{"class":"answered","status":200}"#),
            (Outcome::of_status(502), r#"{"class":"answered","status":502}"#),
            (Outcome::NotSent { reason: NotSent::Overflow }, r#"{"class":"not_sent","reason":"overflow"}"#),
        ] {
            let report = report(outcome);
            let written = serde_json::to_string(&report).unwrap();
            assert!(written.contains(&format!(r#""outcome":{text}"#)), "{written}");
            assert_eq!(serde_json::from_str::<OutcomeReport>(&written).unwrap(), report);
        }
    }
}
