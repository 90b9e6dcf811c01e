//! `POST /v1/push-batches`: each push is committed and answered for itself.

use privatenumber_contract::PushId;
use serde_json::{Value, json};

use crate::support::{Oddities, PUSH_1, PUSH_2, Store, answered, call, call_id, metric, push, with_json};

fn id(number: u128) -> String {
    PushId::from_bytes(number.to_be_bytes()).to_string()
}

impl Store {
    /// Sends a batch; returns what is said of each push.
    async fn batch(&self, pushes: Vec<Value>) -> Vec<Value> {
        let answer = self.post("/v1/push-batches", json!({"pushes": pushes})).await.expect(200);
        assert_eq!(answer["worksWaiting"], 0);
        answer["pushes"].as_array().unwrap().clone()
    }
}

/// What is said of the push `push_id`, which must be there exactly once.
#[track_caller]
fn of<'a>(results: &'a [Value], push_id: &str) -> &'a Value {
    let mut found = results.iter().filter(|result| result["pushId"] == push_id);
    let first = found.next().unwrap_or_else(|| panic!("{push_id} is not in {results:#?}"));
    assert!(found.next().is_none(), "{push_id} is there twice");
    first
}

#[tokio::test]
async fn a_batch_is_one_commit_and_every_push_has_its_own_verdict() {
    let store = Store::in_memory().await;
    store.push(PUSH_2, vec![call("s3")]).await;
    let results = store.batch((10..20).map(|n| push(&id(n), vec![call(&format!("s{}", n - 10))])).collect()).await;
    assert_eq!(results.len(), 10);
    for number in 10..20 {
        let result = of(&results, &id(number));
        let expected = if number == 13 { "duplicate" } else { "claimed" };
        assert_eq!((&result["verdict"], &result["calls"][0]["verdict"]), (&json!("committed"), &json!(expected)));
        assert_eq!(result["calls"][0]["callId"], call_id(&format!("s{}", number - 10)));
    }
    assert_eq!(metric(&store, r#"privatenumber_store_commits_total{result="committed"}"#), 2.0);
    assert_eq!(metric(&store, r#"privatenumber_store_pushes_total{result="committed"}"#), 11.0);
    assert_eq!(metric(&store, "privatenumber_store_push_batch_size_sum"), 10.0);
    assert!(store.batch(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn p8_a_push_of_a_batch_is_granted_again_however_it_is_asked_for() {
    let store = Store::in_memory().await;
    let first = store.batch(vec![push(PUSH_1, vec![call("a")]), push(PUSH_2, vec![call("b")])]).await;
    let again = store.batch(vec![push(PUSH_2, vec![call("b")]), push(PUSH_1, vec![call("a")])]).await;
    assert_eq!(of(&first, PUSH_1), of(&again, PUSH_1));
    assert_eq!(of(&first, PUSH_2), of(&again, PUSH_2));
    assert_eq!(json!(store.push(PUSH_1, vec![call("a")]).await), of(&first, PUSH_1)["calls"]);
    store.report(&call_id("a"), PUSH_1, answered(200)).await;
    let late = store.batch(vec![push(PUSH_1, vec![call("a")])]).await;
    assert_eq!(of(&late, PUSH_1)["calls"][0]["verdict"], "duplicate");
}

#[tokio::test]
async fn p4_a_push_that_does_not_keep_the_contract_is_refused_and_the_others_go_on() {
    let store = Store::in_memory().await;
    let mut wrong_type = push(&id(1), vec![call("a")]);
    wrong_type["calls"][0]["claimDeadline"] = json!("+8617010000001");
    let mut wrong_hash = push(&id(2), vec![call("b")]);
    wrong_hash["signature"] = json!({"scheme": "aksk", "hash": "A".repeat(32)});
    let mut wrong_scheme = push(&id(3), vec![call("c")]);
    wrong_scheme["signature"] = json!({"scheme": "basic", "hash": "a".repeat(32)});
    let mut wrong_hold = push(&id(4), vec![call("d")]);
    wrong_hold["application"] = json!({"withoutBinding": {"hold": 604_801}});
    let mut wrong_base64 = push(&id(5), vec![]);
    wrong_base64["parked"] = json!([{"reason": "r", "raw": "x", "rawBase64": "%"}]);
    let too_many = push(&id(6), (0..51).map(|number| call(&number.to_string())).collect());
    let mut good = push(&id(7), vec![call("good")]);
    good["signature"] = json!({"scheme": "wsse", "hash": "0a".repeat(16)});
    good["application"] = json!({"ak": "A", "withoutBinding": {"hold": 60}, "onReplay": "park"});
    let nameless = json!({"pushId": "x"});
    let odd = [json!(7), json!([id(8), "app", 1]), json!(null)];
    let mut all = vec![wrong_type, wrong_hash, wrong_scheme, wrong_hold, wrong_base64, too_many, good, nameless];
    all.extend(odd);
    let results = store.batch(all).await;
    assert_eq!(results.len(), 7, "{results:#?}");
    let details = [
        "`calls[0].claimDeadline`: wrong type or value; expected a whole number (epoch milliseconds)",
        "`signature.hash`: has to be 32 lower-case hex digits",
        "`signature.scheme`: has to be aksk or wsse",
        "`application.withoutBinding.hold`: has to be from 1 to 604800 (seconds)",
        "`parked[0].rawBase64`: not Base64 (RFC 4648, padded)",
        "`calls`: has 51 entries, may have 50; split the push",
    ];
    for (number, expected) in (1..).zip(details) {
        let result = of(&results, &id(number));
        let detail = result["problem"]["detail"].as_str().unwrap();
        assert!(result["verdict"] == "refused" && detail.starts_with(expected), "{result:#}");
        assert!(!detail.contains("8617010000001"), "{detail}");
    }
    assert_eq!(of(&results, &id(7))["calls"][0]["verdict"], "held");
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"].as_array().unwrap().len(), 1);
    assert_eq!(metric(&store, r#"privatenumber_store_pushes_total{result="invalid"}"#), 10.0);
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_as_a_whole() {
    let store = Store::in_memory().await;
    let many: Vec<Value> = (0..257).map(|number| push(&id(number), vec![])).collect();
    let detail = store.post("/v1/push-batches", json!({"pushes": many})).await.problem(422, "invalid-body");
    assert_eq!(detail, "`pushes`: has 257 entries, may have 256; split the batch");
    assert_eq!(store.batch(many.into_iter().take(256).collect()).await.len(), 256);
    for body in ["[]", "{}", r#"{"pushes":{}}"#, r#"{"pushes":7}"#] {
        store.post("/v1/push-batches", body).await.problem(422, "invalid-body");
    }
    store.post("/v1/push-batches", r#"{"pushes":[{]}"#).await.problem(400, "malformed-json");
}

#[tokio::test]
async fn p1_one_answer_never_claims_a_call_twice() {
    let store = Store::in_memory().await;
    // The same push twice: one verdict. Two pushes of one call: one claim. A push that names a call twice: one claim.
    for _ in 0..2 {
        let results = store
            .batch(vec![
                push(PUSH_1, vec![call("a"), call("b"), call("a")]),
                push(PUSH_1, vec![call("a"), call("b"), call("a")]),
                push(PUSH_2, vec![call("b"), call("c")]),
            ])
            .await;
        assert_eq!(results.len(), 2);
        let verdicts = |push_id: &str| -> Vec<String> {
            let calls = of(&results, push_id)["calls"].as_array().unwrap();
            calls.iter().map(|call| call["verdict"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(verdicts(PUSH_1), ["claimed", "claimed", "duplicate"]);
        assert_eq!(verdicts(PUSH_2), ["duplicate", "claimed"]);
    }
}

#[tokio::test]
async fn p4_a_push_that_the_database_refuses_is_put_back_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON calls WHEN NEW.session_id = 'poison' \
                  BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
    rusqlite::Connection::open(&path).unwrap().execute_batch(poison).unwrap();
    let sessions = ["a", "b", "poison", "d", "e"];
    let pushes = (0..).zip(sessions).map(|(number, session)| push(&id(number), vec![call(session)])).collect();
    let results = store.batch(pushes).await;
    for (number, session) in (0..).zip(sessions) {
        let expected = if session == "poison" { "retry" } else { "committed" };
        assert_eq!(of(&results, &id(number))["verdict"], expected);
    }
    // Not `refused`: that is for what the push's bytes alone forbid.
    assert_eq!(of(&results, &id(2))["problem"]["type"], "urn:privatenumber:problem:internal");
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn p8_a_database_that_cannot_commit_is_503_for_the_whole_batch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let intruder = rusqlite::Connection::open(&path).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = json!({"pushes": [push(PUSH_1, vec![call("a")]), push(PUSH_2, vec![call("b")]), 7]});
    store.post("/v1/push-batches", &batch).await.problem(503, "unavailable");
    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"], json!([]));
    // Nobody knows whether it was committed: no problem document.
    intruder
        .execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER spoil AFTER INSERT ON calls BEGIN INSERT INTO child VALUES (1); END",
        )
        .unwrap();
    let answer = store.post("/v1/push-batches", &batch).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (500, ""));
    intruder.execute_batch("DROP TRIGGER spoil").unwrap();
    assert_eq!(store.batch(vec![push(PUSH_1, vec![call("a")])]).await[0]["calls"][0]["verdict"], "claimed");
}

#[tokio::test]
async fn a_full_queue_takes_a_batch_as_a_whole_or_not_at_all() {
    let store = Store::odd(Oddities { queue: 3, ..Oddities::default() }).await;
    let batch = |first: u128| {
        let pushes: Vec<Value> = (first..first + 2).map(|n| push(&id(n), vec![call(&n.to_string())])).collect();
        store.post("/v1/push-batches", json!({"pushes": pushes}))
    };
    // On one thread both are queued before the writer takes any.
    let (first, second) = futures_util::future::join(batch(0), batch(2)).await;
    first.expect(200);
    second.problem(503, "overloaded");
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"].as_array().unwrap().len(), 2);
    // A batch larger than the whole queue comes through where nothing else waits.
    assert_eq!(store.batch((10..20).map(|number| push(&id(number), vec![])).collect()).await.len(), 10);
}

#[tokio::test]
async fn r4_an_answer_is_bounded_and_what_has_no_room_is_granted_when_asked_again() {
    let store = Store::in_memory().await;
    store.put("/v1/bindings/binding-1", json!({"ak": "A", "remark": "x".repeat(8_000)})).await.expect(201);
    let large = |number: u128| push(&id(number), (0..50).map(|call_of| call(&format!("{number} {call_of}"))).collect());
    let mut left: Vec<u128> = (0..9).collect();
    let mut rounds = 0;
    while !left.is_empty() {
        let body = json!({"pushes": left.iter().map(|number| large(*number)).collect::<Vec<_>>()});
        let answer = store.post("/v1/push-batches", body).await;
        assert!(answer.text.len() <= 1 << 20, "{}", answer.text.len());
        let results = answer.expect(200)["pushes"].as_array().unwrap().clone();
        assert_eq!(results.len(), left.len());
        let before = left.len();
        left.retain(|number| {
            let result = of(&results, &id(*number));
            let claimed = result["calls"].as_array().is_some_and(|calls| {
                calls.len() == 50 && calls.iter().all(|call| call["verdict"] == "claimed" && call["record"].is_object())
            });
            assert!(claimed != (result["verdict"] == "retry"));
            !claimed
        });
        assert!(left.len() < before, "nothing of an answer is of use");
        rounds += 1;
    }
    assert!(rounds > 1, "all fitted at once");
}

#[tokio::test]
async fn r16_a_batch_whose_requester_left_is_not_committed() {
    use futures_util::FutureExt;
    let store = Store::in_memory().await;
    let batch = json!({"pushes": [push(PUSH_1, vec![call("a")]), push(PUSH_2, vec![call("b")])]});
    assert!(store.send(with_json("POST", "/v1/push-batches", batch)).now_or_never().is_none());
    store.push(&id(9), vec![call("c")]).await;
    assert_eq!(metric(&store, "privatenumber_store_abandoned_total"), 2.0);
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"].as_array().unwrap().len(), 1);
}
