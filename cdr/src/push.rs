//! The body of a push: which kind it is, and its CDRs one by one.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::{CallReport, Event, Parked, Private, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fee_info::{Cdr, Unusable};
use crate::reshape::reshape;
use crate::usual::UsualPush;
use crate::value::{self, Found};

/// Huawei merges at most that many CDRs into one push.
pub const MAX_CDRS: usize = limits::PUSH_CDRS;
/// Longest `eventType` that is looked at, in characters.
const LONGEST_EVENT_TYPE: usize = 64;

/// A push that is not one. Shows no value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPush {
    /// JSON pointer (RFC 6901) to what is wrong; "" is the whole body.
    pub pointer: Cow<'static, str>,
    /// What is wrong there, and what to do about it.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for InvalidPush {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the body" } else { &self.pointer };
        write!(formatter, "{place}: {}", self.reason)
    }
}

impl std::error::Error for InvalidPush {}

fn invalid(pointer: &'static str, reason: impl Into<Cow<'static, str>>) -> InvalidPush {
    InvalidPush { pointer: pointer.into(), reason: reason.into() }
}

/// The body of a push as text.
pub struct Body<'b> {
    text: Cow<'b, str>,
    /// The bytes, where they are not UTF-8: those that are not stand as U+FFFD in the text.
    bytes: Option<&'b [u8]>,
}

impl Body<'_> {
    fn lossy(&self) -> bool {
        self.bytes.is_some()
    }

    /// The bytes of `part`, which is a part of the text, in Base64; `None` where the part is the bytes.
    fn base64_of(&self, part: &str) -> Option<Private<Cow<'static, str>>> {
        let bytes = self.bytes?;
        let start = part.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let original = bytes.get(original_offset(bytes, start)?..original_offset(bytes, start + part.len())?)?;
        (original != part.as_bytes()).then(|| Private::new(Cow::Owned(BASE64_STANDARD.encode(original))))
    }
}

/// Where in `bytes` that is which stands at `offset` in its text with replacements.
fn original_offset(bytes: &[u8], offset: usize) -> Option<usize> {
    let (mut in_text, mut in_bytes) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().len();
        if offset <= in_text + valid {
            return Some(in_bytes + offset - in_text);
        }
        in_text += valid + char::REPLACEMENT_CHARACTER.len_utf8();
        in_bytes += valid + chunk.invalid().len();
    }
    (offset == in_text).then_some(in_bytes)
}

/// The body as text, without the byte order mark.
///
/// Bytes that are not UTF-8 are replaced: a CDR with such a byte is parked, and the others of the push are read.
pub fn decode(body: &[u8]) -> Body<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // Far faster than the lossy way, which is for the rare body that needs it.
    match std::str::from_utf8(body) {
        Ok(text) => Body { text: Cow::Borrowed(text), bytes: None },
        Err(_) => Body { text: String::from_utf8_lossy(body), bytes: Some(body) },
    }
}

/// What a push holds.
#[derive(Debug)]
pub enum Contents<'a> {
    /// CDRs, each of them in one of the two.
    Calls {
        /// Those that can be recorded, no two of the same call.
        calls: Vec<CallReport<'a>>,
        /// Those that cannot.
        parked: Vec<Parked<'a>>,
    },
    /// A call or number status event, to be kept raw.
    Event(Event<'a>),
}

/// Reads pushes of one application.
#[derive(Clone, Copy)]
pub struct Reader<'c> {
    /// The application whose credentials the push carried.
    pub app_key: &'c str,
    /// What the gateway's configuration calls the business of the application.
    pub ak: Option<&'c str>,
    /// After this moment a claim without an outcome reads as `unknown`, epoch milliseconds.
    pub claim_deadline: i64,
    /// How long after the store granted it a claim without an outcome reads as `unknown`, milliseconds.
    pub ttl_ms: u64,
}

impl<'c> Reader<'c> {
    /// Reads a push. What is found borrows from the body wherever the body's text can stand as it is.
    ///
    /// # Errors
    /// The body is not JSON, or not a push that this gateway handles. One bad CDR is no error.
    pub fn read<'a>(&self, body: &'a Body<'_>) -> Result<Contents<'a>, InvalidPush>
    where
        'c: 'a,
    {
        if let Some(calls) = self.read_usual(body) {
            return Ok(Contents::Calls { calls, parked: Vec::new() });
        }
        self.read_thoroughly(body)
    }

