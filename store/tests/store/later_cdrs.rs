//! P2: a later CDR of a call that says something else leaves a trace, and changes nothing else.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::PushId;
use serde_json::{Value, json};

use crate::support::{PUSH_1, PUSH_2, START, Store, WORKER_1, answered, call, call_id, metric, push};

fn id(number: u128) -> String {
    PushId::from_bytes(number.to_be_bytes()).to_string()
}

/// The same call, with this CDR.
fn with_cdr(cdr: Value) -> Value {
    let mut one = call("session");
    one["cdr"] = cdr;
    one
}

fn later(push_id: &str, received_at: i64, cdr: Value) -> Value {
    json!({"pushId": push_id, "receivedAt": received_at, "cdr": cdr})
}

#[tokio::test]
async fn p2_a_later_cdr_that_says_something_else_is_kept_and_changes_neither_record_nor_callback() {
    let store = Store::in_memory().await;
    let first = store.push(PUSH_1, vec![with_cdr(json!({"a": 1}))]).await;
    store.pass_ms(1_000);
    let mut changed = with_cdr(json!({"a": 1, "recordFileDownloadUrl": "https://recordings.example/late"}));
    changed["recordUrl"] = json!("https://recordings.example/late");
    let again = store.push(PUSH_2, vec![changed.clone()]).await;
    assert_eq!(again, [json!({"verdict": "duplicate", "callId": call_id("session")})]);

    let shown = store.call(&call_id("session")).await;
    assert_eq!(shown["cdr"], json!({"a": 1}));
    assert_eq!(shown["laterCdrs"], json!([later(PUSH_2, START - 5, changed["cdr"].clone())]));
    assert_eq!(shown["record"], first[0]["record"]);
    assert_eq!(shown["duplicates"], 1);
    assert!(shown.get("laterCdrsNotKept").is_none() && shown.get("replayed").is_none());
    // The claim is still granted with what it was recorded with.
    assert_eq!(store.push(PUSH_1, vec![with_cdr(json!({"a": 1}))]).await, first);
    store.report(&call_id("session"), PUSH_1, answered(200)).await;
    store.push(&id(3), vec![with_cdr(json!({"a": 3}))]).await;
    assert_eq!(store.call(&call_id("session")).await["laterCdrs"].as_array().unwrap().len(), 2);
    assert_eq!(metric(&store, r#"privatenumber_store_later_cdrs_total{result="kept"}"#), 2.0);
}

#[tokio::test]
async fn p2_a_retry_with_the_same_bytes_adds_nothing() {
    let store = Store::in_memory().await;
    for number in [1, 2, 3, 2, 1, 4] {
        let cdr = if number == 2 { json!({"a": 2}) } else { json!({"a": 1}) };
        store.push(&id(number), vec![with_cdr(cdr)]).await;
    }
    let shown = store.call(&call_id("session")).await;
    assert_eq!(shown["laterCdrs"], json!([later(&id(2), START - 5, json!({"a": 2}))]));
    assert_eq!(metric(&store, r#"privatenumber_store_later_cdrs_total{result="kept"}"#), 1.0);
}

#[tokio::test]
async fn p2_versions_of_one_push_and_of_one_batch_are_kept_in_their_order() {
    let store = Store::in_memory().await;
    let calls = [1, 2, 1, 3].map(|number| with_cdr(json!({"a": number}))).to_vec();
    let one_push = push(PUSH_1, calls);
    let another = push(PUSH_2, [3, 4].map(|number| with_cdr(json!({"a": number}))).to_vec());
    let batch = json!({"pushes": [one_push, another]});
    for _ in 0..2 {
        store.post("/v1/push-batches", &batch).await.expect(200);
        let shown = store.call(&call_id("session")).await;
        assert_eq!(shown["cdr"], json!({"a": 1}));
        let expected = [(PUSH_1, 2), (PUSH_1, 3), (PUSH_2, 4)]
            .map(|(push_id, number)| later(push_id, START - 5, json!({"a": number})));
        assert_eq!(shown["laterCdrs"], json!(expected));
    }
}

#[tokio::test]
async fn p6_beyond_8_versions_of_64_kib_later_cdrs_are_counted_only() {
    let store = Store::in_memory().await;
    let large = |number: u64, bytes: usize| {
        let text = format!("{{\"a\":{number},\"b\":\"\"}}");
        json!({"a": number, "b": "x".repeat(bytes - text.len())})
    };
    // The first is kept whatever its size.
    store.push(&id(1), vec![with_cdr(large(1, 65_537))]).await;
    store.push(&id(2), vec![with_cdr(large(1, 65_537))]).await;
    store.push(&id(3), vec![with_cdr(large(2, 65_537))]).await;
    for number in 4..12 {
        store.push(&id(number), vec![with_cdr(large(number as u64, 65_536))]).await;
    }
    // Asked again by the same push: counted once.
    store.push(&id(11), vec![with_cdr(large(11, 65_536))]).await;
    let shown = store.call(&call_id("session")).await;
    let kept: Vec<_> = shown["laterCdrs"].as_array().unwrap().iter().map(|later| later["cdr"]["a"].clone()).collect();
    assert_eq!((&shown["cdr"]["a"], json!(kept)), (&json!(1), json!([4, 5, 6, 7, 8, 9, 10])));
    assert_eq!(shown["laterCdrsNotKept"], 2);
    // What is kept is known, although nothing more is.
    store.push(&id(12), vec![with_cdr(large(10, 65_536))]).await;
    assert_eq!(store.call(&call_id("session")).await["laterCdrsNotKept"], 2);
}

#[tokio::test]
async fn p2_bytes_count_not_what_they_mean_and_bytes_that_are_not_utf8_are_versions_too() {
    let store = Store::in_memory().await;
    let bytes = |number: u8| json!(BASE64_STANDARD.encode([b'{', 0xff, number, b'}']));
    for cdr in [bytes(1), bytes(2), bytes(1)] {
        store.push(PUSH_2, vec![with_cdr(cdr)]).await;
    }
    let shown = store.call(&call_id("session")).await;
    assert_eq!(shown["cdr"], bytes(1));
    assert_eq!(shown["laterCdrs"], json!([later(PUSH_2, START - 5, bytes(2))]));
}

#[tokio::test]
async fn a_call_that_was_recorded_without_its_cdr_keeps_what_comes_later_as_later() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    store.push(PUSH_2, vec![with_cdr(json!({"a": 1}))]).await;
    store.push(&id(3), vec![with_cdr(json!({"a": 1}))]).await;
    let shown = store.call(&call_id("session")).await;
    assert!(shown.get("cdr").is_none());
    assert_eq!(shown["laterCdrs"], json!([later(PUSH_2, START - 5, json!({"a": 1}))]));
}

#[tokio::test]
async fn p2_a_later_cdr_of_a_waiting_call_is_kept_and_the_record_of_its_work_is_not_changed() {
    let store = Store::in_memory().await;
    let mut body = push(PUSH_1, vec![with_cdr(json!({"a": 1}))]);
    body["application"] = json!({"withoutBinding": {"hold": 60}});
    assert_eq!(store.post("/v1/pushes", &body).await.expect(200)["calls"][0]["verdict"], "held");
    // The push that asks again brings nothing new, and what it brings first is no repetition.
    assert_eq!(store.post("/v1/pushes", &body).await.expect(200)["calls"][0]["verdict"], "held");
    let changed = |number: i64| {
        let mut changed = with_cdr(json!({"a": number}));
        changed["userData"] = json!("changed");
        changed
    };
    assert_eq!(store.push(PUSH_2, vec![changed(2)]).await[0]["verdict"], "duplicate");
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    let works = store.take(WORKER_1, 10).await;
    assert_eq!(works["calls"][0]["callId"], call_id("session"));
    store.push(&id(3), vec![changed(3)]).await;
    store.report(&call_id("session"), WORKER_1, json!({"class": "not_sent", "reason": "no_cluster"})).await;
    store.release(&[&call_id("session")]).await;
    store.push(&id(4), vec![changed(4)]).await;

    let shown = store.call(&call_id("session")).await;
    assert_eq!((&shown["state"], &shown["cdr"]), (&json!("waiting"), &json!({"a": 1})));
    let (second, third) = (later(PUSH_2, START - 5, json!({"a": 2})), later(&id(3), START - 5, json!({"a": 3})));
    assert_eq!(shown["laterCdrs"], json!([second, third, later(&id(4), START - 5, json!({"a": 4}))]));
    assert_eq!(shown["record"], works["calls"][0]["record"]);
}
