//! The body of a push: which kind it is, and its CDRs one by one.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::{CallReport, CdrText, Event, Parked, Private, Warning};

use crate::charset::{self, Charset};
use crate::fee_info::{Source, Unusable};
use crate::frame::{Element, Frame, InvalidPush, List, MAX_CDRS, invalid};
use crate::reshape::reshape;
use crate::value::{self, Found};

/// Longest `eventType` that is shown, in characters.
const LONGEST_EVENT_TYPE: usize = 64;

/// The body of a push as text.
pub struct Body<'b> {
    text: Cow<'b, str>,
    /// The bytes, where they are not the text: as many.
    masked: Option<&'b [u8]>,
}

impl Body<'_> {
    /// `part` of the text as it is kept: as text, with U+FFFD for bytes that are not UTF-8, and its bytes in Base64 where it has such.
    fn keep<'a>(&'a self, part: &'a str) -> (Private<Cow<'a, str>>, Option<Private<Cow<'a, str>>>) {
        match self.source().masked_part(part) {
            None => (Private::new(Cow::Borrowed(part)), None),
            Some(bytes) => {
                let base64 = Private::new(Cow::Owned(BASE64_STANDARD.encode(bytes)));
                (Private::new(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())), Some(base64))
            }
        }
    }

    fn source(&self) -> Source<'_> {
        Source { text: &self.text, masked: self.masked }
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
        let frame = Frame::read(body.source())?;
        let event_type = match EventType::of(&frame, body)? {
            EventType::Fee => return self.read_list(frame.fee_lst, body),
            EventType::Call(name) => {
                expect_kind("/statusInfo", frame.status_info, Found::Object, "must be an object")?;
                Cow::Borrowed(name)
            }
            EventType::Other(name) => name,
            EventType::NumStatus => {
                expect_kind("/numInfo", frame.num_info, Found::Array, "must be an array of numbers")?;
                Cow::Borrowed("numStatus")
            }
        };
        let (raw, raw_base64) = body.keep(&body.text);
        Ok(Contents::Event(Event { event_type, raw, raw_base64 }))
    }

    fn read_list<'a>(&self, list: Option<List<'a>>, body: &'a Body<'_>) -> Result<Contents<'a>, InvalidPush>
    where
        'c: 'a,
    {
        let refuse = |found: &dyn fmt::Display| {
            Err(invalid("/feeLst", format!("must be an array of 1 to {MAX_CDRS} CDRs, found {found}")))
        };
        match list {
            None | Some(List::Value("null")) => refuse(&"nothing"),
            Some(List::Cdrs(elements)) if elements.is_empty() => refuse(&"none"),
            Some(List::Cdrs(elements)) => Ok(self.read_cdrs(elements, |index| format!("/feeLst/{index}"), body)),
            Some(List::TooMany(count)) => refuse(&count),
            // Not documented, but there are receivers in use that read only one object for a list of one.
            Some(List::Value(value)) => match (Found::kind_of(value), Element::read(body.source(), value)) {
                (Found::Object, Some(cdr)) => Ok(self.read_cdrs(vec![cdr], |_| "/feeLst".to_owned(), body)),
                (other, _) => refuse(&other),
            },
        }
    }

    /// `pointer`: the JSON pointer to the element with that index.
    fn read_cdrs<'a>(
        &self,
        elements: Vec<Element<'a>>,
        pointer: fn(usize) -> String,
        body: &'a Body<'_>,
    ) -> Contents<'a>
    where
        'c: 'a,
    {
        let mut calls: Vec<CallReport<'a>> = Vec::with_capacity(elements.len());
        let (mut further, mut parked, mut repeated) = (Vec::new(), Vec::new(), 0);
        for (index, element) in elements.into_iter().enumerate() {
            let text = element.text.get();
            match self.read_cdr(element, body.source()) {
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
                    let (raw, raw_base64) = body.keep(text);
                    parked.push(Parked { reason: format!("{}{unusable}", pointer(index)).into(), raw, raw_base64 });
                }
            }
        }
        Contents::Calls { calls, further, parked, repeated }
    }

    /// `element` stands in `source`.
    fn read_cdr<'a>(&self, element: Element<'a>, source: Source<'a>) -> Result<CallReport<'a>, Unusable>
    where
        'c: 'a,
    {
        let Element { text, cdr } = element;
        let cdr = cdr?;
        if cdr.app_key != self.app_key {
            return Err(Unusable::ForeignApplication);
        }
        let text = match source.masked_part(text.get()) {
            None => CdrText::Json(text),
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
        Cow::Borrowed(text) => read_whole(&reader, Source { text, masked: None }),
        Cow::Owned(text) => {
            let call = read_whole(&reader, Source { text: &text, masked: Some(cdr) })?;
            Ok(CallReport { cdr: Some(CdrText::Bytes(Cow::Borrowed(cdr))), ..into_owned(call) })
        }
    }
}

fn read_whole<'a>(reader: &Reader<'a>, source: Source<'a>) -> Result<CallReport<'a>, Unusable> {
    let text = source.text.trim_ascii();
    let element = Element::read(source, text).filter(|element| element.text.get() == text).ok_or(Unusable::NotJson)?;
    reader.read_cdr(element, source)
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
    /// What is known; from the fourth on, call status events.
    const KNOWN: [&'static str; 8] =
        ["fee", "numStatus", "collectInfo", "callin", "callout", "alerting", "answer", "disconnect"];
    /// Stands for a name that cannot be shown: too long, with a NUL, or not UTF-8.
    const UNNAMED: &'static str = "unnamed";

    fn of(frame: &Frame<'a>, body: &'a Body<'_>) -> Result<Self, InvalidPush> {
        const POINTER: &str = "/eventType";
        let Some(raw) = frame.event_type.filter(|value| *value != "null") else {
            return Err(match frame.sms_event {
                Some(_) => invalid(POINTER, "is missing: an SMS push, which needs another address than CDR pushes"),
                None => invalid(POINTER, "is missing: expected \"fee\" or an event"),
            });
        };
        if Found::kind_of(raw) != Found::Text {
            return Err(invalid(POINTER, "must be a text: expected \"fee\" or an event"));
        }
        if raw == "\"\"" {
            return Err(invalid(POINTER, "is empty: expected \"fee\" or an event"));
        }
        let is_readable = body.source().masked_part(raw).is_none();
        Ok(Self::named(raw).filter(|_| is_readable).unwrap_or(Self::Other(Cow::Borrowed(Self::UNNAMED))))
    }

    /// The one of that name, which is a JSON string; `None` where it cannot be read.
    fn named(raw: &'a str) -> Option<Self> {
        let name = value::text(raw, LONGEST_EVENT_TYPE).ok().flatten()?;
        let known = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match Self::KNOWN.into_iter().position(known) {
            Some(0) => Self::Fee,
            Some(1) => Self::NumStatus,
            Some(2) => Self::Other(Cow::Borrowed("collectInfo")),
            Some(call) => Self::Call(Self::KNOWN.get(call).copied().unwrap_or_default()),
            None => Self::Other(name),
        })
    }
}

fn expect_kind(
    pointer: &'static str,
    value: Option<&str>,
    expected: Found,
    reason: &'static str,
) -> Result<(), InvalidPush> {
    if value.is_some_and(|value| Found::kind_of(value) == expected) { Ok(()) } else { Err(invalid(pointer, reason)) }
}

#[cfg(test)]
mod tests;
