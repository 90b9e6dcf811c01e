use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::push::hex;
use crate::{CdrText, Outcome, Private, PushId, Record, Warning};

/// What identifies a call: never the `subscriptionId`, which all calls of a binding share, and never a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey<'a> {
    /// The Huawei application.
    pub app_key: &'a str,
    /// The call chain.
    pub session_id: Private<&'a str>,
    /// The call record as Huawei sent it, a number by its digits, anything else by its hash ([`hashed_icid`]); "" where Huawei sent
    /// none.
    pub icid: &'a str,
}

impl CallKey<'_> {
    /// The call's public id: 32 lower-case hex digits, the first half of the SHA-256 of the length-prefixed parts.
    ///
    /// Stable for ever: it is the store's primary key and the `webhook-id` by which a business recognises a call, and it
    /// shows nothing of the `sessionId`, which may contain phone numbers.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.app_key, self.session_id.expose(), self.icid] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digits = hash.finalize().first_chunk().map(hex).unwrap_or_default();
        digits.into_iter().map(char::from).collect()
    }
}

/// What stands in a call's key for an `icid` that is neither a text nor a number, or is too long or broken: `sha256:` and the 64
/// lower-case hex digits of the SHA-256 of `value`, the bytes of the JSON value exactly as they stand in the CDR, from its first to its
/// last. So that no odd form gives one call two keys or two calls one.
pub fn hashed_icid(value: &[u8]) -> String {
    let digest = Sha256::digest(value);
    let mut text = String::from("sha256:");
    for half in digest.as_chunks::<16>().0 {
        text.push_str(std::str::from_utf8(&hex(half)).unwrap_or_default());
    }
    text
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// The claim is granted, its outcome not yet reported, its deadline not yet past.
    Pending,
    /// The business, or what stands before it, replied with a 2xx status.
    Delivered,
    /// The business, or what stands before it, replied with any other status.
    Rejected,
    /// The callback certainly never left.
    NotSent,
    /// The callback left, or may have; no answer came.
    MaybeSent,
    /// There was nobody to call back.
    Skipped,
    /// The deadline passed without an outcome: the gateway died between claim and outcome. Derived when read, never
    /// written; a late outcome replaces it.
    Unknown,
    /// Nobody holds the claim: the call waits in the store until a worker takes it, see [`Wait`].
    Waiting,
}

impl CallState {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Delivered,
        Self::Rejected,
        Self::NotSent,
        Self::MaybeSent,
        Self::Skipped,
        Self::Unknown,
        Self::Waiting,
    ];

    /// The states of calls whose business certainly or possibly does not have the callback, and that come to nothing else by
    /// themselves: `outcome=undelivered` of `GET /v1/calls`.
    pub const UNDELIVERED: [Self; 5] = [Self::Rejected, Self::NotSent, Self::MaybeSent, Self::Unknown, Self::Skipped];

    /// The word for it in JSON and in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::NotSent => "not_sent",
            Self::MaybeSent => "maybe_sent",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::Waiting => "waiting",
        }
    }
}

/// What a waiting call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// For a late registration of its binding.
    Binding,
    /// For a worker alone: an operator released the call.
    Released,
    /// For its business, which is paused, or was and resumed.
    Paused,
}

/// How a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// What for.
    pub waits_for: WaitFor,
    /// Since when, epoch milliseconds.
    pub since: i64,
    /// From this moment on a worker may take the call, epoch milliseconds. Registering the binding brings it forward. `null` while the
    /// business is paused.
    pub due: Option<i64>,
}

/// One call as operators and reconciling businesses see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallView {
    /// The call's id, equal to the `webhook-id` of its callback.
    pub call_id: String,
    /// The Huawei application whose push brought it.
    pub app_key: String,
    /// The call chain at Huawei.
    pub session_id: Private<String>,
    /// The call record at Huawei, or "".
    pub icid: String,
    /// Where it stands now.
    pub state: CallState,
    /// What became of the callback; `null` while pending, unknown or waiting.
    pub outcome: Option<Outcome>,
    /// How it waits; absent in every other state than `waiting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// The push that holds the claim. All zeros while nobody holds it: the call waits, or was imported and not released.
    pub push_id: PushId,
    /// When the gateway received that push, or the store the imported CDR, epoch milliseconds.
    pub received_at: i64,
    /// When the store committed the call, epoch milliseconds.
    pub recorded_at: i64,
    /// After this moment a call whose claim is granted and that has no outcome reads as `unknown`, epoch milliseconds.
    pub claim_deadline: i64,
    /// How long the callback took, milliseconds; `null` where none was sent or it is not known.
    pub duration_ms: Option<i64>,
    /// When the outcome was reported, epoch milliseconds.
    pub reported_at: Option<i64>,
    /// How many further pushes brought the same call.
    pub duplicates: i64,
    /// What the callback carried.
    pub record: Record,
}

