//! What the store is asked to commit, and what it says once it has.

use privatenumber_contract::{
    Binding, CallReport, CallVerdict, OutcomeReport, OutcomesAnswer, Private, Push, PushId, Record, RegisteredBinding,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::record;

/// Longest part of a call key, in bytes. Huawei's are far below 100.
pub const KEY_PART_MAX_BYTES: usize = 1024;

/// One piece of work: committed as a whole or not at all.
#[derive(Clone, Debug)]
pub enum Work {
    /// Record the calls of a push and grant their claims.
    Push(Box<PushWork>),
    /// Write what became of callbacks.
    Outcomes(Vec<OutcomeReport>),
    /// Register a binding; its `subscriptionId` is set.
    Binding(Box<BindingWork>),
    /// Write something trivial, to learn whether the store can commit.
    Readiness,
}

/// What committing a [`Work`] came to.
#[derive(Clone, Debug)]
pub enum Done {
    /// Of [`Work::Push`].
    Push(PushDone),
    /// Of [`Work::Outcomes`].
    Outcomes(OutcomesDone),
    /// Of [`Work::Binding`].
    Binding(Box<BindingDone>),
    /// Of [`Work::Readiness`].
    Readiness,
}

/// A push, ready to be committed.
#[derive(Clone, Debug)]
pub struct PushWork {
    /// Who asks for the claims.
    pub push_id: PushId,
    /// The Huawei application whose credentials the push carried.
    pub app_key: String,
    /// When the gateway received it, epoch milliseconds.
    pub received_at: i64,
    /// The calls.
    pub calls: Vec<CallWork>,
    /// CDRs that the filter could not use.
    pub parked: Vec<ParkedWork>,
    /// A status event.
    pub event: Option<EventWork>,
}

/// One call of a push.
#[derive(Clone, Debug)]
pub enum CallWork {
    /// A call that can be recorded.
    Usable(Box<NewCall>),
    /// A call that cannot: it is kept raw with its reason.
    Unusable {
        /// The id of what key it has.
        call_id: String,
        /// What is kept.
        parked: ParkedWork,
    },
}

/// A call as it is recorded if it is new.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// The call's id.
    pub call_id: String,
    /// The Huawei application.
    pub app_key: String,
    /// The call chain.
    pub session_id: Private<String>,
    /// The call record, or "".
    pub icid: String,
    /// After this moment the call without an outcome reads as unknown, epoch milliseconds.
    pub claim_deadline: i64,
    /// The record as it is without a binding row.
    pub record: Record,
}

/// A text to be parked.
#[derive(Clone, Debug)]
pub struct ParkedWork {
    /// Why it cannot be used.
    pub reason: String,
    /// The text.
    pub raw: Private<String>,
    /// By which the same text is recognised.
    pub digest: String,
}

/// A status event to be kept.
#[derive(Clone, Debug)]
pub struct EventWork {
    /// Its kind.
    pub event_type: String,
    /// The text.
    pub raw: Private<String>,
    /// By which the same text is recognised.
    pub digest: String,
}

/// A binding to be registered.
#[derive(Clone, Debug)]
pub struct BindingWork {
    /// The binding's id at Huawei.
    pub subscription_id: String,
    /// The row.
    pub binding: Binding,
}

/// What a push came to.
#[derive(Clone, Debug, Default)]
pub struct PushDone {
    /// One for each call, in their order.
    pub calls: Vec<CallDone>,
    /// How many texts were parked that were not there before.
    pub parked_new: u64,
    /// How many texts to be parked were there already.
    pub parked_repeated: u64,
    /// Whether there was an event, and whether it was new.
    pub event_new: Option<bool>,
}

/// What one call came to.
#[derive(Clone, Debug)]
pub struct CallDone {
    /// What the filter is to do.
    pub verdict: CallVerdict,
    /// The call's id.
    pub call_id: String,
    /// The record's `ak`.
    pub ak: Option<String>,
    /// The record as it is kept; only for a claimed call.
    pub record: Option<Private<Box<RawValue>>>,
}

/// What a batch of outcomes came to.
#[derive(Clone, Debug, Default)]
pub struct OutcomesDone {
    /// The answer.
    pub answer: OutcomesAnswer,
    /// For each report, in their order.
    pub results: Vec<OutcomeResult>,
}

/// What one outcome report came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeResult {
    /// It was written.
    Recorded,
    /// There was an outcome already.
    Repeated,
    /// There is no such call, or the push does not hold its claim.
    Refused,
}

/// What a registration came to.
#[derive(Clone, Debug)]
pub struct BindingDone {
    /// The binding as it stands now.
    pub registered: RegisteredBinding,
    /// Whether the `subscriptionId` was new.
    pub created: bool,
    /// Whether a version was written; an identical registration writes none.
    pub changed: bool,
}

impl PushWork {
    /// Takes over a push as the filter sent it; decides which of its calls can be used.
    pub fn new(push: &Push<'_>) -> Self {
        let app_key = push.app_key.as_ref();
        let calls =
            push.calls.iter().enumerate().map(|(index, report)| CallWork::new(app_key, index, report)).collect();
        let parked = push.parked.iter().map(|parked| ParkedWork::new(app_key, &parked.reason, parked.raw.expose()));
        let event = push.event.as_ref().map(|event| EventWork {
            event_type: event.event_type.clone().into_owned(),
            raw: Private::new(event.raw.expose().clone().into_owned()),
            digest: digest(app_key, event.raw.expose()),
        });
        Self {
            push_id: push.push_id,
            app_key: app_key.to_owned(),
            received_at: push.received_at,
            calls,
            parked: parked.collect(),
            event,
        }
    }
}

impl CallWork {
    fn new(push_app_key: &str, index: usize, report: &CallReport<'_>) -> Self {
        let call_id = report.key().id();
        if let Some(reason) = unusable(index, report) {
            // What was deserialised a moment ago can be serialised; if not, the reason alone is kept.
            let raw = serde_json::to_string(report).unwrap_or_default();
            return Self::Unusable { call_id, parked: ParkedWork::new(push_app_key, &reason, &raw) };
        }
        Self::Usable(Box::new(NewCall {
            call_id,
            app_key: report.app_key.clone().into_owned(),
            session_id: Private::new(report.session_id.expose().clone().into_owned()),
            icid: report.icid.clone().into_owned(),
            claim_deadline: report.claim_deadline,
            record: record::from_report(report),
        }))
    }
}

/// Why a call cannot be recorded: a JSON pointer into the push and what is wrong there, without its value.
fn unusable(index: usize, report: &CallReport<'_>) -> Option<String> {
    let parts = [
        ("appKey", report.app_key.as_ref(), true),
        ("sessionId", report.session_id.expose().as_ref(), true),
        ("icid", report.icid.as_ref(), false),
    ];
    parts.into_iter().find_map(|(name, value, required)| {
        if required && value.is_empty() {
            Some(format!("/calls/{index}/{name}: empty; without it the call cannot be told from others"))
        } else if value.len() > KEY_PART_MAX_BYTES {
            Some(format!("/calls/{index}/{name}: longer than {KEY_PART_MAX_BYTES} bytes"))
        } else {
            None
        }
    })
}

impl ParkedWork {
    fn new(app_key: &str, reason: &str, raw: &str) -> Self {
        Self { reason: reason.to_owned(), raw: Private::from(raw), digest: digest(app_key, raw) }
    }
}

/// SHA-256 of the length-prefixed application and the text, in hex.
fn digest(app_key: &str, raw: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((app_key.len() as u64).to_be_bytes());
    hash.update(app_key);
    hash.update(raw);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
