//! Bodies of pushes: pushed to a worker; and read, reshaped, written as the store's contract and read back.

use private_number_gateway::config::HeadersMode;
use private_number_gateway::driver::Action;
use privatenumber_cdr::{Charset, Contents, MAX_CDRS, Reader, decode};
use privatenumber_contract::{Push, PushId};
use serde_json::Value;

use super::worker::{self, Setting, Worker};

const APP_KEY: &str = "demoAppKey000000000000000001";

/// See the [module](self).
pub fn run(data: &[u8]) {
    push(data);
    read(data, Charset::Utf8);
    read(data, Charset::Gbk);
}

fn read(data: &[u8], charset: Charset) {
    let reader = Reader { app_key: APP_KEY, ak: Some("business"), claim_deadline: i64::MAX, ttl_ms: 1 };
    let body = decode(data, charset);
    let contents = match reader.read(&body) {
        Ok(contents) => contents,
        Err(invalid) => {
            super::shows_nothing_private(&invalid.to_string());
            assert!(invalid.pointer.is_empty() || invalid.pointer.starts_with('/'), "{}", invalid.pointer);
            return;
        }
    };
    let (calls, parked, event) = match contents {
        Contents::Calls { calls, further, parked, repeated } => {
            never_loses_or_invents(data, calls.len() + parked.len() + repeated);
            let mut ids: Vec<_> = calls.iter().map(|call| call.key().id()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len() + further.len(), calls.len(), "P1: a push asks twice for one call");
            for warning in calls.iter().flat_map(|call| &call.warnings) {
                super::shows_nothing_private(&warning.reason);
            }
            assert!(calls.iter().all(|call| call.app_key == APP_KEY && !call.session_id.expose().is_empty()));
            parked.iter().for_each(|parked| super::shows_nothing_private(&parked.reason));
            (calls, parked, None)
        }
        Contents::Event(event) => (Vec::new(), Vec::new(), Some(event)),
    };
    let push = Push {
        push_id: PushId::from_bytes([7; 16]),
        app_key: APP_KEY.into(),
        received_at: 0,
        age_ms: None,
        application: None,
        signature: None,
        calls,
        parked,
        event,
    };
    let json = serde_json::to_vec(&push).expect("texts and numbers can be written");
    let read: Push<'_> = serde_json::from_slice(&json).expect("the store reads what the filter writes");
    assert_eq!(read, push, "the store reads something else than what the filter wrote");
    // What the largest body that a store must take rests on: nothing becomes more than five times as long.
    assert!(json.len() <= 5 * data.len() + 512 * (MAX_CDRS + 1), "{} bytes became {}", data.len(), json.len());
}

/// The push as the worker takes it: it is asked for and answered 200, or answered at once.
fn push(data: &[u8]) {
    let mut worker = Worker::new(Setting::roomy(HeadersMode::Hold));
    worker.request_headers(1, &worker::headers(), false);
    let action = worker.request_end(1, data);
    let is_push = action == Action::Hold;
    assert!(is_push || matches!(action, Action::Reply(_)), "{action:?}");
    let calls = worker.finish(false);
    assert!(is_push || calls == 0, "a push that is not one is called back");
    assert!(calls <= MAX_CDRS && worker.most_callbacks_for_one_call() <= 1, "P1: {calls} callbacks");
}

fn never_loses_or_invents(data: &[u8], found: usize) {
    assert!((1..=MAX_CDRS).contains(&found));
    // A second opinion, where there is one: a `Value` is not as deep as a push may be, and knows no broken escapes.
    let Ok(value) = serde_json::from_str::<Value>(&String::from_utf8_lossy(data)) else { return };
    match value.get("feeLst") {
        Some(Value::Array(elements)) => assert_eq!(elements.len(), found, "P2: a CDR was lost or invented"),
        Some(Value::Object(_)) => assert_eq!(found, 1, "P2: a CDR was lost or invented"),
        other => panic!("CDRs were read from {other:?}"),
    }
}
