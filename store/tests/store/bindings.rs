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
        (
            json!({"bindTime": "2026-11-22"}),
            "`bindTime`: wrong type or value; expected a whole number (epoch milliseconds)",
        ),
        (json!({"bindTime": 1_646_288_530}), "`bindTime`: looks like epoch seconds; give epoch milliseconds"),
        (json!({"unbindTime": 1_646_288_530}), "`unbindTime`: looks like epoch seconds; give epoch milliseconds"),
        (json!({"createdAt": 1_646_288_530}), "`createdAt`: looks like epoch seconds; give epoch milliseconds"),
        (json!({"recordFlag": "yes"}), "`recordFlag`: wrong type or value; expected true or false"),
        (json!({"recordFlag": 1}), "`recordFlag`: wrong type or value; expected true or false"),
        (json!({"maxDuration": "60"}), "`maxDuration`: wrong type or value; expected a whole number (line"),
        (json!({"ak": 7}), "`ak`: wrong type or value; expected text in double quotes"),
        (
            json!({"+8617010000001": 7}),
            "`.`: the name of a member has something other than letters in it; it is not repeated",
        ),
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
    for id in ["%00", "binding-1%00", "%00binding-1"] {
        let path = format!("/v1/bindings/{id}");
        let detail = store.put(&path, json!({})).await.problem(400, "invalid-parameter");
        assert!(detail.starts_with("`subscriptionId`: contains a NUL character (%00)"), "{detail}");
        store.get(&path).await.problem(400, "invalid-parameter");
    }
    assert_eq!(store.call_count().await, 0);
}

/// The interface document's own sample of a record, with its numbers made up.
const SAMPLE: &str = r#"{
    "id": 1,
    "ak": "AC5A23CF0E42435C9FF52E401EE897BC",
    "origNum": "+8617010000011",
    "privateNum": "+8617010000001",
    "recordFlag": false,
    "recordHintTone": null,
    "maxDuration": 60,
    "lastMinVoice": null,
    "userData": "1499268874687315968",
    "callDirection": 0,
    "subscriptionId": "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e",
    "status": 1,
    "businessType": null,
    "bindResponse": "{\"origNum\":\"+8617010000011\",\"resultcode\":\"0\",\"subscriptionId\":\"88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e\",\"privateNum\":\"+8617010000001\",\"resultdesc\":\"Success\"}",
    "unbindResponse": null,
    "bindingDuration": 5,
    "bindTime": 1646288530000,
    "unbindTime": null,
    "sessionId": null,
    "callinTime": null,
    "answerTime": null,
    "disconnectTime": null,
    "recordUrl": null,
    "createdAt": 1646288530000,
    "updatedAt": 1646288530000,
    "remark": null
}"#;

#[tokio::test]
async fn the_interface_documents_sample_can_be_registered_as_it_stands() {
    let store = Store::in_memory().await;
    let path = "/v1/bindings/88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e";
    store.put(path, SAMPLE).await.expect(201);
    let kept = store.get(path).await.expect(200)["binding"].clone();
    let mut expected: Value = serde_json::from_str(SAMPLE).unwrap();
    for of_the_call in ["sessionId", "callinTime", "answerTime", "disconnectTime", "recordUrl", "updatedAt"] {
        expected.as_object_mut().unwrap().remove(of_the_call);
    }
    assert_eq!(kept, expected);
    // A row that names an earlier call is the same row: the members of a call come from its CDR.
    let mut later: Value = serde_json::from_str(SAMPLE).unwrap();
    later["sessionId"] = json!("earlier");
    later["callinTime"] = json!(1_646_288_600_000_i64);
    later["recordUrl"] = json!("https://recordings.example/earlier");
    let again = store.put(path, &later).await.expect(200);
    assert_eq!((&again["version"], &again["binding"]), (&json!(1), &expected));
}

#[tokio::test]
async fn a_record_flag_is_also_read_as_the_text_of_huaweis_binding_interface() {
    let store = Store::in_memory().await;
    for (text, flag) in [("true", true), ("false", false)] {
        store.put(&format!("/v1/bindings/{text}"), json!({"recordFlag": text})).await.expect(201);
        let kept = store.get(&format!("/v1/bindings/{text}")).await.expect(200);
        assert_eq!(kept["binding"]["recordFlag"], flag);
    }
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