/// One call as it is looked up by its id: `GET /v1/calls/{id}`. Lists carry the [`CallView`] alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallDetail {
    /// What lists say of it too.
    #[serde(flatten)]
    pub call: CallView,
    /// The CDR as Huawei sent it; `None` where the gateway did not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdr: Option<KeptCdr>,
    /// What of the CDR could not be used, and is `null` in the record; and that the binding was registered too late.
    #[serde(default, deserialize_with = "owned_warnings", skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning<'static>>,
    /// Later CDRs of the same call that say something else, in the order in which they came. They change neither the record nor the
    /// callback. With the first CDR at most [`limits::CDR_VERSIONS`](crate::limits::CDR_VERSIONS), of at most
    /// [`limits::LATER_CDR_BYTES`](crate::limits::LATER_CDR_BYTES) each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later_cdrs: Vec<LaterCdr>,
    /// How many times a push brought a CDR that says something else again and was not kept, because there was no room for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub later_cdrs_not_kept: i64,
    /// Whether the signature of the push that brought the call had come with other CDRs before. See [`ReplayView`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// What became of the call before it was released, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<EarlierOutcome>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A later CDR of a call that says something else than those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaterCdr {
    /// The push that brought it first.
    pub push_id: PushId,
    /// When the gateway received that push, epoch milliseconds.
    pub received_at: i64,
    /// The CDR as Huawei sent it.
    pub cdr: KeptCdr,
}

/// An outcome that a release took back. Its push id is retired: it is never granted the call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierOutcome {
    /// When an operator released the call, epoch milliseconds.
    pub released_at: i64,
    /// The push that held the claim.
    pub push_id: PushId,
    /// What became of its callback: it never left, or there was nobody to call back.
    pub outcome: Outcome,
    /// How long the callback took, milliseconds; `null` where none was sent.
    pub duration_ms: Option<i64>,
    /// When the outcome was reported, epoch milliseconds.
    pub reported_at: i64,
}

fn owned_warnings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Warning<'static>>, D::Error> {
    let owned = |Warning { field, reason }: Warning<'de>| Warning {
        field: field.into_owned().into(),
        reason: reason.into_owned().into(),
    };
    Ok(Vec::<Warning<'de>>::deserialize(deserializer)?.into_iter().map(owned).collect())
}

/// A CDR exactly as Huawei sent it, as the store keeps it. On the wire it is a [`CdrText`]; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptCdr(Vec<u8>);

impl KeptCdr {
    /// From its bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeptCdr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeptCdr({} bytes)", self.0.len())
    }
}

impl Serialize for KeptCdr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Only what is a JSON object from its first to its last byte can stand as such.
        let is_object = self.0.first() == Some(&b'{') && self.0.last() == Some(&b'}');
        let text = if is_object { serde_json::from_slice::<&RawValue>(&self.0).ok() } else { None };
        match text {
            Some(text) => CdrText::Json(text).serialize(serializer),
            None => CdrText::Bytes(self.0.as_slice().into()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KeptCdr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        let text: CdrText<'_> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        Ok(Self(text.as_bytes().to_vec()))
    }
}

/// A page of calls, newest first: `GET /v1/calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<CallView>,
    /// Ask again with `?cursor=` this for the next page; `null` on the last.
    pub next_cursor: Option<String>,
    /// On the first page of calls from a moment on: where the next reconciliation begins, epoch milliseconds. Give it as `from` then:
    /// all calls of the business that were recorded before have come to their end, and none will be recorded before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_from: Option<i64>,
}

