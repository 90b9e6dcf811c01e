//! Late registration: a call without a binding row waits for it, is called back from its CDR alone, or is not called back.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{PUSH_1, PUSH_2, START, Store, WORKER_1, WORKER_2, answered, call, call_id, metric, push};

/// How long calls of these tests are held, milliseconds.
const HOLD: i64 = 60_000;

/// A push whose application holds calls without a binding row.
pub fn holding(push_id: &str, calls: Vec<Value>) -> Value {
    let mut body = push(push_id, calls);
    body["application"] = json!({"ak": "CONFIGURED", "withoutBinding": {"hold": HOLD / 1000}});
    body
}

async fn verdict(store: &Store, body: Value) -> Value {
    store.post("/v1/pushes", body).await.expect(200)["calls"][0].clone()
}

fn held(session: &str) -> Value {
    json!({"verdict": "held", "callId": call_id(session)})
}

fn duplicate(session: &str) -> Value {
    json!({"verdict": "duplicate", "callId": call_id(session)})
}

#[tokio::test]
async fn p3_a_held_call_waits_for_its_binding_and_says_since_when() {
    let store = Store::in_memory().await;
    let answer = store.post("/v1/pushes", holding(PUSH_1, vec![call("session")])).await.expect(200);
    assert_eq!((&answer["calls"], &answer["worksWaiting"]), (&json!([held("session")]), &json!(0)));
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["state"], &view["outcome"]), (&json!("waiting"), &json!(null)));
    assert_eq!(view["wait"], json!({"waitsFor": "binding", "since": START, "due": START + HOLD}));
    for (state, expected) in [("waiting", 1), ("pending", 0), ("unknown", 0)] {
        let page = store.get(&format!("/v1/calls?state={state}")).await.expect(200);
        assert_eq!(page["calls"].as_array().unwrap().len(), expected, "{state}");
    }
    assert_eq!(store.take(WORKER_1, 10).await["calls"], json!([]));
    // A waiting call is never `unknown`, however long it waits.
    store.pass_ms(100_000_000);
    assert_eq!(store.call(&call_id("session")).await["state"], "waiting");
    store.get("/metrics").await;
    assert_eq!(metric(&store, r#"privatenumber_store_calls_waiting{waits_for="binding"}"#), 1.0);
    assert_eq!(metric(&store, "privatenumber_store_oldest_work_seconds"), 99_940.0);
}

#[tokio::test]
async fn r12_a_held_call_asked_for_again_by_its_push_is_held_whatever_the_time() {
    let store = Store::in_memory().await;
    for _ in 0..2 {
        assert_eq!(verdict(&store, holding(PUSH_1, vec![call("session")])).await, held("session"));
        // The configuration may have changed meanwhile: the call waits all the same.
        assert_eq!(verdict(&store, push(PUSH_1, vec![call("session")])).await, held("session"));
        store.pass_ms(10 * HOLD);
    }
    assert_eq!(store.call(&call_id("session")).await["duplicates"], 0);
    let answers = join_all((0..20).map(|_| verdict(&store, holding(PUSH_1, vec![call("other")])))).await;
    assert!(answers.iter().all(|answer| *answer == held("other")), "{answers:#?}");
}

#[tokio::test]
async fn r13_a_held_call_that_huawei_pushes_again_still_waits() {
    let store = Store::in_memory().await;
    verdict(&store, holding(PUSH_1, vec![call("session")])).await;
    let before = store.call(&call_id("session")).await;
    assert_eq!(verdict(&store, push(PUSH_2, vec![call("session")])).await, duplicate("session"));
    store.pass_ms(10 * HOLD);
    assert_eq!(verdict(&store, holding(PUSH_2, vec![call("session")])).await, duplicate("session"));
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["wait"], &view["duplicates"]), (&before["wait"], &json!(2)));
    let twice = store.post("/v1/pushes", holding(PUSH_1, vec![call("other"), call("other")])).await.expect(200);
    assert_eq!(twice["calls"], json!([held("other"), duplicate("other")]));
}

