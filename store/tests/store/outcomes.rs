//! P3: every call ends in exactly one outcome.

use serde_json::json;

use crate::support::{CLAIM_LASTS, PUSH_1, PUSH_2, Store, answered, call, call_id, metric};

#[tokio::test]
async fn p3_the_first_outcome_wins_and_repeating_changes_nothing() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let id = call_id("session");
    store.pass_ms(500);
    assert_eq!(
        store.report(&id, PUSH_1, answered(503)).await,
        json!({"recorded": 1, "repeated": 0, "refused": 0, "worksWaiting": 0})
    );
    let view = store.call(&id).await;
    assert_eq!((&view["state"], &view["outcome"]), (&json!("answered"), &answered(503)));
    assert_eq!((&view["durationMs"], &view["reportedAt"]), (&json!(12), &json!(crate::support::START + 500)));

    store.pass_ms(500);
    assert_eq!(
        store.report(&id, PUSH_1, answered(503)).await,
        json!({"recorded": 0, "repeated": 1, "refused": 0, "worksWaiting": 0})
    );
    let timeout = json!({"class": "maybe_sent", "reason": "timeout"});
    assert_eq!(
        store.report(&id, PUSH_1, timeout).await,
        json!({"recorded": 0, "repeated": 1, "refused": 0, "worksWaiting": 0})
    );
    assert_eq!(store.call(&id).await, view);
}

#[tokio::test]
async fn p3_only_the_push_that_holds_the_claim_may_report() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    store.push(PUSH_2, vec![call("session")]).await;
    let id = call_id("session");
    let refused = json!({"recorded": 0, "repeated": 0, "refused": 1, "worksWaiting": 0});
    assert_eq!(store.report(&id, PUSH_2, answered(200)).await, refused);
    assert_eq!(store.report("no such call", PUSH_1, answered(200)).await, refused);
    assert_eq!(store.call(&id).await["state"], "pending");
    assert_eq!(metric(&store, r#"privatenumber_store_outcomes_total{class="answered",result="refused"}"#), 2.0);

    store.report(&id, PUSH_1, answered(200)).await;
    assert_eq!(store.report(&id, PUSH_2, answered(200)).await, refused);
}

#[tokio::test]
async fn p3_a_claim_past_its_deadline_reads_as_unknown_until_its_outcome_comes() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let id = call_id("session");
    store.pass_ms(CLAIM_LASTS);
    assert_eq!(store.call(&id).await["state"], "pending");
    assert_eq!(store.get("/v1/calls?state=unknown").await.expect(200)["calls"], json!([]));
    store.pass_ms(1);
    let view = store.call(&id).await;
    assert_eq!((&view["state"], &view["outcome"]), (&json!("unknown"), &json!(null)));
    assert_eq!(store.get("/v1/calls?state=unknown").await.expect(200)["calls"], json!([view]));
    assert_eq!(store.get("/v1/calls?state=pending").await.expect(200)["calls"], json!([]));

    let reset = json!({"class": "maybe_sent", "reason": "reset"});
    assert_eq!(store.report(&id, PUSH_1, reset.clone()).await["recorded"], 1);
    let view = store.call(&id).await;
    assert_eq!((&view["state"], &view["outcome"]), (&json!("maybe_sent"), &reset));
    assert_eq!(store.get("/v1/calls?state=unknown").await.expect(200)["calls"], json!([]));
}

#[tokio::test]
async fn a_batch_of_1000_is_served_and_one_more_is_refused_as_a_whole() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let report = json!({"callId": call_id("session"), "pushId": PUSH_1, "outcome": answered(200), "durationMs": null});
    let batch = |length: usize| json!({"outcomes": vec![report.clone(); length]});
    let detail = store.post("/v1/outcomes", batch(1001)).await.problem(422, "invalid-body");
    assert_eq!(detail, "`outcomes`: has 1001 entries, may have 1000; split the batch");
    assert_eq!(store.call(&call_id("session")).await["state"], "pending");
    let answer = store.post("/v1/outcomes", batch(1000)).await.expect(200);
    assert_eq!(answer, json!({"recorded": 1, "repeated": 999, "refused": 0, "worksWaiting": 0}));
}

#[tokio::test]
async fn every_class_of_outcome_reads_back_and_can_be_asked_for() {
    let store = Store::in_memory().await;
    let outcomes = [
        json!({"class": "answered", "status": 500}),
        json!({"class": "not_sent", "reason": "no_healthy_host"}),
        json!({"class": "maybe_sent", "reason": "truncated"}),
        json!({"class": "skipped", "reason": "no_callback"}),
    ];
    for outcome in &outcomes {
        let session = outcome.to_string();
        store.push(PUSH_1, vec![call(&session)]).await;
        store.report(&call_id(&session), PUSH_1, outcome.clone()).await;
        let class = outcome["class"].as_str().unwrap();
        let page = store.get(&format!("/v1/calls?state={class}")).await.expect(200);
        assert_eq!(page["calls"].as_array().unwrap().len(), 1);
        assert_eq!((&page["calls"][0]["outcome"], &page["calls"][0]["state"]), (outcome, &json!(class)));
    }
}