/// A CDR that could not be used, as the store keeps it: `GET /v1/parked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedView {
    /// Counts parked CDRs, from 1.
    pub number: i64,
    /// The Huawei application that authenticated the push.
    pub app_key: String,
    /// Why it could not be used.
    pub reason: String,
    /// The CDR as Huawei sent it, as text: bytes that are not UTF-8 stand as U+FFFD.
    pub raw: Private<String>,
    /// When the gateway received it first, epoch milliseconds.
    pub received_at: i64,
    /// How many further pushes brought the same text.
    pub duplicates: i64,
    /// The call that was made of it when it was released; absent as long as it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// A page of parked CDRs, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedPage {
    /// The parked CDRs.
    pub parked: Vec<ParkedView>,
    /// Ask again with `?cursor=` this for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A status event, as the store keeps it: `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Counts events, from 1.
    pub number: i64,
    /// The Huawei application that authenticated the push.
    pub app_key: String,
    /// `callin`, `disconnect`, `numStatus`, …
    pub event_type: String,
    /// The push body as Huawei sent it, as text: bytes that are not UTF-8 stand as U+FFFD.
    pub raw: Private<String>,
    /// When the gateway received it first, epoch milliseconds.
    pub received_at: i64,
    /// How many further pushes brought the same text.
    pub duplicates: i64,
}

/// A page of events, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventView>,
    /// Ask again with `?cursor=` this for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A push whose signature had come with other texts before, as the store keeps it: `GET /v1/replays`.
///
/// Either of the two pushes may be the forged one, or Huawei signed two pushes alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayView {
    /// Counts such pushes, from 1.
    pub number: i64,
    /// The Huawei application whose credentials both pushes carried.
    pub app_key: String,
    /// How both were signed: `aksk` or `wsse`.
    pub scheme: String,
    /// The later push.
    pub push_id: PushId,
    /// When the gateway received it, epoch milliseconds.
    pub received_at: i64,
    /// The push that the signature came with first.
    pub first_push_id: PushId,
    /// When the gateway received that one, epoch milliseconds.
    pub first_received_at: i64,
    /// Whether those CDRs of the later push whose calls were not recorded yet were parked.
    pub parked: bool,
    /// The calls that the later push named, in its order.
    pub call_ids: Vec<String>,
}

/// A page of pushes whose signature had come with other texts before, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayPage {
    /// The pushes.
    pub replays: Vec<ReplayView>,
    /// Ask again with `?cursor=` this for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{CallDetail, CallKey, CallState, CallView, KeptCdr};
    use crate::{Private, Record};

    fn key<'a>(app_key: &'a str, session_id: &'a str, icid: &'a str) -> CallKey<'a> {
        CallKey { app_key, session_id: Private::new(session_id), icid }
    }

    #[test]
    fn a_call_id_is_stable_for_ever() {
        // Python: hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in (b"app", b"session", b"icid"))).hexdigest()[:32]
        assert_eq!(key("app", "session", "icid").id(), "47c8fc2250ce53ac35dd06fe036d717a");
    }

    #[test]
    fn a_kept_cdr_travels_byte_for_byte() {
        for (bytes, text) in [
            (&b"{ \"a\" : 1.0 }"[..], "{ \"a\" : 1.0 }"),
            (b"{\xff}", "\"e/99\""),
            (b"{} ", "\"e30g\""),
            (b"{]}", "\"e119\""),
        ] {
            let kept = KeptCdr::new(bytes.to_vec());
            assert_eq!(serde_json::to_string(&kept).unwrap(), text);
            assert_eq!(serde_json::from_str::<KeptCdr>(text).unwrap(), kept);
        }
    }

    #[test]
    fn a_call_looked_up_shows_its_cdr_beside_what_lists_say() {
        let text = r#"{"callId":"c","appKey":"a","sessionId":"s","icid":"","state":"pending","outcome":null,"pushId":"000102030405060708090a0b0c0d0eff","receivedAt":1,"recordedAt":2,"claimDeadline":3,"durationMs":null,"reportedAt":null,"duplicates":0,"record":RECORD,"cdr":{ "a": 1.0 },"warnings":[{"field":"f","reason":"r"}],"laterCdrs":[{"pushId":"000102030405060708090a0b0c0d0eff","receivedAt":4,"cdr":{ "a": 2 }}],"laterCdrsNotKept":1,"replayed":true}"#;
        let text = text.replace("RECORD", &serde_json::to_string(&Record::default()).unwrap());
        let detail: CallDetail = serde_json::from_str(&text).unwrap();
        assert_eq!(detail.cdr.as_ref().unwrap().as_bytes(), b"{ \"a\": 1.0 }");
        assert_eq!(serde_json::to_string(&detail).unwrap(), text);
        assert_eq!(serde_json::from_str::<CallView>(&text).unwrap(), detail.call);
    }

    #[test]
    fn every_state_has_one_word() {
        for state in CallState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn parts_that_run_together_are_different_calls() {
        assert_ne!(key("a", "bc", "").id(), key("ab", "c", "").id());
        assert_ne!(key("a", "b", "").id(), key("a", "", "b").id());
    }
}
