//! P1 and P2: who may call back, and what with.

use std::sync::Arc;

use privatenumber_contract::{PushId, Record};
use serde_json::{Value, json};

use crate::support::{CLAIM_LASTS, PUSH_1, PUSH_2, START, Store, answered, call, call_id, metric, push};

#[tokio::test]
async fn a_new_call_is_claimed_with_the_whole_record() {
    let store = Store::in_memory().await;
    let answer = store.post("/v1/pushes", push(PUSH_1, vec![call("session")])).await;
    let result = &answer.expect(200)["calls"][0];
    assert_eq!(result["verdict"], "claimed");
    assert_eq!(result["callId"], call_id("session"));
    assert_eq!(result["ak"], "CONFIGURED");
    let expected = Record {
        ak: Some("CONFIGURED".to_owned()),
        orig_num: Some("+8617010000011".into()),
        private_num: Some("+8617010000001".into()),
        record_flag: Some(true),
        user_data: Some("order 7".into()),
        subscription_id: Some("binding-1".to_owned()),
        session_id: Some("session".into()),
        callin_time: Some(START - 90_000),
        answer_time: Some(START - 80_000),
        disconnect_time: Some(START - 20_000),
        record_url: Some("https://recordings.example/1".into()),
        updated_at: Some(START),
        ..Record::default()
    };
    // Byte for byte: the filter passes it on as it stands, and the order of the members is part of the interface.
    let text = serde_json::to_string(&expected).unwrap();
    assert!(answer.text.contains(&format!(r#""record":{text}"#)), "{}", answer.text);
    assert_eq!(store.call(&call_id("session")).await["state"], "pending");
}

#[tokio::test]
async fn p1_another_push_of_the_same_call_is_a_duplicate() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let again = store.push(PUSH_2, vec![call("session")]).await;
    assert_eq!(again, [json!({"verdict": "duplicate", "callId": call_id("session")})]);
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["duplicates"], &view["pushId"]), (&json!(1), &json!(PUSH_1)));
}

#[tokio::test]
async fn p8_the_same_push_is_granted_again_with_the_same_record_until_there_is_an_outcome() {
    let store = Store::in_memory().await;
    let first = store.push(PUSH_1, vec![call("session")]).await;
    store.pass_ms(1000);
    // A binding that is registered meanwhile does not change what the call was recorded with.
    store.put("/v1/bindings/binding-1", json!({"ak": "A"})).await.expect(201);
    let again = store.push(PUSH_1, vec![call("session")]).await;
    assert_eq!(first, again);
    assert_eq!(again[0]["verdict"], "claimed");
    assert_eq!(again[0]["record"]["updatedAt"], START);

    store.report(&call_id("session"), PUSH_1, answered(200)).await;
    let late = store.push(PUSH_1, vec![call("session")]).await;
    assert_eq!(late[0]["verdict"], "duplicate");
}

/// A call whose claim lasts so many milliseconds from each grant.
fn lasting(session: &str, ttl_ms: u64) -> Value {
    let mut one = call(session);
    one["ttlMs"] = json!(ttl_ms);
    one
}

#[tokio::test]
async fn r12_the_same_push_is_granted_again_past_the_deadline_and_the_claim_lasts_from_then_on() {
    let store = Store::in_memory().await;
    let first = store.push(PUSH_1, vec![lasting("session", 1000)]).await;
    assert_eq!(store.call(&call_id("session")).await["claimDeadline"], START + 1000);
    for _ in 0..2 {
        store.pass_ms(5000);
        assert_eq!(store.call(&call_id("session")).await["state"], "unknown");
        assert_eq!(store.push(PUSH_1, vec![lasting("session", 1000)]).await, first);
        let view = store.call(&call_id("session")).await;
        assert_eq!((&view["state"], &view["recordedAt"]), (&json!("pending"), &json!(START)));
    }
    assert_eq!(store.call(&call_id("session")).await["claimDeadline"], START + 11_000);
    store.report(&call_id("session"), PUSH_1, answered(200)).await;
    store.pass_ms(1000);
    assert_eq!(store.push(PUSH_1, vec![lasting("session", 1000)]).await[0]["verdict"], "duplicate");
    assert_eq!(store.call(&call_id("session")).await["claimDeadline"], START + 11_000);
}

