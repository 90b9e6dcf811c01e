//! The body of a push: which kind it is, and its CDRs one by one.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::{CallReport, CdrText, Event, Parked, Private, Warning, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::charset::{self, Charset};
use crate::fee_info::{Cdr, Source, Unusable, bytes_of};
use crate::reshape::reshape;
use crate::usual::UsualPush;
use crate::value::{self, Found};

/// Huawei merges at most that many CDRs into one push.
pub const MAX_CDRS: usize = limits::PUSH_CDRS;
/// Longest `eventType` that is shown, in characters.
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
    /// The bytes, where they are not the text: as many.
    masked: Option<&'b [u8]>,
}

impl<'b> Body<'b> {
    /// `part` of the text as it is kept: as text, with U+FFFD for bytes that are not UTF-8, and its bytes in Base64 where it has such.
    fn keep<'a>(&'a self, part: &'a str) -> (Private<Cow<'a, str>>, Option<Private<Cow<'a, str>>>) {
        match self.source(part).masked {
            None => (Private::new(Cow::Borrowed(part)), None),
            Some(bytes) => {
                let base64 = Private::new(Cow::Owned(BASE64_STANDARD.encode(bytes)));
                (Private::new(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())), Some(base64))
            }
        }
    }

    /// `part` of the text with its bytes, where they are not the text.
    fn source<'a>(&'a self, part: &'a str) -> Source<'a> {
        let bytes = self.masked.and_then(|bytes| bytes_of(part, &self.text, bytes));
        Source { text: part, masked: bytes.filter(|bytes| *bytes != part.as_bytes()) }
    }
}

/// The body as text, without the byte order mark.
///
/// Bytes that are not UTF-8 matter only in a field that is used. So that they cost no neighbour anything, characters of GBK are told from
/// JSON's own where `charset` says so, or where the body is well formed only that way.
pub fn decode(body: &[u8], charset: Charset) -> Body<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = charset::text(body, charset);
    let masked = matches!(text, Cow::Owned(_)).then_some(body);
    Body { text, masked }
}

/// What a push holds.
#[derive(Debug)]
pub enum Contents<'a> {
    /// CDRs, each of them in one of the two.
    Calls {
        /// Those that can be recorded. Where several are of one call, their texts differ: the first mention is the call.
        calls: Vec<CallReport<'a>>,
        /// Which of them are further versions of an earlier one's CDR: their places among the calls.
        further: Vec<usize>,
        /// Those that cannot.
        parked: Vec<Parked<'a>>,
        /// How many had the text of an earlier CDR of the same call.
        repeated: usize,
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
        match self.read_usual(body) {
            Some(contents) => Ok(contents),
            None => self.read_thoroughly(body),
        }
    }

    /// Reads a push in one pass if its frame is as usual: an array of CDRs.
    fn read_usual<'a>(&self, body: &'a Body<'_>) -> Option<Contents<'a>>
    where
        'c: 'a,
    {
        let push = UsualPush::read(&body.text)?;
        let is_fee = matches!(EventType::named(push.event_type.get()), Some(EventType::Fee));
        is_fee.then(|| self.read_cdrs(&FeeList::Array(push.into_cdrs()), body))
    }

    fn read_thoroughly<'a>(&self, body: &'a Body<'_>) -> Result<Contents<'a>, InvalidPush>
    where
        'c: 'a,
    {
        let envelope = Envelope::read(&body.text)?;
        let event_type = match EventType::of(&envelope, body)? {
            EventType::Fee => return Ok(self.read_cdrs(&FeeList::read(envelope.fee_lst)?, body)),
            EventType::Call(name) => {
                expect_kind("/statusInfo", envelope.status_info, Found::Object, "must be an object")?;
                Cow::Borrowed(name)
            }
            EventType::Other(name) => name,
            EventType::NumStatus => {
                expect_kind("/numInfo", envelope.num_info, Found::Array, "must be an array of numbers")?;
                Cow::Borrowed("numStatus")
            }
        };
        let (raw, raw_base64) = body.keep(&body.text);
        Ok(Contents::Event(Event { event_type, raw, raw_base64 }))
    }

    fn read_cdrs<'a>(&self, list: &FeeList<'a>, body: &'a Body<'_>) -> Contents<'a>
    where
        'c: 'a,
    {
        let elements = list.elements();
        let mut calls: Vec<CallReport<'a>> = Vec::with_capacity(elements.len());
        let (mut further, mut parked, mut repeated) = (Vec::new(), Vec::new(), 0);
        for (index, element) in elements.iter().enumerate() {
            match self.read_cdr(element, body.source(element.get())) {
                Ok(call) => {
                    let mut versions = calls.iter().filter(|earlier| is_same_call(earlier, &call)).peekable();
                    if versions.peek().is_some() {
                        if versions.any(|earlier| earlier.cdr == call.cdr) {
                            repeated += 1;
                            continue;
                        }
                        further.push(calls.len());
                    }
                    calls.push(call);
                }
                Err(unusable) => {
                    let (raw, raw_base64) = body.keep(element.get());
                    parked.push(Parked {
                        reason: format!("{}{unusable}", list.pointer(index)).into(),
                        raw,
                        raw_base64,
                    });
                }
            }
        }
        Contents::Calls { calls, further, parked, repeated }
    }

    /// `element` is the text of `source`.
    fn read_cdr<'a>(&self, element: &'a RawValue, source: Source<'a>) -> Result<CallReport<'a>, Unusable>
    where
        'c: 'a,
    {
        let cdr = Cdr::read(source)?;
        if cdr.app_key != self.app_key {
            return Err(Unusable::ForeignApplication);
        }
        let text = match source.masked {
            None => CdrText::Json(element),
            Some(bytes) => CdrText::Bytes(Cow::Borrowed(bytes)),
        };
        Ok(reshape(cdr, self.ak, self.claim_deadline, self.ttl_ms, text))
    }
}

