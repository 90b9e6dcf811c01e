use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

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
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        hex
    }
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
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
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

/// One push of Huawei, reshaped: `POST /v1/pushes`.
///
/// The store commits all of it in one durable transaction or answers a [`Problem`](crate::Problem) and commits nothing.
/// An answer with any other body, or none, says nothing about the commit: ask again with the same `pushId`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push<'a> {
    /// Drawn by the gateway for this push.
    pub push_id: PushId,
    /// The Huawei application whose credentials the push carried.
    #[serde(borrow)]
    pub app_key: Cow<'a, str>,
    /// When the gateway received it, epoch milliseconds.
    pub received_at: i64,
    /// The calls whose claims are asked for, at most 50.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallReport<'a>>,
    /// CDRs that could not be used.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked<'a>>,
    /// A status event, to be kept raw.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event<'a>>,
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
    /// The call record, or "".
    #[serde(borrow, default)]
    pub icid: Cow<'a, str>,
    /// After this moment a claim without an outcome reads as `unknown`, epoch milliseconds.
    pub claim_deadline: i64,
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
    /// The CDR as Huawei sent it.
    #[serde(borrow)]
    pub raw: Private<Cow<'a, str>>,
}

/// A call or number status event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// `callin`, `callout`, `alerting`, `answer`, `disconnect`, `collectInfo` or `numStatus`.
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    /// The push body as Huawei sent it.
    #[serde(borrow)]
    pub raw: Private<Cow<'a, str>>,
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
}

/// The store's answer to [`Push`], status 200: everything is durably committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushAnswer<'a> {
    /// One for each of the push's `calls`, in their order.
    #[serde(borrow)]
    pub calls: Vec<CallResult<'a>>,
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
    use super::{Push, PushAnswer, PushId};

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
    fn the_record_of_an_answer_is_passed_on_as_it_stands() {
        let text = r#"{"calls":[{"verdict":"claimed","callId":"c","ak":"A","record":{"id": 1 }}]}"#;
        let answer: PushAnswer<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(answer.calls[0].record.unwrap().get(), r#"{"id": 1 }"#);
    }
}