    /// Reads a push in one pass if everything is as usual: an array of CDRs, all of which can be recorded.
    fn read_usual<'a>(&self, body: &'a Body<'_>) -> Option<Vec<CallReport<'a>>>
    where
        'c: 'a,
    {
        let push = if body.lossy() { None } else { UsualPush::read(&body.text) }?;
        if !matches!(EventType::named(push.event_type), Some(EventType::Fee)) {
            return None;
        }
        let mut calls = Vec::with_capacity(push.cdrs().len());
        for element in push.cdrs() {
            let call = self.accept(Cdr::read(element).ok()?, element, &calls).ok()?;
            calls.push(call);
        }
        Some(calls)
    }

    fn read_thoroughly<'a>(&self, body: &'a Body<'_>) -> Result<Contents<'a>, InvalidPush>
    where
        'c: 'a,
    {
        let envelope = Envelope::read(&body.text)?;
        let event_type = match EventType::of(&envelope)? {
            EventType::Fee => return self.read_cdrs(envelope.fee_lst, body),
            EventType::Call(name) => {
                expect_kind("/statusInfo", envelope.status_info, Found::Object, "must be an object")?;
                name
            }
            EventType::CollectInfo => "collectInfo",
            EventType::NumStatus => {
                expect_kind("/numInfo", envelope.num_info, Found::Array, "must be an array of numbers")?;
                "numStatus"
            }
        };
        let raw = Private::new(Cow::Borrowed(body.text.as_ref()));
        let raw_base64 = body.base64_of(&body.text);
        Ok(Contents::Event(Event { event_type: event_type.into(), raw, raw_base64 }))
    }

    fn read_cdrs<'a>(&self, fee_lst: Option<&'a RawValue>, body: &'a Body<'_>) -> Result<Contents<'a>, InvalidPush>
    where
        'c: 'a,
    {
        let list = FeeList::read(fee_lst)?;
        let elements = list.elements();
        let mut calls = Vec::with_capacity(elements.len());
        let mut parked = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            match self.read_cdr(element, body.lossy(), &calls) {
                Ok(call) => calls.push(call),
                Err(unusable) => parked.push(Parked {
                    reason: format!("{}{unusable}", list.pointer(index)).into(),
                    raw: Private::new(Cow::Borrowed(element.get())),
                    raw_base64: body.base64_of(element.get()),
                }),
            }
        }
        Ok(Contents::Calls { calls, parked })
    }

    fn read_cdr<'a>(
        &self,
        element: &'a RawValue,
        lossy: bool,
        earlier: &[CallReport<'a>],
    ) -> Result<CallReport<'a>, Unusable>
    where
        'c: 'a,
    {
        if lossy && element.get().contains(char::REPLACEMENT_CHARACTER) {
            return Err(Unusable::NotUtf8);
        }
        self.accept(Cdr::read(element)?, element, earlier)
    }

    fn accept<'a>(
        &self,
        cdr: Cdr<'a>,
        text: &'a RawValue,
        earlier: &[CallReport<'a>],
    ) -> Result<CallReport<'a>, Unusable>
    where
        'c: 'a,
    {
        if cdr.app_key != self.app_key {
            return Err(Unusable::ForeignApplication);
        }
        let call = reshape(cdr, self.ak, self.claim_deadline, self.ttl_ms, text);
        // P1: a store grants a claim again to the push that holds it, so one push must not ask twice.
        if earlier.iter().any(|other| other.session_id == call.session_id && other.icid == call.icid) {
            return Err(Unusable::RepeatedCall);
        }
        Ok(call)
    }
}

/// Reads the text of one CDR, such as the store has kept, with today's rules. `app_key`: the application that signed the push;
/// `ak`: its business; `ttl_ms`: the claim's time to live, milliseconds. The report's `claim_deadline` is 0, because only the
/// time to live counts.
///
/// # Errors
/// The CDR cannot be used, and stays parked.
pub fn read_cdr<'a>(
    text: &'a [u8],
    app_key: &'a str,
    ak: Option<&'a str>,
    ttl_ms: u64,
) -> Result<CallReport<'a>, Unusable> {
    let text = std::str::from_utf8(text).map_err(|_| Unusable::NotUtf8)?;
    let element: &RawValue = serde_json::from_str(text.trim_ascii()).map_err(|_| Unusable::NotJson)?;
    let reader = Reader { app_key, ak, claim_deadline: 0, ttl_ms };
    reader.read_cdr(element, false, &[])
}

