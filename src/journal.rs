//! What happened, told once: metrics and log lines are both made from these events.

use privatenumber_cdr::Field;
use privatenumber_contract::{Outcome, PushId};
use serde::{Serialize, Serializer};

use crate::config::HeadersMode;
use crate::dispatcher::Refusal;
use crate::reply::ReplyKind;

/// The commit this module was built from: what `PRIVATENUMBER_COMMIT` said during the build, else `unknown`.
pub const COMMIT: &str = match option_env!("PRIVATENUMBER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// How this module was compiled: what `PRIVATENUMBER_PROFILE` said during the build, else `debug` or `release`.
pub const PROFILE: &str = match option_env!("PRIVATENUMBER_PROFILE") {
    Some(profile) => profile,
    None if cfg!(debug_assertions) => "debug",
    None => "release",
};

/// How important an event is to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course of things.
    Debug,
    /// The life of the gateway.
    Info,
    /// Somebody else's fault, or a passing one.
    Warn,
    /// Something is lost or misconfigured.
    Error,
}

/// Something that happened. Holds no number, `sessionId`, secret, digest or recording address (promise P7).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A configuration was taken.
    Configured {
        /// The module's version.
        version: &'static str,
        /// The commit it was built from, see [`COMMIT`].
        commit: &'static str,
        /// How it was compiled, see [`PROFILE`].
        profile: &'static str,
        /// The operator's own name for the configuration.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// What happens to a push's headers until its body is known.
        headers: HeadersMode,
        /// How many businesses there are.
        businesses: usize,
    },
    /// Something of the configuration is accepted and probably not meant.
    ConfigurationWarning {
        /// JSON pointer to it.
        pointer: String,
        /// What is odd about it.
        reason: String,
    },
    /// A push was answered.
    PushAnswered {
        /// With what.
        answer: ReplyKind,
        /// The HTTP status.
        status: u16,
        /// The push, once its body was read.
        #[serde(skip_serializing_if = "Option::is_none")]
        push_id: Option<PushId>,
        /// Where in the push something is wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        pointer: Option<String>,
        /// What is wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Values of a push's CDRs could not be used and are `null` in their records; their calls go on.
    CdrWarnings {
        /// The push.
        push_id: PushId,
        /// The fields, each once.
        fields: Vec<FieldWarning>,
    },
    /// CDRs of a push had the text of an earlier one of the same call, and say nothing new.
    CdrsRepeated {
        /// The push.
        push_id: PushId,
        /// How many.
        count: usize,
    },
    /// The store committed a push.
    PushCommitted {
        /// The push.
        push_id: PushId,
        /// Calls to be called back by this gateway.
        claimed: usize,
        /// Calls that others have called back, or will.
        duplicate: usize,
        /// CDRs that could not be used.
        parked: usize,
        /// Calls that wait in the store.
        #[serde(skip_serializing_if = "is_zero")]
        held: usize,
        /// Calls whose data was erased before their callback.
        #[serde(skip_serializing_if = "is_zero")]
        erased: usize,
        /// From asking to the answer, milliseconds.
        duration_ms: u64,
        /// Whether an earlier answer was missed.
        asked_again: bool,
    },
    /// The store answered a request for claims.
    BatchAnswered {
        /// How many pushes it asked for.
        pushes: usize,
        /// From asking to the answer, milliseconds.
        duration_ms: u64,
    },
    /// The store refused a push for good; it will refuse it again.
    PushRejected {
        /// The push.
        push_id: PushId,
        /// The store's HTTP status.
        status: u16,
    },
    /// The store's answer to pushes was missed; they are asked for again.
    ClaimsMissed {
        /// How many pushes.
        pushes: usize,
        /// One of them: the push that was asked for longest.
        push_id: PushId,
        /// How often that one was asked for already.
        attempts: u32,
        /// The status that was seen, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// When the first of them is asked for again, milliseconds from now.
        retry_in_ms: u64,
    },
    /// The store handed out calls that waited there.
    WorksTaken {
        /// The id that holds their claims.
        push_id: PushId,
        /// How many.
        calls: usize,
        /// How many still wait in the store.
        waiting: u64,
        /// From asking to the answer, milliseconds.
        duration_ms: u64,
    },
    /// The store's answer to a request for works was missed; it is asked again.
    WorksMissed {
        /// The id under which works were asked for.
        push_id: PushId,
        /// How often they were asked for.
        attempts: u32,
        /// The status that was seen, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// When works are asked for again, milliseconds from now.
        retry_in_ms: u64,
        /// Whether one was reported less than a minute before.
        repeated: bool,
    },
    /// The store does not know `POST /v1/work:take` (an older version): it is asked again after a minute.
    WorksUnknown,
    /// The store does not know `POST /v1/push-batches` (an older version): it is asked for each push by itself.
    BatchesUnknown,
    /// Pushes were dropped that had never been asked for and whose senders had left, because others needed their room.
    AbandonedDropped {
        /// How many.
        pushes: usize,
    },
    /// A callback ended, or there was none to make.
    CallbackFinished {
        /// The call.
        call_id: Box<str>,
        /// The push that held its claim.
        push_id: PushId,
        /// The number of its business, if it has a configured one. The log line has the names instead.
        #[serde(skip)]
        business: Option<usize>,
        /// What became of it.
        outcome: Outcome,
        /// From dispatch to answer, milliseconds; `None` where nothing was sent.
        duration_ms: Option<u64>,
    },
    /// Envoy refused to send a callback; it certainly was not sent.
    CallbackRefused {
        /// The call.
        call_id: Box<str>,
        /// The number of its business. The log line has the names instead.
        #[serde(skip)]
        business: usize,
        /// Why.
        reason: Refusal,
        /// How often it was tried.
        attempts: u32,
        /// When it is tried again, milliseconds from now; `None` when given up.
        retry_in_ms: Option<u64>,
    },
    /// The store has outcomes.
    OutcomesReported {
        /// How many.
        count: usize,
        /// From sending to the answer, milliseconds.
        duration_ms: u64,
    },
    /// The store did not take outcomes; they are kept and sent again.
    OutcomesDelayed {
        /// How many.
        count: usize,
        /// How often they were sent.
        attempts: u32,
        /// The status that was seen, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// When they are sent again, milliseconds from now.
        retry_in_ms: u64,
    },
    /// The store refused outcomes for good: it speaks another contract. Those calls read as `unknown`.
    OutcomesRejected {
        /// How many.
        count: usize,
        /// The store's HTTP status.
        status: u16,
    },
    /// This configuration is being replaced; what is pending is finished first.
    Draining {
        /// How many calls are pending.
        pending_calls: usize,
    },
    /// All that was pending under the replaced configuration is finished.
    Drained,
}