#[tokio::test]
async fn a_binding_that_comes_makes_the_call_a_work_with_its_row() {
    let store = Store::in_memory().await;
    verdict(&store, holding(PUSH_1, vec![call("session")])).await;
    store.pass_ms(1000);
    store.put("/v1/bindings/binding-2", json!({"ak": "OTHER"})).await.expect(201);
    assert_eq!(store.take(WORKER_2, 10).await, json!({"pushId": WORKER_2, "calls": [], "worksWaiting": 0}));
    store.put("/v1/bindings/binding-1", json!({"id": 7, "ak": "BUSINESS"})).await.expect(201);
    assert_eq!(store.call(&call_id("session")).await["wait"]["due"], START + 1000);
    let other = store.post("/v1/pushes", push(PUSH_2, vec![])).await.expect(200);
    assert_eq!(other["worksWaiting"], 1);

    store.pass_ms(1000);
    let answer = store.take(WORKER_1, 10).await;
    let work = &answer["calls"][0];
    assert_eq!((&work["verdict"], &work["callId"]), (&json!("claimed"), &json!(call_id("session"))));
    assert_eq!((&work["ak"], &work["record"]["id"]), (&json!("BUSINESS"), &json!(7)));
    assert_eq!((&work["record"]["sessionId"], &work["record"]["updatedAt"]), (&json!("session"), &json!(START + 2000)));
    assert_eq!(answer["worksWaiting"], 0);
    // P1: the push that brought it does not hold it.
    assert_eq!(verdict(&store, holding(PUSH_1, vec![call("session")])).await, duplicate("session"));
    assert_eq!(store.report(&call_id("session"), PUSH_1, answered(200)).await["refused"], 1);
    assert_eq!(store.report(&call_id("session"), WORKER_1, answered(200)).await["recorded"], 1);
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["state"], &view["pushId"]), (&json!("delivered"), &json!(WORKER_1)));
    assert!(view.get("wait").is_none() && view.get("warnings").is_none(), "{view:#}");
}

#[tokio::test]
async fn a_held_call_whose_time_is_over_is_a_work_without_anybody_writing_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    verdict(&store, holding(PUSH_1, vec![call("session")])).await;
    store.pass_ms(HOLD - 1);
    assert_eq!(store.report("none", PUSH_1, answered(200)).await["worksWaiting"], 0);
    store.pass_ms(1);
    assert_eq!(store.report("none", PUSH_1, answered(200)).await["worksWaiting"], 1);
    // After a restart too.
    drop(store);
    let store = Store::at(&path).await;
    store.pass_ms(2 * HOLD);
    let batch = json!({"pushes": [push(PUSH_2, vec![])]});
    assert_eq!(store.post("/v1/push-batches", batch).await.expect(200)["worksWaiting"], 1);
    let work = store.take(WORKER_1, 10).await["calls"][0].clone();
    assert_eq!((&work["ak"], &work["record"]["userData"]), (&json!("CONFIGURED"), &json!("order 7")));
    assert_eq!(work["record"]["updatedAt"], START + 2 * HOLD);
}

#[tokio::test]
async fn a_call_with_its_row_or_with_none_to_wait_for_is_not_held() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    assert_eq!(verdict(&store, holding(PUSH_1, vec![call("bound")])).await["verdict"], "claimed");
    for (number, odd) in [json!(null), json!(""), json!("x".repeat(65))].into_iter().enumerate() {
        let mut one = call(&format!("unbound {number}"));
        one["subscriptionId"] = odd;
        assert_eq!(verdict(&store, holding(PUSH_1, vec![one])).await["verdict"], "claimed");
    }
}

#[tokio::test]
async fn p1_a_binding_that_comes_with_the_push_leaves_one_claim() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(&directory.path().join("store.sqlite3")).await;
    for round in 0..20 {
        let mut one = call(&format!("session {round}"));
        one["subscriptionId"] = json!(format!("binding {round}"));
        let path = format!("/v1/bindings/binding%20{round}");
        let (answer, _) =
            tokio::join!(store.post("/v1/pushes", holding(PUSH_1, vec![one])), store.put(&path, json!({"ak": "A"})));
        let verdict = answer.expect(200)["calls"][0]["verdict"].clone();
        let worker = format!("{round:032x}");
        let works = store.take(&worker, 10).await["calls"].as_array().unwrap().len();
        assert_eq!(works, usize::from(verdict == "held"), "{verdict}");
    }
}