/// The top level of a push; keys that are not used are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    fee_lst: Option<&'a RawValue>,
    #[serde(borrow)]
    status_info: Option<&'a RawValue>,
    #[serde(borrow)]
    num_info: Option<&'a RawValue>,
    #[serde(borrow)]
    sms_event: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Result<Self, InvalidPush> {
        // serde would take an array for a structure as well.
        if text.trim_ascii_start().starts_with('[') {
            return Err(invalid("", "must be a JSON object, found an array"));
        }
        // serde's own message may hold a value of the body.
        serde_json::from_str(text).map_err(|error| {
            let reason = if error.is_data() {
                "must be a JSON object in which no key is there more than once".to_owned()
            } else {
                format!("is not JSON: error at line {}, column {}", error.line(), error.column())
            };
            invalid("", reason)
        })
    }
}

/// The pushes that this gateway handles.
#[derive(Clone, Copy)]
enum EventType {
    Fee,
    /// A call status event, which comes with a `statusInfo`.
    Call(&'static str),
    /// Only AXE has it, and where its digits stand is not documented.
    CollectInfo,
    NumStatus,
}

impl EventType {
    const ALL: [(&'static str, Self); 8] = [
        ("fee", Self::Fee),
        ("callin", Self::Call("callin")),
        ("callout", Self::Call("callout")),
        ("alerting", Self::Call("alerting")),
        ("answer", Self::Call("answer")),
        ("disconnect", Self::Call("disconnect")),
        ("collectInfo", Self::CollectInfo),
        ("numStatus", Self::NumStatus),
    ];

    fn of(envelope: &Envelope<'_>) -> Result<Self, InvalidPush> {
        const POINTER: &str = "/eventType";
        let Some(raw) = envelope.event_type else {
            return Err(match envelope.sms_event {
                Some(_) => invalid(POINTER, "is missing: an SMS push, which needs another address than CDR pushes"),
                None => invalid(POINTER, "is missing: expected \"fee\" or a status event"),
            });
        };
        if Found::kind_of(raw) != Found::Text {
            return Err(invalid(POINTER, "must be a text: expected \"fee\" or a status event"));
        }
        Self::named(raw).ok_or_else(|| {
            let reason =
                "is unknown: expected fee, callin, callout, alerting, answer, disconnect, collectInfo or numStatus";
            invalid(POINTER, reason)
        })
    }

    fn named(raw: &RawValue) -> Option<Self> {
        let name = value::text(Some(raw), LONGEST_EVENT_TYPE).ok().flatten().unwrap_or_default();
        Self::ALL.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, found)| found)
    }
}

fn expect_kind(
    pointer: &'static str,
    raw: Option<&RawValue>,
    expected: Found,
    reason: &'static str,
) -> Result<(), InvalidPush> {
    if raw.is_some_and(|raw| Found::kind_of(raw) == expected) { Ok(()) } else { Err(invalid(pointer, reason)) }
}

/// `feeLst`.
enum FeeList<'a> {
    Array(Vec<&'a RawValue>),
    /// Not documented, but there are receivers in use that read only this.
    Single([&'a RawValue; 1]),
}

impl<'a> FeeList<'a> {
    fn read(raw: Option<&'a RawValue>) -> Result<Self, InvalidPush> {
        const POINTER: &str = "/feeLst";
        let refuse = |found: &dyn fmt::Display| {
            invalid(POINTER, format!("must be an array of 1 to {MAX_CDRS} CDRs, found {found}"))
        };
        let Some(raw) = raw else { return Err(refuse(&"nothing")) };
        match Found::kind_of(raw) {
            Found::Object => Ok(Self::Single([raw])),
            Found::Array => {
                let elements: Vec<&'a RawValue> =
                    serde_json::from_str(raw.get()).map_err(|_| refuse(&"something else"))?;
                match elements.len() {
                    0 => Err(refuse(&"none")),
                    1..=MAX_CDRS => Ok(Self::Array(elements)),
                    more => Err(refuse(&more)),
                }
            }
            other => Err(refuse(&other)),
        }
    }

    fn elements(&self) -> &[&'a RawValue] {
        match self {
            Self::Array(elements) => elements,
            Self::Single(element) => element,
        }
    }

    fn pointer(&self, index: usize) -> String {
        match self {
            Self::Array(_) => format!("/feeLst/{index}"),
            Self::Single(_) => "/feeLst".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