/// A field of a push's CDRs whose value could not be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldWarning {
    /// The field, by Huawei's name of it.
    #[serde(serialize_with = "field_name")]
    pub field: Field,
    /// In how many CDRs.
    pub cdrs: usize,
    /// Why, in the first of them. Holds no value.
    pub reason: String,
}

fn field_name<S: Serializer>(field: &Field, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(field.name())
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Event {
    /// How important it is.
    pub fn level(&self) -> Level {
        match self {
            Self::PushAnswered { answer: ReplyKind::Recorded, .. }
            | Self::PushCommitted { asked_again: false, .. }
            | Self::CdrsRepeated { .. }
            | Self::BatchAnswered { .. }
            | Self::WorksTaken { .. }
            | Self::WorksMissed { repeated: true, .. }
            | Self::OutcomesReported { .. } => Level::Debug,
            Self::CallbackFinished { outcome: Outcome::Delivered { .. }, .. } => Level::Debug,
            Self::CallbackFinished { outcome: Outcome::Skipped { .. }, .. } => Level::Info,
            Self::Configured { .. } | Self::PushCommitted { .. } | Self::Draining { .. } | Self::Drained => Level::Info,
            Self::PushAnswered { answer: ReplyKind::FlagMissing, .. } => Level::Error,
            Self::ConfigurationWarning { .. }
            | Self::PushAnswered { .. }
            | Self::CdrWarnings { .. }
            | Self::ClaimsMissed { .. }
            | Self::BatchesUnknown
            | Self::WorksMissed { .. }
            | Self::WorksUnknown
            | Self::AbandonedDropped { .. }
            | Self::CallbackFinished { .. }
            | Self::CallbackRefused { .. }
            | Self::OutcomesDelayed { .. } => Level::Warn,
            Self::PushRejected { .. } | Self::OutcomesRejected { .. } => Level::Error,
        }
    }

    /// The number of the configured business that the event concerns.
    pub fn business(&self) -> Option<usize> {
        match self {
            Self::CallbackFinished { business, .. } => *business,
            Self::CallbackRefused { business, .. } => Some(*business),
            _ => None,
        }
    }
}

/// Events in the order they happened, waiting to be counted and logged.
pub type Journal = Vec<Event>;