#[tokio::test]
async fn r12_a_filter_of_0_1_0_is_granted_again_past_its_own_deadline() {
    let store = Store::in_memory().await;
    let first = store.push(PUSH_1, vec![call("session")]).await;
    store.pass_ms(1_000_000);
    assert_eq!(store.call(&call_id("session")).await["state"], "unknown");
    assert_eq!(store.push(PUSH_1, vec![call("session")]).await, first);
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["state"], &view["claimDeadline"]), (&json!("pending"), &json!(START + 1_000_000 + CLAIM_LASTS)));
}

#[tokio::test]
async fn r13_another_push_is_a_duplicate_whatever_the_deadline_and_changes_no_grant() {
    let store = Store::in_memory().await;
    let first = store.push(PUSH_1, vec![lasting("session", 1000)]).await;
    store.pass_ms(1_000_000);
    assert_eq!(store.push(PUSH_2, vec![lasting("session", 1000)]).await[0]["verdict"], "duplicate");
    assert_eq!(store.call(&call_id("session")).await["claimDeadline"], START + 1000);
    assert_eq!(store.push(PUSH_1, vec![lasting("session", 1000)]).await, first);
}

#[tokio::test]
async fn r12_a_push_that_is_asked_for_at_the_same_time_as_itself_is_granted_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Store::in_memory().await;
    let file = Store::at(&directory.path().join("store.sqlite3")).await;
    for store in [&memory, &file] {
        let asked = (0..20).map(|_| store.push(PUSH_1, vec![lasting("session", 1000), call("other")]));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| *answer == answers[0] && answer[1]["verdict"] == "claimed"));
        assert_eq!(store.call(&call_id("session")).await["duplicates"], 0);
    }
}

#[tokio::test]
async fn times_are_told_by_the_stores_clock_where_the_filter_says_how_long() {
    let store = Store::in_memory().await;
    let mut body = push(PUSH_1, vec![lasting("session", u64::MAX)]);
    body["ageMs"] = json!(7);
    body["receivedAt"] = json!(1);
    body["event"] = json!({"eventType": "callin", "raw": "{}"});
    store.post("/v1/pushes", &body).await.expect(200);
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["receivedAt"], &view["claimDeadline"]), (&json!(START - 7), &json!(i64::MAX)));
    assert_eq!(store.get("/v1/events").await.expect(200)["events"][0]["receivedAt"], START - 7);
}

#[tokio::test]
async fn p1_a_call_that_one_push_names_twice_is_claimed_once_also_when_asked_again() {
    let store = Store::in_memory().await;
    for _ in 0..2 {
        let results = store.push(PUSH_1, vec![call("session"), call("other"), call("session")]).await;
        let verdicts: Vec<&Value> = results.iter().map(|result| &result["verdict"]).collect();
        assert_eq!(verdicts, ["claimed", "claimed", "duplicate"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_of_many_simultaneous_pushes_of_a_call_exactly_one_is_claimed() {
    const PUSHES: u128 = 64;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::at(&directory.path().join("store.sqlite3")).await);
    for round in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..PUSHES {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let push_id = PushId::from_bytes(number.to_be_bytes()).to_string();
                store.push(&push_id, vec![call(&format!("session {round}"))]).await[0]["verdict"].clone()
            });
        }
        let verdicts = tasks.join_all().await;
        assert_eq!(verdicts.iter().filter(|verdict| *verdict == "claimed").count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| *verdict == "duplicate").count(), PUSHES as usize - 1);
    }
}

