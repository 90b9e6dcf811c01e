//! The samples, what is tolerated, and what is not.

use privatenumber_contract::CallReport;

use super::{Body, Contents, Reader, decode};
use crate::charset::Charset;
use crate::frame::InvalidPush;

mod foreign_bytes;
mod hostile;
mod samples;
mod tolerance;

const APP_KEY: &str = "demoAppKey000000000000000001";
const CLAIM_DEADLINE: i64 = 1_767_580_300_000;
const TTL_MS: u64 = 900_000;

const READER: Reader<'_> =
    Reader { app_key: APP_KEY, ak: Some("business"), claim_deadline: CLAIM_DEADLINE, ttl_ms: TTL_MS };

/// What a push came to, in a form that outlives its body.
#[derive(Debug, PartialEq)]
struct Read {
    calls: Vec<CallReport<'static>>,
    further: Vec<usize>,
    /// Reason and text.
    parked: Vec<(String, String)>,
    repeated: usize,
}

fn read_with<T>(body: &[u8], look: impl FnOnce(Result<Contents<'_>, InvalidPush>) -> T) -> T {
    read_as(body, Charset::Utf8, look)
}

fn read_as<T>(body: &[u8], charset: Charset, look: impl FnOnce(Result<Contents<'_>, InvalidPush>) -> T) -> T {
    let body: Body<'_> = decode(body, charset);
    look(READER.read(&body))
}

/// Reads a push of CDRs.
fn read(body: impl AsRef<[u8]>) -> Read {
    read_with(body.as_ref(), to_read)
}

fn to_read(contents: Result<Contents<'_>, InvalidPush>) -> Read {
    match contents.expect("a push") {
        Contents::Calls { calls, further, parked, repeated } => Read {
            calls: calls.iter().map(to_owned).collect(),
            parked: parked.iter().map(|item| (item.reason.to_string(), item.raw.expose().to_string())).collect(),
            further,
            repeated,
        },
        Contents::Event(event) => panic!("an event: {event:?}"),
    }
}

/// Reads a status event: its type and its text.
fn read_event(body: impl AsRef<[u8]>) -> (String, String) {
    read_with(body.as_ref(), |contents| match contents.expect("a push") {
        Contents::Event(event) => (event.event_type.to_string(), event.raw.expose().to_string()),
        Contents::Calls { .. } => panic!("CDRs"),
    })
}

/// Reads what is not a push: pointer and reason.
fn refusal(body: impl AsRef<[u8]>) -> (String, String) {
    read_with(body.as_ref(), |contents| match contents {
        Ok(_) => panic!("a push"),
        Err(invalid) => (invalid.pointer.to_string(), invalid.reason.to_string()),
    })
}

/// The one call of a push with nothing parked.
fn only_call(body: impl AsRef<[u8]>) -> CallReport<'static> {
    let mut read = read(body);
    assert_eq!(read.parked, []);
    assert_eq!(read.calls.len(), 1);
    read.calls.remove(0)
}

/// The warnings of the one call of a push with nothing parked: fields and reasons.
fn warnings(body: impl AsRef<[u8]>) -> Vec<(String, String)> {
    let warnings = only_call(body).warnings.into_iter();
    warnings.map(|warning| (warning.field.into_owned(), warning.reason.into_owned())).collect()
}

/// The one reason of a push without calls.
fn only_reason(body: impl AsRef<[u8]>) -> String {
    let mut read = read(body);
    assert_eq!(read.calls, []);
    assert_eq!(read.parked.len(), 1);
    read.parked.remove(0).0
}

fn to_owned(call: &CallReport<'_>) -> CallReport<'static> {
    let text = serde_json::to_string(call).expect("JSON");
    serde_json::from_str::<CallReport<'_>>(Box::leak(text.into_boxed_str())).expect("what was just written")
}

/// The keys of an ordinary CDR, each with its JSON value.
const CDR: [(&str, &str); 15] = [
    ("direction", "0"),
    ("spId", r#""demo_sp_01""#),
    ("appKey", r#""demoAppKey000000000000000001""#),
    ("icid", r#""icid-1""#),
    ("bindNum", r#""+8617010000001""#),
    ("sessionId", r#""session-1""#),
    ("subscriptionId", r#""subscription-1""#),
    ("callerNum", r#""+8617010000022""#),
    ("fwdDstNum", r#""+8617010000011""#),
    ("callInTime", r#""2026-01-05 02:30:03""#),
    ("fwdAnswerTime", r#""2026-01-05 02:30:06""#),
    ("callEndTime", r#""2026-01-05 02:30:22""#),
    ("recordFlag", "1"),
    ("recordFileDownloadUrl", r#""https://recstore.example.com/1.wav""#),
    ("userData", r#""order-1""#),
];

/// An ordinary CDR with changes: a key with its JSON value, or `None` to leave it out.
fn cdr(changes: &[(&str, Option<&str>)]) -> String {
    let changed = |key: &str| changes.iter().find(|(name, _)| *name == key);
    let kept = CDR.iter().filter(|(key, _)| changed(key).is_none()).map(|(key, value)| (*key, *value));
    let new = changes.iter().filter_map(|(key, value)| value.map(|value| (*key, value)));
    let members: Vec<_> = kept.chain(new).map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A push of these CDRs.
fn fee(cdrs: &[String]) -> String {
    format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, cdrs.join(","))
}

/// A push of one CDR with one change.
fn fee_with(key: &str, value: Option<&str>) -> String {
    fee(&[cdr(&[(key, value)])])
}
