use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{CallKey, Private};

/// The random 128 bits that identify one push through one gateway.
///
/// The store grants a call's claim to the first push id that asks, and again to the same id while there is no outcome.
/// On the wire: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushId([u8; 16]);

impl PushId {
    /// From 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 lower-case hex digits that stand for it everywhere.
    pub fn to_hex(&self) -> [u8; 32] {
        hex(&self.0)
    }
}

/// The lower-case hex digits of 16 bytes.
pub fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    hex
}

/// Whether the text is what [`hex`] writes: 32 lower-case hex digits.
pub fn is_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A text that is not 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushIdError;

impl fmt::Display for PushIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a push id is 32 lower-case hex digits")
    }
}

impl std::error::Error for PushIdError {}

impl FromStr for PushId {
    type Err = PushIdError;

    fn from_str(text: &str) -> Result<Self, PushIdError> {
        if !is_hex(text) {
            return Err(PushIdError);
        }
        u128::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| PushIdError)
    }
}

impl fmt::Display for PushId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl fmt::Debug for PushId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PushId({self})")
    }
}

impl Serialize for PushId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for PushId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One push of Huawei, reshaped: `POST /v1/pushes`, or one of several in a [`PushBatch`](crate::PushBatch).
///
/// The store commits all of it in one durable transaction or answers a [`Problem`](crate::Problem) and commits nothing.
/// An answer with any other body, or none, says nothing about the commit: ask again with the same `pushId`.
///
/// Members that 0.1.0 did not have may be missing. `receivedAt` and `claimDeadline` are for stores of 0.1.0: a later store goes
/// by `ageMs` and `ttlMs` where they are given, which need no agreement of two clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push<'a> {
    /// Drawn by the gateway for this push.
    pub push_id: PushId,
    /// The Huawei application whose credentials the push carried.
    #[serde(borrow)]
    pub app_key: Cow<'a, str>,
    /// When the gateway received it by the gateway's own clock, epoch milliseconds.
    pub received_at: i64,
    /// How long ago the gateway received it when this request was sent, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// What the gateway's configuration says of the application.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Application<'a>>,
    /// What the push's signature covered.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature<'a>>,
    /// The calls whose claims are asked for, at most [`limits::PUSH_CDRS`](crate::limits::PUSH_CDRS). One call may be named more than
    /// once, each time with another CDR: the first mention is the call, the others are further versions of its CDR, whose verdict is
    /// `duplicate`.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallReport<'a>>,
    /// CDRs that could not be used.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked<'a>>,
    /// A status event, to be kept raw.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event<'a>>,
}

/// What the gateway's configuration says of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Application<'a> {
    /// Whose calls without a binding row are.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Cow<'a, str>>,
    /// What to do with a call that has no binding row.
    #[serde(skip_serializing_if = "WithoutBinding::is_default")]
    pub without_binding: WithoutBinding,
    /// What to do with a push whose signature came with other texts before.
    #[serde(skip_serializing_if = "OnReplay::is_default")]
    pub on_replay: OnReplay,
}

/// What to do with a call that has no binding row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutBinding {
    /// Call back with a record made of the CDR alone.
    #[default]
    Deliver,
    /// Wait that many seconds for a late registration, then call back.
    Hold(u32),
    /// Do not call back.
    Skip,
}

impl WithoutBinding {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do with a push whose signature came with other texts before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReplay {
    /// Record its calls, count and report the push.
    #[default]
    Report,
    /// Park its CDRs.
    Park,
}

impl OnReplay {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a push's signature covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature<'a> {
    /// `aksk` or `wsse`.
    #[serde(borrow)]
    pub scheme: Cow<'a, str>,
    /// 32 lower-case hex digits: the first half of the SHA-256 of the covered text, nonce and time of creation joined as they
    /// were signed.
    #[serde(borrow)]
    pub hash: Cow<'a, str>,
}

/// A CDR exactly as Huawei sent it.
///
/// On the wire it is the CDR's own JSON object, byte for byte; or a string with the Base64 (RFC 4648, padded) of its bytes where
/// they are not UTF-8. `Debug` shows neither.
#[derive(Clone)]
pub enum CdrText<'a> {
    /// The text, which is a JSON object.
    Json(&'a RawValue),
    /// Bytes that are not UTF-8, or in which GBK may stand.
    Bytes(Cow<'a, [u8]>),
}

impl CdrText<'_> {
    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.get().as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl PartialEq for CdrText<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for CdrText<'_> {}

impl fmt::Debug for CdrText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CdrText({} bytes)", self.as_bytes().len())
    }
}

impl Serialize for CdrText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(text) => text.serialize(serializer),
            Self::Bytes(bytes) => serializer.serialize_str(&BASE64_STANDARD.encode(bytes)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for CdrText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        match raw.get().bytes().next() {
            Some(b'{') => Ok(Self::Json(raw)),
            Some(b'"') => {
                let text: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                BASE64_STANDARD
                    .decode(text.as_bytes())
                    .map(|bytes| Self::Bytes(bytes.into()))
                    .map_err(|_| D::Error::custom(CDR_TEXT_EXPECTED))
            }
            _ => Err(D::Error::custom(CDR_TEXT_EXPECTED)),
        }
    }
}

