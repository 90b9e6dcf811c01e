//! What the store is asked to commit, and what it says once it has.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::limits::{KEY_PART_BYTES, SUBSCRIPTION_ID_CHARS};
use privatenumber_contract::{
    Binding, BusinessView, CallReport, CallVerdict, OnReplay, OutcomeReport, OutcomesAnswer, Private, Push, PushId,
    Record, RegisteredBinding, WithoutBinding, WorkRequest,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::WriteError;
use crate::{gb18030, record};

/// How a push can be signed.
pub(crate) const SCHEMES: [&str; 2] = ["aksk", "wsse"];

/// A kind of work: committed as a whole or not at all.
pub trait Work {
    /// What committing it comes to.
    type Done;
}

impl Work for PushWork {
    type Done = PushDone;
}

/// What became of callbacks, to be written.
impl Work for Vec<OutcomeReport> {
    type Done = OutcomesDone;
}

impl Work for BindingWork {
    type Done = BindingDone;
}

impl Work for ReleaseWork {
    /// What became of each call, in their order.
    type Done = Vec<ReleaseResult>;
}

impl Work for ParkedReleaseWork {
    type Done = ParkedReleaseResult;
}

impl Work for ImportWork {
    /// What became of each call, in their order.
    type Done = Vec<ImportDone>;
}

impl Work for PauseWork {
    type Done = BusinessView;
}

/// Works for a worker to take.
impl Work for WorkRequest {
    type Done = WorksDone;
}

/// Something trivial to write, to learn whether the store can commit.
#[derive(Clone, Copy, Debug)]
pub struct Readiness;

impl Work for Readiness {
    type Done = ();
}

/// A work and the place for its result: a result can only be that of its own work.
#[derive(Debug)]
pub struct Slot<W: Work> {
    /// The work.
    pub work: W,
    /// What it came to; `None` until it was tried.
    pub result: Option<Result<W::Done, WriteError>>,
}

impl<W: Work> Slot<W> {
    /// A work that was not tried yet.
    pub fn new(work: W) -> Self {
        Self { work, result: None }
    }
}

/// One work of a group.
#[derive(Debug)]
pub enum Unit<'a> {
    /// Record the calls of a push and grant their claims.
    Push(&'a mut Slot<PushWork>),
    /// Write what became of callbacks.
    Outcomes(&'a mut Slot<Vec<OutcomeReport>>),
    /// Register a binding.
    Binding(&'a mut Slot<BindingWork>),
    /// Release calls.
    Release(&'a mut Slot<ReleaseWork>),
    /// Make a call of a parked CDR.
    ParkedRelease(&'a mut Slot<ParkedReleaseWork>),
    /// Record calls that no push brought.
    Import(&'a mut Slot<ImportWork>),
    /// Pause or resume a business.
    Pause(&'a mut Slot<PauseWork>),
    /// Grant works to a worker.
    Works(&'a mut Slot<WorkRequest>),
    /// Write something trivial.
    Readiness(&'a mut Slot<Readiness>),
}

/// Does the same with the slot of a unit, whatever its kind.
macro_rules! with_slot {
    ($unit:expr, $slot:ident => $done:expr) => {
        match $unit {
            Unit::Push($slot) => $done,
            Unit::Outcomes($slot) => $done,
            Unit::Binding($slot) => $done,
            Unit::Release($slot) => $done,
            Unit::ParkedRelease($slot) => $done,
            Unit::Import($slot) => $done,
            Unit::Pause($slot) => $done,
            Unit::Works($slot) => $done,
            Unit::Readiness($slot) => $done,
        }
    };
}

impl Unit<'_> {
    /// Whether it was tried and failed.
    pub(crate) fn error(&self) -> Option<&WriteError> {
        with_slot!(self, slot => slot.result.as_ref().and_then(|result| result.as_ref().err()))
    }

    /// Takes back what an attempt said of it.
    pub(crate) fn forget(&mut self) {
        with_slot!(self, slot => slot.result = None)
    }

    /// It was not committed.
    pub(crate) fn fail(&mut self, error: &WriteError) {
        let error = error.clone();
        with_slot!(self, slot => slot.result = Some(Err(error)))
    }
}

/// Who asked for a work.
pub trait Requester {
    /// Whether the requester still waits for the result.
    fn waits(&self) -> bool;
}

/// A work in a group, and who waits for it.
pub struct Waiting<'a> {
    /// The work.
    pub unit: Unit<'a>,
    /// Who asked for it; looked at right before the work is done.
    pub requester: &'a dyn Requester,
}

/// A push, ready to be committed.
#[derive(Clone, Debug)]
pub struct PushWork {
    /// Who asks for the claims.
    pub push_id: PushId,
    /// The Huawei application whose credentials the push carried.
    pub app_key: String,
    /// When the gateway received it.
    pub received: Received,
    /// What the gateway's clock showed when it sent the request, epoch milliseconds; `None` from gateways of 0.1.0.
    pub gateway_now_ms: Option<i64>,
    /// The business of the application, where the gateway told it.
    pub ak: Option<String>,
    /// What to do with a call that has no binding row.
    pub without_binding: WithoutBinding,
    /// The calls.
    pub calls: Vec<CallWork>,
    /// CDRs that the filter could not use.
    pub parked: Vec<TextWork>,
    /// A status event.
    pub event: Option<TextWork>,
    /// What its signature covered and what came with it; `None` from gateways that do not say.
    pub signature: Option<SignatureWork>,
    /// What to do with its CDRs if the signature came with other texts before.
    pub on_replay: OnReplay,
}

/// A push's signature, as it is remembered.
#[derive(Clone, Debug)]
pub struct SignatureWork {
    /// `aksk` or `wsse`.
    pub scheme: &'static str,
    /// The hash of the application, the scheme and what the signature covered.
    pub key: [u8; 16],
    /// The hash of the texts that came with it, in their order: calls, parked CDRs, the event.
    pub texts: [u8; 16],
}

/// When a gateway received a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At this moment of the gateway's clock, epoch milliseconds: what gateways of 0.1.0 say.
    At(i64),
    /// So many milliseconds before the store's now.
    Ago(u64),
}

impl Received {
    /// The moment, given the store's now; both epoch milliseconds.
    pub fn at(self, now_ms: i64) -> i64 {
        match self {
            Self::At(moment) => moment,
            Self::Ago(age) => now_ms.saturating_sub_unsigned(age),
        }
    }
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
        parked: TextWork,
    },
}

/// A call as it is recorded if it is new.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// The call's id.
    pub call_id: String,
    /// The Huawei application.
    pub app_key: String,
    /// The call record, or "".
    pub icid: String,
    /// So long after each grant of its claim the call without an outcome reads as unknown, milliseconds.
    pub ttl_ms: u64,
    /// The record as it is without a binding row. Its `sessionId` is set.
    pub record: Record,
    /// The CDR as it came; `None` from gateways of 0.1.0.
    pub cdr: Option<Private<Vec<u8>>>,
    /// What of the CDR could not be used: a JSON array, where anything could not.
    pub warnings: Option<String>,
}

/// A text to be kept once: a CDR that cannot be used, or a status event.
#[derive(Clone, Debug)]
pub struct TextWork {
    /// Why the CDR cannot be used, or the event's type.
    pub note: String,
    /// The text.
    pub raw: Private<String>,
    /// The bytes as they came, where they are not UTF-8.
    pub bytes: Option<Private<Vec<u8>>>,
    /// By which the same bytes are recognised.
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

/// Calls that an operator releases.
#[derive(Clone, Debug)]
pub struct ReleaseWork {
    /// The calls' ids, no two the same.
    pub call_ids: Vec<String>,
    /// Whose a call is that has no `ak`.
    pub ak: Option<String>,
}

/// What the release of one call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReleaseResult {
    /// It waits for a worker from now on.
    Released,
    /// It was released before and still waits.
    AlreadyReleased,
    /// It cannot be released.
    Refused(NotReleasable),
}

/// Why a call cannot be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotReleasable {
    /// There is no such call.
    NoSuchCall,
    /// It waits for its binding and becomes work by itself.
    WaitsForBinding,
    /// It waits for its business, which is paused.
    Paused,
    /// Somebody holds its claim.
    Pending,
    /// Whoever held its claim may have called back.
    Unknown,
    /// The business has its callback.
    Delivered,
    /// The business had its callback and replied with a status other than 2xx.
    Rejected,
    /// The callback left, or may have.
    MaybeSent,
    /// The call's data was erased.
    Erased,
}

/// A business that an operator pauses or resumes.
#[derive(Clone, Debug)]
pub struct PauseWork {
    /// The business.
    pub ak: String,
    /// Whether it is paused; otherwise it resumes.
    pub pause: bool,
}

/// A parked CDR of which a call is made.
#[derive(Clone, Debug)]
pub struct ParkedReleaseWork {
    /// The parked CDR's number.
    pub number: i64,
    /// When the gateway received it first, epoch milliseconds.
    pub received_at: i64,
    /// The call.
    pub call: Box<NewCall>,
}

/// What the release of a parked CDR came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedReleaseResult {
    /// The call waits for a worker from now on.
    Released {
        /// The call's id.
        call_id: String,
    },
    /// An earlier release made this call of it.
    AlreadyReleased {
        /// The call's id.
        call_id: String,
    },
    /// Another CDR brought the call already.
    CallExists {
        /// The call's id.
        call_id: String,
    },
    /// The parked CDR is not there.
    NotParked,
}

/// Calls of CDRs that an operator imports.
#[derive(Clone, Debug)]
pub struct ImportWork {
    /// The calls.
    pub calls: Vec<NewCall>,
    /// Whether a worker is to call back for those that are new.
    pub release: bool,
}

/// What the import of one call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImportDone {
    /// It is recorded.
    Imported,
    /// It was there already.
    AlreadyThere,
    /// It was to be released, and neither a binding row nor the request says whose it is. Nothing is recorded.
    NobodyToCallBack,
}

/// What a worker was granted.
#[derive(Clone, Debug, Default)]
pub struct WorksDone {
    /// The works, each claimed.
    pub calls: Vec<CallDone>,
    /// How many works wait besides these.
    pub works_waiting: u64,
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
    /// How many calls the store ended as skipped.
    pub skipped: u64,
    /// How many works wait for a worker.
    pub works_waiting: u64,
    /// How many later CDRs of calls were kept because they say something else.
    pub later_cdrs_kept: u64,
    /// How many say something else and were not kept, because there was no room for them.
    pub later_cdrs_not_kept: u64,
    /// That its signature came with other texts before.
    pub replay: Option<ReplayDone>,
}

/// A push whose signature came with other texts before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayDone {
    /// The push that the signature came with first.
    pub first_push_id: PushId,
    /// Whether those of its CDRs whose calls were not recorded yet are parked.
    pub parked: bool,
    /// Whether it was seen for the first time; not if the same push asks again.
    pub new: bool,
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

/// A push that does not keep the contract: where and why, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept(pub String);

impl PushWork {
    /// Takes over a push as the filter sent it; decides which of its calls can be used.
    ///
    /// # Errors
    /// [`NotKept`] where `rawBase64` is not Base64.
    pub fn new(push: &Push<'_>) -> Result<Self, NotKept> {
        let app_key = push.app_key.as_ref();
        let calls = push.calls.iter().enumerate().map(|(index, report)| CallWork::new(push, index, report)).collect();
        let parked = push.parked.iter().enumerate().map(|(index, parked)| {
            let bytes = decoded(parked.raw_base64.as_ref(), || format!("parked[{index}].rawBase64"))?;
            Ok(TextWork::new(app_key, &parked.reason, parked.raw.expose(), bytes))
        });
        let event = push.event.as_ref().map(|event| {
            let bytes = decoded(event.raw_base64.as_ref(), || "event.rawBase64".to_owned())?;
            Ok(TextWork::new(app_key, &event.event_type, event.raw.expose(), bytes))
        });
        let application = push.application.as_ref();
        Ok(Self {
            push_id: push.push_id,
            app_key: app_key.to_owned(),
            received: push.age_ms.map_or(Received::At(push.received_at), Received::Ago),
            gateway_now_ms: push.age_ms.map(|age_ms| push.received_at.saturating_add_unsigned(age_ms)),
            ak: application.and_then(|application| application.ak.as_deref().map(str::to_owned)),
            without_binding: application.map(|application| application.without_binding).unwrap_or_default(),
            calls,
            parked: parked.collect::<Result<_, _>>()?,
            event: event.transpose()?,
            signature: None,
            on_replay: push.application.as_ref().map(|application| application.on_replay).unwrap_or_default(),
        }
        .signed(push))
    }
}

impl PushWork {
    /// With what is to be remembered of the signature of `push`, whose work it is.
    fn signed(mut self, push: &Push<'_>) -> Self {
        let Some(signature) = &push.signature else { return self };
        let Some(scheme) = SCHEMES.into_iter().find(|scheme| *scheme == signature.scheme) else { return self };
        let mut texts = Sha256::new();
        let mut add = |text: &[u8]| {
            texts.update((text.len() as u64).to_be_bytes());
            texts.update(text);
        };
        for report in &push.calls {
            match &report.cdr {
                Some(cdr) => add(cdr.as_bytes()),
                // Whatever else the gateway says of a call, such as its deadline, may differ from push to push.
                None => add(report.key().id().as_bytes()),
            }
        }
        for text in self.parked.iter().chain(&self.event) {
            add(text.as_bytes());
        }
        let mut key = Sha256::new();
        for part in [push.app_key.as_ref(), scheme, signature.hash.as_ref()] {
            key.update((part.len() as u64).to_be_bytes());
            key.update(part);
        }
        self.signature = Some(SignatureWork { scheme, key: first_half(key), texts: first_half(texts) });
        self
    }
}

fn first_half(hash: Sha256) -> [u8; 16] {
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

fn decoded(
    base64: Option<&Private<Cow<'_, str>>>,
    member: impl FnOnce() -> String,
) -> Result<Option<Vec<u8>>, NotKept> {
    let decode = |text: &Private<Cow<'_, str>>| BASE64_STANDARD.decode(text.expose().as_bytes());
    base64.map(decode).transpose().map_err(|_| NotKept(format!("`{}`: not Base64 (RFC 4648, padded)", member())))
}

impl CallWork {
    fn new(push: &Push<'_>, index: usize, report: &CallReport<'_>) -> Self {
        let call_id = report.key().id();
        if let Some(reason) = unusable(&format!("/calls/{index}"), report) {
            // What was deserialised a moment ago can be serialised; if not, the reason alone is kept.
            let raw = serde_json::to_string(report).unwrap_or_default();
            return Self::Unusable { call_id, parked: TextWork::new(&push.app_key, &reason, &raw, None) };
        }
        // A gateway of 0.1.0 names the deadline by its own clock, by which it also received the push: the difference is a duration.
        let until_deadline = report.claim_deadline.saturating_sub(push.received_at);
        let ttl_ms = report.ttl_ms.unwrap_or(u64::try_from(until_deadline).unwrap_or_default());
        Self::Usable(Box::new(NewCall::new(call_id, report, ttl_ms)))
    }
}

impl NewCall {
    fn new(call_id: String, report: &CallReport<'_>, ttl_ms: u64) -> Self {
        let (mut record, mut warnings) = (record::from_report(report), report.warnings.clone());
        gb18030::fill(report, &mut record, &mut warnings);
        let warnings = if warnings.is_empty() { None } else { serde_json::to_string(&warnings).ok() };
        Self {
            call_id,
            app_key: report.app_key.clone().into_owned(),
            icid: report.icid.clone().into_owned(),
            ttl_ms,
            record,
            cdr: report.cdr.as_ref().map(|cdr| Private::new(cdr.as_bytes().to_vec())),
            warnings,
        }
    }

    /// A call of a CDR that the store itself has read.
    ///
    /// # Errors
    /// [`NotKept`] where it cannot be recorded.
    pub fn of_cdr(report: &CallReport<'_>) -> Result<Self, NotKept> {
        match unusable("", report) {
            Some(reason) => Err(NotKept(reason)),
            // Who takes it says how long the claim lasts.
            None => Ok(Self::new(report.key().id(), report, 0)),
        }
    }

    /// Whether a binding could still be registered for it.
    pub(crate) fn can_be_bound(&self) -> bool {
        let length = self.record.subscription_id.as_deref().map_or(0, |id| id.chars().count());
        (1..=SUBSCRIPTION_ID_CHARS).contains(&length)
    }
}

/// Why a call cannot be recorded: a JSON pointer, which begins with `at`, and what is wrong there, without its value.
fn unusable(at: &str, report: &CallReport<'_>) -> Option<String> {
    let parts = [
        ("appKey", report.app_key.as_ref(), true),
        ("sessionId", report.session_id.expose().as_ref(), true),
        ("icid", report.icid.as_ref(), false),
    ];
    parts.into_iter().find_map(|(name, value, required)| {
        if required && value.is_empty() {
            Some(format!("{at}/{name}: empty; without it the call cannot be told from others"))
        } else if value.len() > KEY_PART_BYTES {
            Some(format!("{at}/{name}: longer than {KEY_PART_BYTES} bytes"))
        } else {
            None
        }
    })
}

impl TextWork {
    /// The bytes as they came.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Some(bytes) => bytes.expose(),
            None => self.raw.expose().as_bytes(),
        }
    }

    /// The text of a call that could be recorded and is not to be.
    pub(crate) fn of_call(app_key: &str, note: &str, call: &NewCall) -> Self {
        match &call.cdr {
            Some(cdr) => {
                let bytes = cdr.expose();
                Self::new(app_key, note, &String::from_utf8_lossy(bytes), Some(bytes.clone()))
            }
            // What is a record can be serialised; if not, the reason alone is kept.
            None => Self::new(app_key, note, &serde_json::to_string(&call.record).unwrap_or_default(), None),
        }
    }

    /// A text of `app_key`, with its bytes where they were given beside it.
    fn new(app_key: &str, note: &str, raw: &str, bytes: Option<Vec<u8>>) -> Self {
        let digest = digest(app_key, bytes.as_deref().unwrap_or(raw.as_bytes()));
        // Bytes that are UTF-8 after all are a text.
        let (raw, bytes) = match bytes.map(String::from_utf8) {
            None => (raw.to_owned(), None),
            Some(Ok(text)) => (text, None),
            Some(Err(error)) => (raw.to_owned(), Some(error.into_bytes())),
        };
        Self { note: note.to_owned(), raw: Private::new(raw), bytes: bytes.map(Private::new), digest }
    }
}

/// SHA-256 of the length-prefixed application and the bytes, in hex.
fn digest(app_key: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update((app_key.len() as u64).to_be_bytes());
    hash.update(app_key);
    hash.update(bytes);
    hex(&hash.finalize())
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Bindings by their `subscriptionId`.
pub(crate) type Bindings = HashMap<String, RegisteredBinding>;
