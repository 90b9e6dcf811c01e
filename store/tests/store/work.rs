//! Works: calls that wait in the store until a worker takes them, each once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::held::holding;
use crate::process::Process;
use crate::support::{
    PUSH_1, PUSH_2, START, Store, WORKER_1, WORKER_2, answered, call, call_id, delivered, metric, push,
};

/// How long the claims of these workers last, milliseconds.
const TTL: i64 = 1000;

/// Lets calls wait that are due, one a second; returns their ids, oldest first.
async fn due(store: &Store, number: usize) -> Vec<String> {
    let sessions: Vec<String> = (0..number).map(|number| format!("session {number}")).collect();
    for session in &sessions {
        let body = holding(PUSH_1, vec![call(session)]);
        store.post("/v1/pushes", body).await.expect(200);
        store.pass_ms(1000);
    }
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    sessions.iter().map(|session| call_id(session)).collect()
}

fn ids(answer: &Value) -> Vec<String> {
    answer["calls"].as_array().unwrap().iter().map(|call| call["callId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn r20_works_are_granted_to_the_worker_oldest_first_and_no_more_than_it_asks_for() {
    let store = Store::in_memory().await;
    let expected = due(&store, 5).await;
    let first = store.take(WORKER_1, 2).await;
    assert_eq!((ids(&first), &first["worksWaiting"]), (expected[..2].to_vec(), &json!(3)));
    let view = store.call(&expected[0]).await;
    assert_eq!((&view["state"], &view["pushId"]), (&json!("pending"), &json!(WORKER_1)));
    assert_eq!(view["claimDeadline"], START + 5000 + TTL);
    let second = store.take(WORKER_2, 50).await;
    assert_eq!((ids(&second), &second["worksWaiting"]), (expected[2..].to_vec(), &json!(0)));
    assert_eq!(metric(&store, "privatenumber_store_works_taken_total"), 5.0);
}

#[tokio::test]
async fn r12_a_worker_that_asks_again_is_given_the_same_works_with_the_same_records_past_the_deadline_too() {
    let store = Store::in_memory().await;
    let expected = due(&store, 5).await;
    let first = store.take(WORKER_1, 3).await;
    for _ in 0..2 {
        store.pass_ms(10 * TTL);
        store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS", "remark": "changed"})).await;
        assert_eq!(store.call(&expected[0]).await["state"], "unknown");
        // Never further ones: whatever it did not hear of would be lost among them.
        assert_eq!(store.take(WORKER_1, 50).await, first);
        assert_eq!(store.call(&expected[0]).await["state"], "pending");
    }
    store.report(&expected[1], WORKER_1, answered(200)).await;
    assert_eq!(ids(&store.take(WORKER_1, 50).await), [expected[0].clone(), expected[2].clone()]);
    for id in [&expected[0], &expected[2]] {
        store.report(id, WORKER_1, answered(200)).await;
    }
    let nothing = json!({"pushId": WORKER_1, "calls": [], "worksWaiting": 2});
    assert_eq!(store.take(WORKER_1, 50).await, nothing);
    // Nor once one of its works is released again.
    let not_sent = json!({"class": "not_sent", "reason": "no_cluster"});
    let works = ids(&store.take(WORKER_2, 1).await);
    store.report(&works[0], WORKER_2, not_sent).await;
    store.release(&[&works[0]]).await;
    assert_eq!(store.take(WORKER_2, 50).await["calls"], json!([]));
}

#[tokio::test]
async fn p8_a_late_copy_of_a_request_that_was_given_nothing_takes_no_works() {
    let store = Store::in_memory().await;
    assert_eq!(store.take(WORKER_1, 1).await["calls"], json!([]));
    let expected = due(&store, 1).await;
    // The worker has heard that there is nothing: it would never hear of these.
    assert_eq!(store.take(WORKER_1, 1).await, json!({"pushId": WORKER_1, "calls": [], "worksWaiting": 1}));
    assert_eq!(ids(&store.take(WORKER_2, 1).await), expected);
}

#[tokio::test]
async fn r12_a_worker_that_asks_at_the_same_time_as_itself_is_answered_each_time_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Store::in_memory().await;
    let file = Store::at(&directory.path().join("store.sqlite3")).await;
    for store in [&memory, &file] {
        let expected = due(store, 5).await;
        let answers = join_all((0..20).map(|_| store.take(WORKER_1, 3))).await;
        assert!(answers.iter().all(|answer| ids(answer) == expected[..3]), "{answers:#?}");
    }
}

#[tokio::test]
async fn p1_workers_that_take_at_once_are_given_each_call_once() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Store::in_memory().await;
    let file = Store::at(&directory.path().join("store.sqlite3")).await;
    for store in [&memory, &file] {
        let expected: BTreeSet<String> = due(store, 40).await.into_iter().collect();
        let workers: Vec<String> = (1..=20).map(|number| format!("{number:032x}")).collect();
        let answers = join_all(workers.iter().map(|worker| store.take(worker, 3))).await;
        let taken: Vec<String> = answers.iter().flat_map(ids).collect();
        assert_eq!(taken.len(), 40);
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), expected);
        for (worker, answer) in workers.iter().zip(&answers) {
            assert_eq!(ids(&store.take(worker, 50).await), ids(answer));
        }
    }
}