const CDR_TEXT_EXPECTED: &str = "wrong type or value, expected a CDR as a JSON object, or its bytes as Base64";

/// A value of a CDR that could not be used as it came, and is `null` in the record unless the reason is [`Warning::DECODED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning<'a> {
    /// Huawei's name of the field.
    #[serde(borrow)]
    pub field: Cow<'a, str>,
    /// What is wrong with it. Holds no value of the CDR.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

impl Warning<'_> {
    /// The reason where the value holds bytes that are not UTF-8. A store may decode them by the CDR's bytes, which come with the
    /// call, and then writes [`Warning::DECODED`] in its place.
    pub const NOT_UTF8: &'static str = "is not UTF-8";
    /// The reason where the store has decoded such a value: it is not `null` in the record.
    pub const DECODED: &'static str = "is not UTF-8; decoded from GB 18030";
}

/// One call, reshaped from its CDR: what the record takes from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallReport<'a> {
    /// The Huawei application.
    #[serde(borrow)]
    pub app_key: Cow<'a, str>,
    /// The call chain.
    #[serde(borrow)]
    pub session_id: Private<Cow<'a, str>>,
    /// The call record as it stands in the key, see [`CallKey::icid`]; or "".
    #[serde(borrow, default)]
    pub icid: Cow<'a, str>,
    /// After this moment of the gateway's own clock a claim without an outcome reads as `unknown`, epoch milliseconds.
    pub claim_deadline: i64,
    /// How long after the store granted it a claim without an outcome reads as `unknown`, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// `callInTime`, else `fwdStartTime`.
    pub callin_time: Option<i64>,
    /// `fwdAnswerTime`; `null` for a call that was not answered.
    pub answer_time: Option<i64>,
    /// `callEndTime`, else `failTime`.
    pub disconnect_time: Option<i64>,
    /// `recordFileDownloadUrl`.
    pub record_url: Option<Private<Cow<'a, str>>>,
    /// The binding to join; `null` where the call had none.
    pub subscription_id: Option<Cow<'a, str>>,
    /// X, for a record without a binding row.
    pub private_num: Option<Private<Cow<'a, str>>>,
    /// The A side, for a record without a binding row.
    pub orig_num: Option<Private<Cow<'a, str>>>,
    /// The business's own text, for a record without a binding row.
    pub user_data: Option<Private<Cow<'a, str>>>,
    /// The configuration's `ak` for `appKey`, for a record without a binding row.
    pub ak: Option<Cow<'a, str>>,
    /// Whether the call was recorded, for a record without a binding row.
    pub record_flag: Option<bool>,
    /// The CDR as Huawei sent it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cdr: Option<CdrText<'a>>,
    /// What of the CDR could not be used, and is `null` here.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning<'a>>,
}

impl CallReport<'_> {
    /// What identifies the call.
    pub fn key(&self) -> CallKey<'_> {
        CallKey { app_key: &self.app_key, session_id: Private::new(self.session_id.expose()), icid: &self.icid }
    }
}

/// A CDR that could not be used: kept raw with its reason, so that it never holds up the others of its push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked<'a> {
    /// A JSON pointer into the push and what is wrong there. Holds no value of the CDR.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// The CDR as Huawei sent it, as text: bytes that are not UTF-8 stand as U+FFFD.
    #[serde(borrow)]
    pub raw: Private<Cow<'a, str>>,
    /// The CDR's bytes in Base64 (RFC 4648, padded); only where they are not UTF-8.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub raw_base64: Option<Private<Cow<'a, str>>>,
}

/// A push that is not of CDRs: a call or number status event, or one of a type that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// `callin`, `callout`, `alerting`, `answer`, `disconnect`, `collectInfo`, `numStatus`, or what else Huawei sent there in at most 64
    /// characters; `unnamed` where that cannot be shown.
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    /// The push body as Huawei sent it, as text: bytes that are not UTF-8 stand as U+FFFD.
    #[serde(borrow)]
    pub raw: Private<Cow<'a, str>>,
    /// The push body's bytes in Base64 (RFC 4648, padded); only where they are not UTF-8.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub raw_base64: Option<Private<Cow<'a, str>>>,
}

