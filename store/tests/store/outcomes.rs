//! P3: every call ends in exactly one outcome.

use serde_json::json;

use crate::support::{
    CLAIM_LASTS, PUSH_1, PUSH_2, START, Store, answered, call, call_id, delivered, metric, rejected, sessions,
};

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
    assert_eq!((&view["state"], &view["outcome"]), (&json!("rejected"), &rejected(503)));
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
    assert_eq!(metric(&store, r#"privatenumber_store_outcomes_total{class="delivered",result="refused"}"#), 2.0);

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
    let not_sent = json!({"class": "not_sent", "reason": "no_healthy_host"});
    let maybe_sent = json!({"class": "maybe_sent", "reason": "truncated"});
    let skipped = json!({"class": "skipped", "reason": "no_callback"});
    for (reported, shown) in [
        (answered(204), delivered(204)),
        (answered(500), rejected(500)),
        (not_sent.clone(), not_sent),
        (maybe_sent.clone(), maybe_sent),
        (skipped.clone(), skipped),
    ] {
        let session = reported.to_string();
        store.push(PUSH_1, vec![call(&session)]).await;
        store.report(&call_id(&session), PUSH_1, reported).await;
        let class = shown["class"].as_str().unwrap();
        for more in ["", "&ak=CONFIGURED", "&appKey=app", "&subscriptionId=binding-1", "&from=1"] {
            let page = store.get(&format!("/v1/calls?state={class}{more}")).await.expect(200);
            assert_eq!(sessions(&page), [session.as_str()], "{more}");
            assert_eq!((&page["calls"][0]["outcome"], &page["calls"][0]["state"]), (&shown, &json!(class)));
        }
        let name = format!(r#"privatenumber_store_outcomes_total{{class="{class}",result="recorded"}}"#);
        assert_eq!(metric(&store, &name), 1.0);
    }
}

/// One call of each state, oldest first; those in between are delivered.
async fn one_call_of_each_state(store: &Store) -> Vec<&'static str> {
    let reported = [
        ("rejected", answered(502)),
        ("not_sent", json!({"class": "not_sent", "reason": "overflow"})),
        ("maybe_sent", json!({"class": "maybe_sent", "reason": "timeout"})),
        ("skipped", json!({"class": "skipped", "reason": "no_callback"})),
    ];
    store.push(PUSH_1, vec![call("unknown")]).await;
    store.pass_ms(CLAIM_LASTS + 1);
    for (session, outcome) in reported {
        store.push(PUSH_1, vec![call(session), call(&format!("delivered beside {session}"))]).await;
        store.report(&call_id(session), PUSH_1, outcome).await;
        store.report(&call_id(&format!("delivered beside {session}")), PUSH_1, answered(200)).await;
        store.pass_ms(1);
    }
    let mut pending = call("pending");
    pending["ttlMs"] = json!(CLAIM_LASTS);
    store.push(PUSH_1, vec![pending]).await;
    vec!["unknown", "rejected", "not_sent", "maybe_sent", "skipped"]
}

#[tokio::test]
async fn p3_one_question_finds_every_call_whose_business_may_not_have_it() {
    let store = Store::in_memory().await;
    let mut expected = one_call_of_each_state(&store).await;
    expected.reverse();
    let (from, to) = (START, START + CLAIM_LASTS + 1000);
    for more in ["", "&ak=CONFIGURED", "&appKey=app", "&subscriptionId=binding-1", &format!("&from={from}&to={to}")] {
        let (mut seen, mut path) = (Vec::new(), format!("/v1/calls?outcome=undelivered&limit=2{more}"));
        loop {
            let page = store.get(&path).await.expect(200);
            seen.extend(sessions(&page));
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("/v1/calls?outcome=undelivered&limit=2{more}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{more}");
    }
    assert_eq!(store.get("/v1/calls?outcome=undelivered&ak=OTHER").await.expect(200)["calls"], json!([]));
}

#[tokio::test]
async fn several_states_are_asked_for_at_once_and_the_word_of_0_1_0_is_understood() {
    let store = Store::in_memory().await;
    one_call_of_each_state(&store).await;
    let all: Vec<String> = sessions(&store.get("/v1/calls").await.expect(200));
    let only = |words: &[&str]| -> Vec<String> {
        all.iter().filter(|session| words.iter().any(|word| session.starts_with(word))).cloned().collect()
    };
    for (query, words) in [
        ("state=rejected,not_sent", &["rejected", "not_sent"][..]),
        ("state=pending,unknown,pending", &["pending", "unknown"]),
        ("state=answered", &["delivered", "rejected"]),
        ("state=answered,rejected", &["delivered", "rejected"]),
        ("state=answered&ak=CONFIGURED", &["delivered", "rejected"]),
    ] {
        assert_eq!(sessions(&store.get(&format!("/v1/calls?{query}")).await.expect(200)), only(words), "{query}");
    }
}
