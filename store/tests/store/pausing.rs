//! Pausing a business: its calls wait in the store, and become works when it resumes.

use serde_json::{Value, json};

use crate::held::holding;
use crate::process::Process;
use crate::support::{PUSH_1, PUSH_2, START, Store, WORKER_1, WORKER_2, answered, call, call_id, metric, push};

async fn pause(store: &Store) -> Value {
    store.post("/v1/businesses/CONFIGURED:pause", "").await.expect(200)
}

async fn resume(store: &Store) -> Value {
    store.post("/v1/businesses/CONFIGURED:resume", "").await.expect(200)
}

fn view(paused_since: Option<i64>, calls_waiting: u64) -> Value {
    json!({"ak": "CONFIGURED", "pausedSince": paused_since, "callsWaiting": calls_waiting})
}

fn verdicts(calls: &[Value]) -> Vec<&str> {
    calls.iter().map(|call| call["verdict"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn p3_calls_of_a_paused_business_wait_and_become_works_when_it_resumes() {
    let store = Store::in_memory().await;
    assert_eq!(store.get("/v1/businesses/CONFIGURED").await.expect(200), view(None, 0));
    assert_eq!(pause(&store).await, view(Some(START), 0));
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one"), call("two")]).await), ["held", "held"]);
    let mut other = call("other");
    other["ak"] = json!("OTHER");
    assert_eq!(verdicts(&store.push(PUSH_1, vec![other]).await), ["claimed"], "another business");
    store.pass_ms(100_000_000);
    let one = store.call(&call_id("one")).await;
    assert_eq!((&one["state"], &one["outcome"]), (&json!("waiting"), &json!(null)));
    assert_eq!(one["wait"], json!({"waitsFor": "paused", "since": START, "due": null}));
    let works = store.take(WORKER_2, 10).await;
    assert_eq!((&works["calls"], &works["worksWaiting"]), (&json!([]), &json!(0)));
    assert_eq!(store.get("/v1/businesses/CONFIGURED").await.expect(200), view(Some(START), 2));
    store.get("/metrics").await;
    assert_eq!(metric(&store, r#"privatenumber_store_calls_waiting{waits_for="paused"}"#), 2.0);
    assert_eq!(metric(&store, "privatenumber_store_businesses_paused"), 1.0);
    assert_eq!(metric(&store, "privatenumber_store_oldest_work_seconds"), 0.0, "nobody is to take them");

    assert_eq!(resume(&store).await, view(None, 0));
    let works = store.take(WORKER_1, 10).await;
    let calls = works["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!((&calls[0]["callId"], &calls[0]["ak"]), (&json!(call_id("one")), &json!("CONFIGURED")));
    // P1: the push that brought them holds them no more.
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one")]).await), ["duplicate"]);
    assert_eq!(store.report(&call_id("one"), WORKER_1, answered(200)).await["recorded"], 1);
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("three")]).await), ["claimed"]);
}

#[tokio::test]
async fn pausing_twice_and_resuming_twice_changes_nothing() {
    let store = Store::in_memory().await;
    assert_eq!(resume(&store).await, view(None, 0), "it was not paused");
    pause(&store).await;
    store.push(PUSH_1, vec![call("one")]).await;
    store.pass_ms(5);
    assert_eq!(pause(&store).await, view(Some(START), 1));
    assert_eq!(resume(&store).await, view(None, 0));
    let due = store.call(&call_id("one")).await["wait"]["due"].clone();
    store.pass_ms(5);
    assert_eq!(resume(&store).await, view(None, 0));
    assert_eq!((store.call(&call_id("one")).await["wait"]["due"].clone(), due), (json!(START + 5), json!(START + 5)));
}

#[tokio::test]
async fn r12_a_call_that_is_held_is_held_again_for_its_push_and_a_duplicate_for_others() {
    let store = Store::in_memory().await;
    pause(&store).await;
    for _ in 0..2 {
        assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one")]).await), ["held"]);
        assert_eq!(verdicts(&store.push(PUSH_2, vec![call("one")]).await), ["duplicate"]);
    }
    resume(&store).await;
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one")]).await), ["held"], "it waits for a worker");
}

#[tokio::test]
async fn r12_what_a_gateway_has_claimed_before_the_pause_is_its_own() {
    let store = Store::in_memory().await;
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one")]).await), ["claimed"]);
    pause(&store).await;
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("one")]).await), ["claimed"]);
    assert_eq!(store.report(&call_id("one"), PUSH_1, answered(200)).await["recorded"], 1);
}