/// Whether two CDRs of a push are of one call.
fn is_same_call(one: &CallReport<'_>, other: &CallReport<'_>) -> bool {
    one.session_id == other.session_id && one.icid == other.icid
}

/// Reads one CDR, such as the store has kept, with today's rules. `cdr`: its bytes as they came; `app_key`: the application that
/// signed the push; `ak`: its business; `ttl_ms`: the claim's time to live, milliseconds. The report's `claim_deadline` is 0, because
/// only the time to live counts.
///
/// # Errors
/// The CDR cannot be used, and stays parked.
pub fn read_cdr<'a>(
    cdr: &'a [u8],
    app_key: &'a str,
    ak: Option<&'a str>,
    ttl_ms: u64,
) -> Result<CallReport<'a>, Unusable> {
    let reader = Reader { app_key, ak, claim_deadline: 0, ttl_ms };
    match charset::text(cdr, Charset::Utf8) {
        Cow::Borrowed(text) => {
            let element: &RawValue = serde_json::from_str(text).map_err(|_| Unusable::NotJson)?;
            reader.read_cdr(element, Source { text: element.get(), masked: None })
        }
        Cow::Owned(text) => {
            let element: &RawValue = serde_json::from_str(&text).map_err(|_| Unusable::NotJson)?;
            let masked = bytes_of(element.get(), &text, cdr);
            let call = reader.read_cdr(element, Source { text: element.get(), masked })?;
            Ok(CallReport { cdr: Some(CdrText::Bytes(Cow::Borrowed(cdr))), ..into_owned(call) })
        }
    }
}

/// `call` without its CDR, which outlives the text it was read from.
fn into_owned(call: CallReport<'_>) -> CallReport<'static> {
    fn text(text: Cow<'_, str>) -> Cow<'static, str> {
        Cow::Owned(text.into_owned())
    }
    let private = |value: Private<Cow<'_, str>>| Private::new(text(value.into_exposed()));
    let warning = |Warning { field, reason }: Warning<'_>| Warning { field: text(field), reason: text(reason) };
    CallReport {
        app_key: text(call.app_key),
        session_id: private(call.session_id),
        icid: text(call.icid),
        claim_deadline: call.claim_deadline,
        ttl_ms: call.ttl_ms,
        callin_time: call.callin_time,
        answer_time: call.answer_time,
        disconnect_time: call.disconnect_time,
        record_url: call.record_url.map(private),
        subscription_id: call.subscription_id.map(text),
        private_num: call.private_num.map(private),
        orig_num: call.orig_num.map(private),
        user_data: call.user_data.map(private),
        ak: call.ak.map(text),
        record_flag: call.record_flag,
        cdr: None,
        warnings: call.warnings.into_iter().map(warning).collect(),
    }
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

/// What a push is about.
enum EventType<'a> {
    Fee,
    /// A call status event, which comes with a `statusInfo`.
    Call(&'static str),
    NumStatus,
    /// An event of which nothing is expected, with its name: one that is not known, or `collectInfo`, which only AXE has and whose
    /// digits are not documented.
    Other(Cow<'a, str>),
}

impl<'a> EventType<'a> {
    /// Names of call status events.
    const CALL: [&'static str; 5] = ["callin", "callout", "alerting", "answer", "disconnect"];
    /// Stands for a name that cannot be shown: too long, with a NUL, or not UTF-8.
    const UNNAMED: &'static str = "unnamed";

    fn of(envelope: &Envelope<'a>, body: &'a Body<'_>) -> Result<Self, InvalidPush> {
        const POINTER: &str = "/eventType";
        let Some(raw) = envelope.event_type else {
            return Err(match envelope.sms_event {
                Some(_) => invalid(POINTER, "is missing: an SMS push, which needs another address than CDR pushes"),
                None => invalid(POINTER, "is missing: expected \"fee\" or an event"),
            });
        };
        let raw = raw.get();
        if Found::kind_of(raw) != Found::Text {
            return Err(invalid(POINTER, "must be a text: expected \"fee\" or an event"));
        }
        if raw == "\"\"" {
            return Err(invalid(POINTER, "is empty: expected \"fee\" or an event"));
        }
        let is_readable = body.source(raw).masked.is_none();
        Ok(Self::named(raw).filter(|_| is_readable).unwrap_or(Self::Other(Cow::Borrowed(Self::UNNAMED))))
    }

    /// The one of that name, which is a JSON string; `None` where it cannot be read.
    fn named(raw: &'a str) -> Option<Self> {
        let name = value::text(raw, LONGEST_EVENT_TYPE).ok().flatten()?;
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        Some(if is(&"fee") {
            Self::Fee
        } else if let Some(known) = Self::CALL.into_iter().find(is) {
            Self::Call(known)
        } else if is(&"numStatus") {
            Self::NumStatus
        } else if is(&"collectInfo") {
            Self::Other(Cow::Borrowed("collectInfo"))
        } else {
            Self::Other(name)
        })
    }
}

fn expect_kind(
    pointer: &'static str,
    raw: Option<&RawValue>,
    expected: Found,
    reason: &'static str,
) -> Result<(), InvalidPush> {
    if raw.is_some_and(|raw| Found::kind_of(raw.get()) == expected) { Ok(()) } else { Err(invalid(pointer, reason)) }
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
        match Found::kind_of(raw.get()) {
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