/// What the store says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallVerdict {
    /// This push holds the claim and there is no outcome yet: call back, once.
    Claimed,
    /// Another push holds the claim, or the outcome is known: do nothing.
    Duplicate,
    /// The store could not use the call and kept it with a reason: do nothing.
    Parked,
    /// The call waits in the store, for a late binding or a paused business: do nothing. The store hands it out as work later.
    Held,
    /// This push held the claim, and the call's data was erased before there was an outcome: there is nothing left to call back
    /// with.
    Erased,
}

/// The store's answer to [`Push`], status 200: everything is durably committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushAnswer<'a> {
    /// One for each of the push's `calls`, in their order.
    #[serde(borrow)]
    pub calls: Vec<CallResult<'a>>,
    /// How many works wait in the store for a worker to take them.
    #[serde(default)]
    pub works_waiting: u64,
}

/// What the store says of one call, and, for a claimed one, what to call back with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallResult<'a> {
    /// What to do.
    pub verdict: CallVerdict,
    /// The call's id, see [`CallKey::id`].
    #[serde(borrow)]
    pub call_id: Cow<'a, str>,
    /// Whose callback address is called; equals `record.ak`. `null` where nobody's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Cow<'a, str>>,
    /// The callback's body, a [`Record`](crate::Record) passed on as it stands; only for a claimed call.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub record: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::{Application, CallReport, CdrText, OnReplay, Push, PushAnswer, PushId, WithoutBinding};

    #[test]
    fn a_push_id_is_32_lower_case_hex_digits() {
        let id = PushId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", "000102030405060708090A0B0C0D0EFF", "+00102030405060708090a0b0c0d0eff"] {
            assert!(bad.parse::<PushId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_push_of_the_smallest_kind_can_be_read() {
        let push: Push<'_> =
            serde_json::from_str(r#"{"pushId":"000102030405060708090a0b0c0d0eff","appKey":"app","receivedAt":1}"#)
                .unwrap();
        assert!(push.calls.is_empty() && push.parked.is_empty() && push.event.is_none());
    }

    #[test]
    fn a_cdr_travels_byte_for_byte() {
        let report = |cdr: &str| format!(r#"{{"appKey":"a","sessionId":"s","claimDeadline":1,"cdr":{cdr}}}"#);
        let text = report("{ \"a\" : 1.0,\n \"b\":\"\\u0041\" }");
        let call: CallReport<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(call.cdr.as_ref().unwrap().as_bytes(), b"{ \"a\" : 1.0,\n \"b\":\"\\u0041\" }");
        assert!(serde_json::to_string(&call).unwrap().contains("{ \"a\" : 1.0,\n \"b\":\"\\u0041\" }"));

        let bytes = CdrText::Bytes(b"{\xff}"[..].into());
        let text = report(&serde_json::to_string(&bytes).unwrap());
        assert_eq!(serde_json::from_str::<CallReport<'_>>(&text).unwrap().cdr, Some(bytes));
        for bad in ["1", "[]", "\"%\"", "true"] {
            assert!(serde_json::from_str::<CallReport<'_>>(&report(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn p7_a_cdr_is_not_shown() {
        let text = "{\"callerNum\":\"+8617010000001\"}";
        let cdr: CdrText<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(format!("{cdr:?}"), "CdrText(30 bytes)");
    }

    #[test]
    fn what_an_application_leaves_open_is_not_written() {
        assert_eq!(serde_json::to_string(&Application::default()).unwrap(), "{}");
        let application =
            Application { ak: Some("A".into()), without_binding: WithoutBinding::Hold(60), on_replay: OnReplay::Park };
        let text = r#"{"ak":"A","withoutBinding":{"hold":60},"onReplay":"park"}"#;
        assert_eq!(serde_json::to_string(&application).unwrap(), text);
        assert_eq!(serde_json::from_str::<Application<'_>>(text).unwrap(), application);
    }

    #[test]
    fn the_record_of_an_answer_is_passed_on_as_it_stands() {
        let text = r#"{"calls":[{"verdict":"claimed","callId":"c","ak":"A","record":{"id": 1 }}]}"#;
        let answer: PushAnswer<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(answer.calls[0].record.unwrap().get(), r#"{"id": 1 }"#);
    }
}