#[tokio::test]
async fn works_of_a_paused_business_are_given_to_nobody_and_hold_up_no_other() {
    let store = Store::in_memory().await;
    // Released, held for its binding, and resumed: all are due, and then the business is paused.
    store.push(PUSH_1, vec![call("released")]).await;
    store.report(&call_id("released"), PUSH_1, json!({"class": "not_sent", "reason": "queue_full"})).await;
    store.release(&[&call_id("released")]).await;
    store.post("/v1/pushes", holding(PUSH_2, vec![call("held")])).await.expect(200);
    store.pass_ms(60_000);
    pause(&store).await;
    let mut other = call("other");
    other["ak"] = json!("OTHER");
    store.push(PUSH_1, vec![other]).await;
    store.report(&call_id("other"), PUSH_1, json!({"class": "not_sent", "reason": "queue_full"})).await;
    store.release(&[&call_id("other")]).await;

    let works = store.take(WORKER_1, 1).await;
    assert_eq!(works["calls"][0]["callId"], json!(call_id("other")));
    assert_eq!((works["calls"].as_array().unwrap().len(), &works["worksWaiting"]), (1, &json!(0)));
    assert_eq!(store.get("/v1/businesses/CONFIGURED").await.expect(200)["callsWaiting"], 2);
    for session in ["released", "held"] {
        let wait = store.call(&call_id(session)).await["wait"].clone();
        assert_eq!((&wait["waitsFor"], &wait["due"]), (&json!("paused"), &json!(null)), "{session}");
    }
    // Releasing what waits for its business is refused with what to do.
    let refused = store.release(&[&call_id("held")]).await["refused"][0]["problem"]["detail"].clone();
    assert!(refused.as_str().unwrap().contains(":resume"), "{refused}");
    // Who brought it before it was released has been retired.
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("released")]).await), ["duplicate"]);
    assert_eq!(verdicts(&store.push(PUSH_2, vec![call("held")]).await), ["held"]);
    resume(&store).await;
    assert_eq!(store.take(WORKER_2, 10).await["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn thousands_of_calls_become_works_in_steps_and_none_is_forgotten() {
    let store = Store::in_memory().await;
    pause(&store).await;
    for number in 0..50 {
        let calls = (0..50).map(|call_number| call(&format!("{number} {call_number}"))).collect();
        store.push(PUSH_1, calls).await;
    }
    assert_eq!(resume(&store).await, view(None, 1_500), "a thousand at once");
    // New calls need not wait for them.
    assert_eq!(verdicts(&store.push(PUSH_1, vec![call("new")]).await), ["claimed"]);
    // Paused and resumed in between.
    assert_eq!(pause(&store).await["callsWaiting"], 1_500);
    resume(&store).await;
    let mut taken = std::collections::HashSet::new();
    for worker in 1..=60 {
        let works = store.take(&format!("{worker:032x}"), 50).await;
        taken.extend(works["calls"].as_array().unwrap().iter().map(|call| call["callId"].to_string()));
    }
    assert_eq!(taken.len(), 2_500);
}

#[tokio::test]
async fn a_business_stays_paused_after_the_process_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    let (status, _) = process.request("POST", "/v1/businesses/CONFIGURED:pause", &json!({})).await.unwrap();
    assert_eq!(status, 200);
    process.signal("-KILL");
    process.end().await;
    let process = Process::start(&data, &[]).await;
    let (_, answer) = process.request("POST", "/v1/pushes", &push(PUSH_1, vec![call("one")])).await.unwrap();
    assert_eq!(answer["calls"][0]["verdict"], "held");
}

#[tokio::test]
async fn names_of_businesses_that_cannot_be_are_refused() {
    let store = Store::in_memory().await;
    store.post("/v1/businesses/A%20B%3A%E4%B8%9A:pause", "").await.expect(200);
    assert_eq!(store.get("/v1/businesses/A%20B%3A%E4%B8%9A").await.expect(200)["ak"], "A B:业");
    store.post("/v1/businesses/:pause", "").await.problem(400, "invalid-parameter");
    store.post("/v1/businesses/A%00:pause", "").await.problem(400, "invalid-parameter");
    store.get(&format!("/v1/businesses/{}", "x".repeat(1_025))).await.problem(400, "invalid-parameter");
    store.post("/v1/businesses/A", "").await.problem(404, "not-found");
    store.post("/v1/businesses/A:stop", "").await.problem(404, "not-found");
}