#[tokio::test]
async fn works_that_wait_together_are_committed_together() {
    let store = Store::in_memory().await;
    // On one thread the writer runs only once everybody has queued.
    let pushes = (0..100_u128).map(|number| {
        let push_id = PushId::from_bytes(number.to_be_bytes()).to_string();
        let store = &store;
        async move { store.push(&push_id, vec![call(&format!("session {number}"))]).await }
    });
    let results = futures_util::future::join_all(pushes).await;
    assert!(results.iter().all(|result| result[0]["verdict"] == "claimed"));
    assert_eq!(metric(&store, r#"privatenumber_store_commits_total{result="committed"}"#), 1.0);
    assert_eq!(metric(&store, "privatenumber_store_group_size_sum"), 100.0);
    assert_eq!(metric(&store, r#"privatenumber_store_calls_total{verdict="claimed"}"#), 100.0);
    assert_eq!(metric(&store, "privatenumber_store_queue_depth"), 0.0);
}

#[tokio::test]
async fn p4_a_call_that_cannot_be_used_is_parked_and_the_others_are_recorded() {
    let store = Store::in_memory().await;
    let mut without_session = call("");
    without_session["userData"] = json!("first");
    let results = store.push(PUSH_1, vec![call("good"), without_session, call(&"x".repeat(1025))]).await;
    let verdicts: Vec<&Value> = results.iter().map(|result| &result["verdict"]).collect();
    assert_eq!(verdicts, ["claimed", "parked", "parked"]);
    let parked = store.get("/v1/parked").await.expect(200);
    let reasons: Vec<&str> =
        parked["parked"].as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        [
            "/calls/2/sessionId: longer than 1024 bytes",
            "/calls/1/sessionId: empty; without it the call cannot be told from others"
        ]
    );
    let raw: Value = serde_json::from_str(parked["parked"][1]["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw["userData"], "first");
}

#[tokio::test]
async fn p2_parked_texts_and_events_are_kept_once_and_their_repetitions_counted() {
    let store = Store::in_memory().await;
    let mut body = push(PUSH_1, vec![]);
    body["parked"] = json!([{"reason": "/feeLst/0: no callEndTime", "raw": "{\"a\":1}"}]);
    body["event"] = json!({"eventType": "callin", "raw": "{\"eventType\":\"callin\"}"});
    store.post("/v1/pushes", &body).await.expect(200);
    // Asked again by the root: not a further push.
    store.post("/v1/pushes", &body).await.expect(200);
    body["pushId"] = json!(PUSH_2);
    store.post("/v1/pushes", &body).await.expect(200);
    body["appKey"] = json!("another app");
    store.post("/v1/pushes", &body).await.expect(200);

    for (path, list) in [("/v1/parked", "parked"), ("/v1/events", "events")] {
        let page = store.get(path).await.expect(200);
        let seen: Vec<(&Value, &Value)> =
            page[list].as_array().unwrap().iter().map(|entry| (&entry["appKey"], &entry["duplicates"])).collect();
        assert_eq!(seen, [(&json!("another app"), &json!(0)), (&json!("app"), &json!(1))], "{list}");
    }
}

#[tokio::test]
async fn texts_that_look_like_sql_or_hold_odd_characters_are_texts() {
    let store = Store::in_memory().await;
    for odd in ["'; DROP TABLE calls; --", "\"$1\" OR 1=1", "%_\\", "号码\u{1F4DE}\u{202E}", "a\u{0}b", "{\"$ref\":1}"]
    {
        let mut odd_call = call(odd);
        for field in ["subscriptionId", "userData", "ak", "icid"] {
            odd_call[field] = json!(odd);
        }
        let results = store.push(PUSH_1, vec![odd_call]).await;
        assert_eq!(results[0]["verdict"], "claimed", "{odd}");
        let view = store.call(results[0]["callId"].as_str().unwrap()).await;
        assert_eq!((&view["sessionId"], &view["icid"]), (&json!(odd), &json!(odd)));
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("ak", odd).finish();
        let page = store.get(&format!("/v1/calls?{query}")).await.expect(200);
        assert_eq!(page["calls"].as_array().unwrap().len(), 1, "{odd}");
        assert_eq!(page["calls"][0], view);
    }
}
