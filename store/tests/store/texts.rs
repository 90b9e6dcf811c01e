//! P2: what Huawei sent is kept byte for byte.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::{PUSH_1, PUSH_2, Store, call, call_id, push, with_json};

#[tokio::test]
async fn p2_the_cdr_of_a_call_is_kept_byte_for_byte_and_shown_with_the_call_alone() {
    let store = Store::in_memory().await;
    let text = "{ \"a\" : 1.0,\n  \"b\":\"\\u0041\", \"a\":1e2 }";
    let body = push(PUSH_1, vec![call("session")]).to_string().replacen(
        "\"sessionId\":\"session\"",
        &format!("\"sessionId\":\"session\",\"cdr\":{text},\"warnings\":[{{\"field\":\"callInTime\",\"reason\":\"no time\"}}]"),
        1,
    );
    store.send(with_json("POST", "/v1/pushes", body)).await.expect(200);
    let answer = store.get(&format!("/v1/calls/{}", call_id("session"))).await;
    assert!(answer.text.contains(&format!("\"cdr\":{text}")), "{}", answer.text);
    assert_eq!(answer.expect(200)["warnings"], json!([{"field": "callInTime", "reason": "no time"}]));
    let listed = store.get("/v1/calls").await.expect(200)["calls"][0].clone();
    assert!(listed.get("cdr").is_none() && listed.get("warnings").is_none());
}

#[tokio::test]
async fn p2_bytes_that_are_not_utf8_are_kept_as_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let bytes = |number: u8| BASE64_STANDARD.encode([b'{', 0xff, number, b'}']);
    let mut one = call("session");
    one["cdr"] = json!(bytes(1));
    let mut body = push(PUSH_1, vec![one]);
    // Both look the same as text: the bytes tell them apart.
    body["parked"] = json!([
        {"reason": "r", "raw": "{\u{fffd}}", "rawBase64": bytes(2)},
        {"reason": "r", "raw": "{\u{fffd}}", "rawBase64": bytes(3)},
    ]);
    body["event"] = json!({"eventType": "callin", "raw": "{\u{fffd}}", "rawBase64": bytes(4)});
    store.post("/v1/pushes", &body).await.expect(200);
    body["pushId"] = json!(PUSH_2);
    store.post("/v1/pushes", &body).await.expect(200);

    assert_eq!(store.call(&call_id("session")).await["cdr"], bytes(1));
    for (path, list, expected) in [("/v1/parked", "parked", 2), ("/v1/events", "events", 1)] {
        let page = store.get(path).await.expect(200);
        let entries = page[list].as_array().unwrap();
        assert_eq!(entries.len(), expected);
        assert!(entries.iter().all(|entry| entry["raw"] == "{\u{fffd}}" && entry["duplicates"] == 1), "{page:#}");
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    let kept = "SELECT raw_bytes FROM parked UNION ALL SELECT raw_bytes FROM events";
    let mut kept = file.prepare(kept).unwrap();
    let kept: Vec<Vec<u8>> = kept.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept, [2, 3, 4].map(|number| vec![b'{', 0xff, number, b'}']));
}

#[tokio::test]
async fn a_call_of_an_older_gateway_has_no_cdr_and_is_shown_without() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let view = store.call(&call_id("session")).await;
    assert!(view.get("cdr").is_none() && view.get("warnings").is_none());
}
