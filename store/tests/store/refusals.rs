//! Requests that are not served: each gets a problem, and nothing of it is kept.

use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt;
use serde_json::json;

use crate::support::{Oddities, PUSH_1, Store, call, call_id, metric, push, with_json};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let store = Store::in_memory().await;
    for path in ["/", "/v1", "/v1/bindings", "/v1/bindings/", "/v1/calls/", "/v1/calls/a/b", "/v2/calls", "//"] {
        store.get(path).await.problem(404, "not-found");
    }
    let answer = store.get("/v1/pushes").await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(metric(&store, r#"privatenumber_store_http_requests_total{route="other",status="4xx"}"#), 8.0);
}

#[tokio::test]
async fn a_body_must_be_declared_to_be_plain_json() {
    let store = Store::in_memory().await;
    let body = push(PUSH_1, vec![call("session")]).to_string();
    let post = || Request::post("/v1/pushes");
    let declared = [
        post(),
        post().header("content-type", "text/plain"),
        post().header("content-type", "application/jsonp"),
        post().header("content-type", "application/json").header("content-encoding", "gzip"),
    ];
    for request in declared {
        let request = request.body(Body::from(body.clone())).unwrap();
        store.send(request).await.problem(415, "unsupported-media-type");
    }
    let declared = post().header("content-type", "Application/JSON; charset=utf-8").body(Body::from(body)).unwrap();
    store.send(declared).await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not() {
    let store = Store::odd(Oddities { body_bytes: 1000, ..Oddities::default() }).await;
    let mut told = with_json("POST", "/v1/pushes", "");
    told.headers_mut().insert("content-length", "1001".parse().unwrap());
    let detail = store.send(told).await.problem(413, "too-large");
    assert_eq!(detail, "the body may have 1000 bytes; send less at a time");
    store.post("/v1/pushes", " ".repeat(1001)).await.problem(413, "too-large");
    store.post("/v1/pushes", push(PUSH_1, vec![])).await.expect(200);
}

#[tokio::test]
async fn requests_together_may_not_hold_more_than_the_budget_and_give_it_back() {
    let store = Store::odd(Oddities { budget: 1000, ..Oddities::default() }).await;
    for _ in 0..3 {
        store.post("/v1/pushes", " ".repeat(1001)).await.problem(503, "overloaded");
        store.post("/v1/pushes", push(PUSH_1, vec![call("session")])).await.expect(200);
    }
}

#[tokio::test]
async fn a_full_queue_is_answered_at_once_and_nothing_is_lost() {
    let store = Store::odd(Oddities { queue: 2, ..Oddities::default() }).await;
    // On one thread all are queued before the writer takes any.
    let sessions: Vec<String> = (0..5).map(|number| format!("s{number}")).collect();
    let pushes = sessions.iter().map(|session| store.post("/v1/pushes", push(PUSH_1, vec![call(session)])));
    let answers = futures_util::future::join_all(pushes).await;
    for (session, answer) in sessions.iter().zip(&answers) {
        let path = format!("/v1/calls/{}", call_id(session));
        if answer.status == 200 {
            store.get(&path).await.expect(200);
        } else {
            answer.problem(503, "overloaded");
            store.get(&path).await.expect(404);
        }
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
}

#[tokio::test]
async fn p8_what_waits_for_the_writer_holds_its_memory_and_what_nobody_waits_for_is_not_committed() {
    let store = Store::in_memory().await;
    let budget = || store.app.body_limits.budget.available_permits();
    let whole = budget();
    // On one thread the writer gets nowhere before this one waits; the pusher leaves while his push is queued.
    let left = store.send(with_json("POST", "/v1/pushes", push(PUSH_1, vec![call("left")])));
    assert!(left.now_or_never().is_none());
    let body = push(PUSH_1, vec![call("left")]).to_string().len();
    assert_eq!(budget(), whole - body, "the work is still in memory");

    store.push(PUSH_1, vec![call("stays")]).await;
    assert_eq!(budget(), whole);
    assert_eq!(metric(&store, "privatenumber_store_abandoned_total"), 1.0);
    store.get(&format!("/v1/calls/{}", call_id("left"))).await.problem(404, "not-found");
    // He asks again.
    assert_eq!(store.push(PUSH_1, vec![call("left")]).await[0]["verdict"], "claimed");
    assert_eq!(metric(&store, "privatenumber_store_queue_depth"), 0.0);
}

#[tokio::test]
async fn a_store_without_room_for_requests_is_alive_and_can_be_looked_at() {
    let store = Store::odd(Oddities { room: 0, ..Oddities::default() }).await;
    store.get("/v1/calls").await.problem(503, "overloaded");
    store.get("/readyz").await.problem(503, "overloaded");
    for path in ["/healthz", "/metrics", "/openapi.json"] {
        assert_eq!(store.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_an_object_and_not_the_list_of_its_members() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", json!({"ak": "A"})).await.expect(201);
    for body in ["[]", " \n[7]", "[7,\"A\"]"] {
        let detail = store.put("/v1/bindings/binding-1", body).await.problem(422, "invalid-body");
        assert_eq!(detail, "`.`: wrong type or value; expected an object");
    }
    assert_eq!(store.get("/v1/bindings/binding-1").await.expect(200)["binding"]["ak"], "A");
    store.post("/v1/outcomes", "[[]]").await.problem(422, "invalid-body");
    store.post("/v1/outcomes", "[[]").await.problem(400, "malformed-json");
}

#[tokio::test]
async fn a_binding_is_bounded_for_it_is_given_out_with_every_call() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", json!({"remark": "x".repeat(8_000)})).await.expect(201);
    let detail =
        store.put("/v1/bindings/binding-1", json!({"remark": "x".repeat(8_200)})).await.problem(413, "too-large");
    assert!(detail.starts_with("the body may have 8192 bytes"), "{detail}");
}

#[tokio::test]
async fn a_malformed_body_says_where() {
    let store = Store::in_memory().await;
    let detail = store.post("/v1/pushes", "{\n  \"pushId\": +86").await.problem(400, "malformed-json");
    assert_eq!(detail, "the JSON is malformed (line 2, column 13)");
    let detail = store.post("/v1/pushes", "{").await.problem(400, "malformed-json");
    assert_eq!(detail, "the JSON ends too early (line 1, column 1)");
    store.post("/v1/pushes", "").await.problem(400, "malformed-json");
    store.post("/v1/pushes", "{} {}").await.expect(422);
    store.post("/v1/pushes", "[".repeat(100_000)).await;
    let mut many = push(PUSH_1, (0..51).map(|number| call(&number.to_string())).collect());
    let detail = store.post("/v1/pushes", &many).await.problem(422, "invalid-body");
    assert_eq!(detail, "`calls`: has 51 entries, may have 50; split the push");
    many["calls"].as_array_mut().unwrap().pop();
    many["pushId"] = json!(PUSH_1.to_uppercase());
    store.post("/v1/pushes", &many).await.expect(200);
    many["pushId"] = json!("A0000000000000000000000000000001");
    let detail = store.post("/v1/pushes", &many).await.problem(422, "invalid-body");
    assert!(detail.starts_with("`pushId`: a push id is 32 lower-case hex digits"), "{detail}");
}

#[tokio::test]
async fn the_token_guards_the_contract_and_not_the_probes() {
    let store = Store::odd(Oddities { token: Some("right"), ..Oddities::default() }).await;
    let with = |token: &str| Request::get("/v1/calls").header("authorization", token).body(Body::empty()).unwrap();
    for wrong in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic right", "right", "Bearer rightx"] {
        let answer = store.send(with(wrong)).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    store.get("/v1/calls").await.problem(401, "unauthorized");
    store.get("/v1/nothing").await.problem(401, "unauthorized");
    store.post("/v1/pushes", push(PUSH_1, vec![call("session")])).await.problem(401, "unauthorized");
    assert_eq!(store.send(with("Bearer right")).await.expect(200)["calls"], json!([]));
    assert_eq!(store.send(with("bearer right")).await.status, 200);
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        store.get(path).await.expect(200);
    }
}
