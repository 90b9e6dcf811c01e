//! Bindings: registered, joined, kept.

use serde_json::{Value, json};

use crate::support::{PUSH_1, START, Store, call, call_id};

fn row() -> Value {
    json!({
        "id": 7, "ak": "BUSINESS", "origNum": "+8617010000022", "privateNum": "+8617010000002", "recordFlag": false,
        "recordHintTone": "tone.wav", "maxDuration": 60, "lastMinVoice": "voice.wav", "userData": "user",
        "callDirection": 0, "subscriptionId": "binding-1", "status": 1, "businessType": "type",
        "bindResponse": "{\"resultcode\":\"0\"}", "unbindResponse": null, "bindingDuration": 5,
        "bindTime": START - 500_000, "unbindTime": null, "createdAt": START - 600_000, "remark": "remark",
    })
}

#[tokio::test]
async fn a_record_takes_everything_but_the_call_from_the_binding_row() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", row()).await.expect(201);
    store.pass_ms(1000);
    let results = store.push(PUSH_1, vec![call("session")]).await;
    let mut expected = row();
    expected["sessionId"] = json!("session");
    expected["callinTime"] = json!(START - 90_000);
    expected["answerTime"] = json!(START - 80_000);
    expected["disconnectTime"] = json!(START - 20_000);
    expected["recordUrl"] = json!("https://recordings.example/1");
    expected["updatedAt"] = json!(START + 1000);
    assert_eq!(results[0]["record"], expected);
    assert_eq!(results[0]["ak"], "BUSINESS");
}

#[tokio::test]
async fn what_the_row_leaves_out_is_null_and_not_taken_from_the_cdr() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", json!({})).await.expect(201);
    let results = store.push(PUSH_1, vec![call("session")]).await;
    assert!(results[0].get("ak").is_none());
    let record = &results[0]["record"];
    assert_eq!(
        (&record["origNum"], &record["recordFlag"], &record["userData"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!(record["subscriptionId"], "binding-1");
}

#[tokio::test]
async fn a_cdr_that_comes_after_unbinding_finds_the_unbound_row() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", row()).await.expect(201);
    let mut unbound = row();
    unbound["status"] = json!(0);
    unbound["unbindTime"] = json!(START);
    unbound["unbindResponse"] = json!("{\"resultcode\":\"0\"}");
    let answer = store.put("/v1/bindings/binding-1", &unbound).await.expect(200);
    assert_eq!(answer["version"], 2);
    let record = &store.push(PUSH_1, vec![call("session")]).await[0]["record"];
    assert_eq!((&record["status"], &record["unbindTime"]), (&json!(0), &json!(START)));
    assert_eq!(record["ak"], "BUSINESS");
}

#[tokio::test]
async fn every_change_is_a_version_and_an_identical_registration_is_none() {
    let store = Store::in_memory().await;
    let path = "/v1/bindings/binding-1";
    store.put(path, json!({"remark": "one"})).await.expect(201);
    store.pass_ms(10);
    // The id in the body may be left out or given: the same row.
    let same = store.put(path, json!({"remark": "one", "subscriptionId": "binding-1"})).await.expect(200);
    assert_eq!((&same["version"], &same["registeredAt"]), (&json!(1), &json!(START)));
    store.put(path, json!({"remark": "two"})).await.expect(200);
    store.put(path, json!({"remark": "one"})).await.expect(200);

    let latest = store.get(path).await.expect(200);
    assert_eq!((&latest["version"], &latest["binding"]["remark"]), (&json!(3), &json!("one")));
    assert!(latest.get("history").is_none());
    let whole = store.get("/v1/bindings/binding-1?history=true").await.expect(200);
    let versions: Vec<(&Value, &Value)> =
        whole["history"].as_array().unwrap().iter().map(|old| (&old["version"], &old["binding"]["remark"])).collect();
    assert_eq!(versions, [(&json!(2), &json!("two")), (&json!(1), &json!("one"))]);
}

#[tokio::test]
async fn a_wrong_row_is_refused_with_its_member_named_and_nothing_is_kept() {
    let store = Store::in_memory().await;
    let wrong = [
        (json!({"maxDuration": 1441}), "`maxDuration`: has to be from 0 to 1440 (minutes)"),
        (json!({"maxDuration": -1}), "`maxDuration`: has to be from 0 to 1440 (minutes)"),
        (json!({"callDirection": 3}), "`callDirection`: has to be from 0 to 2"),
        (json!({"status": 2}), "`status`: has to be from -1 to 1"),
        (json!({"bindResponse": "+8617010000001 {"}), "`bindResponse`: has to be a string that holds JSON"),
        (json!({"unbindResponse": ""}), "`unbindResponse`: has to be a string that holds JSON"),
        (json!({"subscriptionId": "binding-2"}), "`subscriptionId`: differs from the one in the path"),
        (json!({"colour": "red"}), "`colour`: there is no member `colour`; leave it out"),
        (json!({"bindTime": "2026-11-22"}), "`bindTime`: wrong type or value; expected i64"),
    ];
    for (body, expected) in wrong {
        let detail = store.put("/v1/bindings/binding-1", &body).await.problem(422, "invalid-body");
        assert!(detail.starts_with(expected), "{body}: {detail}");
        assert!(!detail.contains("8617010000001"), "{detail}");
    }
    store.get("/v1/bindings/binding-1").await.problem(404, "not-found");

    for length in [65, 1000] {
        let path = format!("/v1/bindings/{}", "x".repeat(length));
        store.put(&path, json!({})).await.problem(400, "invalid-parameter");
        store.get(&path).await.problem(400, "invalid-parameter");
    }
    // 64 characters, not bytes.
    let long = "%E5%8F%B7".repeat(64);
    store.put(&format!("/v1/bindings/{long}"), json!({})).await.expect(201);
    store.get("/v1/bindings/%FF").await.problem(400, "invalid-parameter");
    assert_eq!(store.call_count().await, 0);
}

#[tokio::test]
async fn a_call_without_a_subscription_is_recorded_from_its_cdr() {
    let store = Store::in_memory().await;
    let mut lone = call("session");
    lone["subscriptionId"] = json!(null);
    let results = store.push(PUSH_1, vec![lone]).await;
    assert_eq!(results[0]["record"]["subscriptionId"], json!(null));
    assert_eq!(results[0]["ak"], "CONFIGURED");
    assert_eq!(store.call(&call_id("session")).await["record"], results[0]["record"]);
}

impl Store {
    async fn call_count(&self) -> usize {
        self.get("/v1/calls").await.expect(200)["calls"].as_array().unwrap().len()
    }
}