#[tokio::test]
async fn r17_only_the_workers_own_outcome_counts() {
    let store = Store::in_memory().await;
    let expected = due(&store, 1).await;
    store.take(WORKER_1, 1).await;
    for other in [PUSH_1, PUSH_2, WORKER_2] {
        assert_eq!(store.report(&expected[0], other, answered(200)).await["refused"], 1);
    }
    store.pass_ms(100 * TTL);
    assert_eq!(store.report(&expected[0], WORKER_1, answered(200)).await["recorded"], 1);
    assert_eq!(store.report(&expected[0], WORKER_1, answered(500)).await["repeated"], 1);
    assert_eq!(store.call(&expected[0]).await["outcome"], delivered(200));
}

#[tokio::test]
async fn p4_a_work_too_large_for_the_answer_of_others_is_left_to_the_next_worker() {
    let store = Store::in_memory().await;
    let mut calls = Vec::new();
    for number in 0..4 {
        let mut one = call(&format!("session {number}"));
        one["userData"] = json!("x".repeat(300_000));
        calls.push(one);
    }
    calls[1]["userData"] = json!("x".repeat(1_500_000));
    for one in calls {
        store.post("/v1/pushes", holding(PUSH_1, vec![one])).await.expect(200);
    }
    store.pass_ms(60_000);
    let mut seen = Vec::new();
    for number in 1..=3 {
        let answer = store.take_answer(&format!("{number:032x}"), 50).await;
        let works = ids(&answer.expect(200));
        assert!(works.len() == 1 || answer.text.len() <= 1 << 20);
        seen.push(works.len());
    }
    assert_eq!(seen, [1, 1, 2]);
}

#[tokio::test]
async fn a_request_for_works_that_does_not_keep_the_contract_is_refused() {
    let store = Store::in_memory().await;
    for (body, expected) in [
        (json!({"pushId": WORKER_1, "most": 0, "ttlMs": 1}), "`most`: has to be from 1 to 50"),
        (json!({"pushId": WORKER_1, "most": 51, "ttlMs": 1}), "`most`: has to be from 1 to 50"),
        (json!({"pushId": WORKER_1, "most": 1}), "`.`: the member `ttlMs` is missing"),
        (json!({"pushId": "x", "most": 1, "ttlMs": 1}), "`pushId`: "),
    ] {
        let detail = store.post("/v1/work:take", body).await.problem(422, "invalid-body");
        assert!(detail.starts_with(expected), "{detail}");
    }
}

#[tokio::test]
async fn every_answer_says_how_many_works_wait_and_counts_up_to_1000() {
    let store = Store::in_memory().await;
    for push_number in 0..21 {
        let calls = (0..50).map(|number| call(&format!("session {push_number} {number}"))).collect();
        store.post("/v1/pushes", holding(PUSH_1, calls)).await.expect(200);
    }
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    let waiting = |answer: Value| answer["worksWaiting"].as_u64().unwrap();
    assert_eq!(waiting(store.take(WORKER_1, 49).await), 1000);
    assert_eq!(waiting(store.take(WORKER_2, 2).await), 999);
    assert_eq!(waiting(store.post("/v1/pushes", push(PUSH_2, vec![])).await.expect(200)), 999);
    assert_eq!(waiting(store.report("none", PUSH_1, answered(200)).await), 999);
    for pushes in [json!([push(PUSH_2, vec![])]), json!([]), json!([{"pushId": PUSH_2}])] {
        let batch = json!({"pushes": pushes});
        let answer = store.send(crate::support::with_json("POST", "/v1/push-batches", batch)).await;
        assert_eq!(waiting(answer.expect(200)), 999);
    }
}

#[tokio::test]
async fn r12_works_outlive_the_process_and_are_granted_again_after_it_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    let body = holding(PUSH_1, vec![call("one"), call("two")]);
    process.request("POST", "/v1/pushes", &body).await.unwrap();
    process.request("PUT", "/v1/bindings/binding-1", &json!({"ak": "BUSINESS"})).await.unwrap();
    let take = |worker: &str| json!({"pushId": worker, "most": 1, "ttlMs": TTL});
    let (status, first) = process.request("POST", "/v1/work:take", &take(WORKER_1)).await.unwrap();
    assert_eq!((status, &first["worksWaiting"]), (200, &json!(1)), "{first}");
    process.signal("-KILL");
    process.end().await;

    let process = Process::start(&data, &[]).await;
    let (_, again) = process.request("POST", "/v1/work:take", &take(WORKER_1)).await.unwrap();
    assert_eq!(again, first);
    let (_, other) = process.request("POST", "/v1/work:take", &take(WORKER_2)).await.unwrap();
    assert_eq!(ids(&other).len(), 1);
    assert_ne!(ids(&other), ids(&first));
}