#[tokio::test]
async fn p3_a_call_to_be_skipped_ends_so_at_once_and_is_never_dispatched() {
    let store = Store::in_memory().await;
    let skipping = |push_id, session: &str| {
        let mut body = push(push_id, vec![call(session)]);
        body["application"] = json!({"withoutBinding": "skip"});
        body
    };
    assert_eq!(verdict(&store, skipping(PUSH_1, "session")).await, duplicate("session"));
    let view = store.call(&call_id("session")).await;
    assert_eq!(view["outcome"], json!({"class": "skipped", "reason": "no_binding"}));
    assert_eq!((&view["state"], &view["reportedAt"]), (&json!("skipped"), &json!(START)));
    assert_eq!((&view["duplicates"], &view["durationMs"]), (&json!(0), &json!(null)));
    for push_id in [PUSH_1, PUSH_2] {
        assert_eq!(verdict(&store, skipping(push_id, "session")).await, duplicate("session"));
    }
    assert_eq!(store.take(WORKER_1, 10).await["calls"], json!([]));
    assert_eq!(metric(&store, "privatenumber_store_skipped_total"), 1.0);

    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    assert_eq!(verdict(&store, skipping(PUSH_1, "bound")).await["verdict"], "claimed");
}

#[tokio::test]
async fn a_call_delivered_without_the_row_warns_of_a_binding_that_came_within_an_hour() {
    const HOUR: i64 = 3_600_000;
    let store = Store::in_memory().await;
    for (session, binding) in [("early", "1"), ("late", "2"), ("too late", "3"), ("never", "4")] {
        let mut one = call(session);
        one["subscriptionId"] = json!(binding);
        if binding == "1" {
            store.put("/v1/bindings/1", json!({"ak": "A"})).await.expect(201);
        }
        store.push(PUSH_1, vec![one]).await;
    }
    store.pass_ms(HOUR);
    store.put("/v1/bindings/2", json!({"ak": "A"})).await.expect(201);
    store.pass_ms(1);
    store.put("/v1/bindings/3", json!({"ak": "A"})).await.expect(201);
    // A further version of a row that was there is not a late binding.
    store.put("/v1/bindings/1", json!({"ak": "B"})).await.expect(200);
    for (session, expected) in [("early", false), ("late", true), ("too late", false), ("never", false)] {
        let view = store.call(&call_id(session)).await;
        assert_eq!(view.get("warnings").is_some(), expected, "{session}: {view:#}");
    }
    let warning = store.call(&call_id("late")).await["warnings"][0].clone();
    assert_eq!(warning["field"], "subscriptionId");
    assert!(warning["reason"].as_str().unwrap().contains("was registered 3600 s after"), "{warning}");
}

/// What the store of 0.1.0 goes by: the id in `push_id`, and whether there is an outcome.
#[tokio::test]
async fn p1_a_store_of_0_1_0_grants_a_waiting_call_to_no_push() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    verdict(&store, holding(PUSH_1, vec![call("session")])).await;
    store.push(PUSH_1, vec![call("released")]).await;
    store.report(&call_id("released"), PUSH_1, json!({"class": "not_sent", "reason": "no_cluster"})).await;
    store.release(&[&call_id("released")]).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    let mut rows = file.prepare("SELECT push_id, outcome FROM calls").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(String, Option<String>)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [("0".repeat(32), None), ("0".repeat(32), None)]);
    // And in this store nobody holds it by that id.
    let nobody = "0".repeat(32);
    assert_eq!(verdict(&store, push(&nobody, vec![call("session")])).await, duplicate("session"));
    assert_eq!(store.report(&call_id("session"), &nobody, answered(200)).await["refused"], 1);
    assert_eq!(store.call(&call_id("session")).await["state"], "waiting");
}
