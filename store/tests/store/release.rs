//! Release: what certainly never reached a business is called back after all, once, when an operator says so.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::held::holding;
use crate::support::{
    PUSH_1, PUSH_2, START, Store, WORKER_1, WORKER_2, answered, call, call_id, cdr, delivered, metric, push,
};

fn not_sent(reason: &str) -> Value {
    json!({"class": "not_sent", "reason": reason})
}

/// A call with this outcome; returns its id.
async fn with_outcome(store: &Store, session: &str, outcome: Value) -> String {
    store.push(PUSH_1, vec![call(session)]).await;
    store.report(&call_id(session), PUSH_1, outcome).await;
    call_id(session)
}

#[tokio::test]
async fn r20_a_released_call_is_called_back_by_the_worker_with_the_binding_of_today() {
    let store = Store::in_memory().await;
    let id = with_outcome(&store, "session", not_sent("no_healthy_host")).await;
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    store.pass_ms(5000);
    let answer = store.release(&[&id]).await;
    assert_eq!(answer, json!({"released": 1, "alreadyReleased": 0, "refused": []}));

    let view = store.call(&id).await;
    assert_eq!((&view["state"], &view["outcome"]), (&json!("waiting"), &json!(null)));
    assert_eq!(view["wait"], json!({"waitsFor": "released", "since": START + 5000, "due": START + 5000}));
    let earlier = json!({
        "releasedAt": START + 5000, "pushId": PUSH_1, "outcome": not_sent("no_healthy_host"), "durationMs": 12,
        "reportedAt": START,
    });
    assert_eq!(view["history"], json!([earlier]));
    assert_eq!(store.get("/v1/calls?state=waiting").await.expect(200)["calls"][0]["callId"], id);
    store.get("/metrics").await;
    assert_eq!(metric(&store, r#"privatenumber_store_calls_waiting{waits_for="released"}"#), 1.0);

    // The earlier push is retired, and Huawei's further pushes change nothing.
    for push_id in [PUSH_1, PUSH_2] {
        assert_eq!(store.push(push_id, vec![call("session")]).await[0]["verdict"], "duplicate");
        assert_eq!(store.report(&id, push_id, answered(200)).await["refused"], 1);
    }
    let work = store.take(WORKER_1, 10).await;
    assert_eq!((&work["calls"][0]["callId"], &work["calls"][0]["ak"]), (&json!(id), &json!("BUSINESS")));
    assert_eq!(work["calls"].as_array().unwrap().len(), 1);
    for push_id in [PUSH_1, PUSH_2] {
        assert_eq!(store.push(push_id, vec![call("session")]).await[0]["verdict"], "duplicate");
        assert_eq!(store.report(&id, push_id, answered(200)).await["refused"], 1);
    }
    assert_eq!(store.report(&id, WORKER_1, answered(204)).await["recorded"], 1);
    let view = store.call(&id).await;
    assert_eq!((&view["outcome"], &view["history"]), (&delivered(204), &json!([earlier])));
    assert_eq!(metric(&store, r#"privatenumber_store_releases_total{result="released"}"#), 1.0);
}

#[tokio::test]
async fn p1_what_may_have_reached_a_business_is_refused_with_the_reason() {
    let store = Store::in_memory().await;
    let maybe = json!({"class": "maybe_sent", "reason": "timeout"});
    let delivered_id = with_outcome(&store, "delivered", answered(200)).await;
    let rejected_id = with_outcome(&store, "rejected", answered(502)).await;
    let maybe_id = with_outcome(&store, "maybe", maybe).await;
    let erased_id = with_outcome(&store, "erased", not_sent("erased")).await;
    let skipped_id = with_outcome(&store, "skipped", json!({"class": "skipped", "reason": "no_callback"})).await;
    store.push(PUSH_1, vec![call("unknown")]).await;
    store.pass_ms(1_000_000);
    let mut pending = call("pending");
    pending["ttlMs"] = json!(60_000);
    store.push(PUSH_1, vec![pending]).await;
    let mut held = call("held");
    held["subscriptionId"] = json!("late");
    store.post("/v1/pushes", holding(PUSH_1, vec![held])).await.expect(200);
    let (pending_id, unknown_id, held_id) = (call_id("pending"), call_id("unknown"), call_id("held"));
    let none = "0".repeat(32);
    let ids =
        [&delivered_id, &rejected_id, &skipped_id, &maybe_id, &erased_id, &unknown_id, &pending_id, &held_id, &none];
    let answer = store.release(&ids.map(String::as_str)).await;
    assert_eq!(answer["released"], 1);
    assert_eq!(store.call(&skipped_id).await["state"], "waiting");
    let expected = [
        (&delivered_id, 409, "the call is `delivered`"),
        (&rejected_id, 409, "the call is `rejected`: a reply came with the status in `outcome.status`"),
        (&maybe_id, 409, "the call is `maybe_sent`"),
        (&erased_id, 409, "the call is `not_sent` because its data was erased"),
        (&unknown_id, 409, "the call is `unknown`"),
        (&pending_id, 409, "the call is `pending`"),
        (&held_id, 409, "the call is `waiting`"),
        (&none, 404, "there is no call of this id"),
    ];
    let refused = answer["refused"].as_array().unwrap();
    assert_eq!(refused.len(), expected.len());
    for (entry, (id, status, detail)) in refused.iter().zip(expected) {
        assert_eq!((&entry["callId"], &entry["problem"]["status"]), (&json!(id), &json!(status)));
        assert!(entry["problem"]["detail"].as_str().unwrap().starts_with(detail), "{entry}");
    }
    for (state, detail) in [
        ("delivered", "the call is `delivered`"),
        ("rejected", "the call is `rejected`"),
        ("maybe_sent", "the call is `maybe_sent`"),
        ("unknown", "the call is `unknown`"),
        ("pending", "the call is `pending`"),
        ("waiting", "the call is `waiting`"),
    ] {
        let body = json!({"filter": {"state": state, "most": 10}});
        let problem = store.post("/v1/calls:release", body).await.problem(409, "not-releasable");
        assert!(problem.starts_with(detail), "{problem}");
    }
}

#[tokio::test]
async fn p1_a_call_released_twice_or_at_once_is_one_work() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Store::in_memory().await;
    let file = Store::at(&directory.path().join("store.sqlite3")).await;
    for store in [&memory, &file] {
        let id = with_outcome(store, "session", not_sent("overflow")).await;
        let (once, twice) = ([id.as_str()], [id.as_str(), id.as_str()]);
        let answers = join_all((0..10).map(|_| store.release(&twice))).await;
        let sum = |name: &str| answers.iter().map(|answer| answer[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("released"), sum("alreadyReleased")), (1, 9));
        assert_eq!(store.call(&id).await["history"].as_array().unwrap().len(), 1);
        let workers = [WORKER_1, WORKER_2];
        let (answers, released) =
            tokio::join!(join_all(workers.iter().map(|worker| store.take(worker, 10))), store.release(&once));
        let works: usize = answers.iter().map(|answer| answer["calls"].as_array().unwrap().len()).sum();
        assert_eq!((works, &released["released"]), (1, &json!(0)));
        let again = store.release(&[&id]).await;
        assert!(again["refused"][0]["problem"]["detail"].as_str().unwrap().contains("`pending`"), "{again}");
    }
}

#[tokio::test]
async fn r20_a_call_can_be_released_again_when_its_callback_did_not_leave_again() {
    let store = Store::in_memory().await;
    let id = with_outcome(&store, "session", not_sent("no_cluster")).await;
    for worker in [WORKER_1, WORKER_2] {
        assert_eq!(store.release(&[&id]).await["released"], 1);
        assert_eq!(store.take(worker, 1).await["calls"][0]["callId"], id);
        store.report(&id, worker, not_sent("connection_failed")).await;
    }
    let history = store.call(&id).await["history"].clone();
    let holders: Vec<&Value> = history.as_array().unwrap().iter().map(|earlier| &earlier["pushId"]).collect();
    assert_eq!(holders, [PUSH_1, WORKER_1]);
    assert_eq!(store.report(&id, WORKER_1, answered(200)).await["refused"], 1);
}

#[tokio::test]
async fn a_filter_releases_the_newest_calls_it_finds_up_to_its_bound() {
    let store = Store::in_memory().await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(with_outcome(&store, &format!("session {number}"), not_sent("no_cluster")).await);
    }
    with_outcome(&store, "erased", not_sent("erased")).await;
    let skipped = with_outcome(&store, "skipped", json!({"class": "skipped", "reason": "no_binding"})).await;
    let release = |state: &str, ak: &str| json!({"filter": {"state": state, "ak": ak, "appKey": "app", "most": 4}});
    let released = async |body| store.post("/v1/calls:release", body).await.expect(200)["released"].clone();
    assert_eq!(released(release("not_sent", "OTHER")).await, 0);
    assert_eq!(released(release("not_sent", "CONFIGURED")).await, 4);
    for id in &ids[2..] {
        assert_eq!(store.call(id).await["state"], "waiting");
    }
    assert_eq!(released(release("not_sent", "CONFIGURED")).await, 2);
    assert_eq!(released(release("not_sent", "CONFIGURED")).await, 0);
    assert_eq!(released(release("skipped", "CONFIGURED")).await, 1);
    assert_eq!(store.call(&skipped).await["state"], "waiting");
    let times = json!({"filter": {"state": "not_sent", "from": START, "to": START + 1, "most": 1000}});
    assert_eq!(released(times).await, 0);
}

#[tokio::test]
async fn a_released_call_that_nobody_is_named_for_goes_to_the_business_that_is_given() {
    let store = Store::in_memory().await;
    let mut nobodys = call("session");
    nobodys["ak"] = json!(null);
    store.push(PUSH_1, vec![nobodys]).await;
    let id = call_id("session");
    store.report(&id, PUSH_1, json!({"class": "skipped", "reason": "no_binding"})).await;
    store.post("/v1/calls:release", json!({"callIds": [id], "ak": "GIVEN"})).await.expect(200);
    let work = store.take(WORKER_1, 1).await["calls"][0].clone();
    assert_eq!((&work["ak"], &work["record"]["ak"]), (&json!("GIVEN"), &json!("GIVEN")));
}

#[tokio::test]
async fn a_release_that_does_not_keep_the_contract_is_refused_and_releases_nothing() {
    let store = Store::in_memory().await;
    let id = with_outcome(&store, "session", not_sent("no_cluster")).await;
    let filter = |member: &str, value: Value| {
        let mut filter = json!({"state": "not_sent", "most": 1});
        filter[member] = value;
        json!({"filter": filter})
    };
    for (body, expected) in [
        (json!({}), "`.`: give either `callIds` or `filter`"),
        (json!({"callIds": [id], "filter": {"state": "not_sent", "most": 1}}), "`.`: give either"),
        (json!({"callIds": [id, "+8617010000001"]}), "`callIds[1]`: not the id of a call"),
        (json!({"callIds": vec![&id; 1001]}), "`callIds`: has 1001 entries, may have 1000"),
        (json!({"callIds": [id], "ak": ""}), "`ak`: empty"),
        (json!({"callIds": [id], "ak": "a\u{0}b"}), "`ak`: holds the character U+0000"),
        (json!({"callIds": [id], "ak": "x".repeat(1025)}), "`ak`: longer than 1024 bytes"),
        (json!({"callIds": [id], "colour": "red"}), "`colour`"),
        (filter("most", json!(0)), "`filter.most`: has to be from 1 to 1000"),
        (filter("most", json!(1001)), "`filter.most`: has to be from 1 to 1000"),
        (filter("to", json!(-1)), ""),
        (filter("appKey", json!("a\u{0}b")), "`filter.appKey`: holds the character U+0000"),
    ] {
        let mut body = body;
        if body["filter"]["to"] == -1 {
            body["filter"]["from"] = json!(-1);
        }
        let detail = store.post("/v1/calls:release", &body).await.problem(422, "invalid-body");
        assert!(detail.starts_with(expected) && !detail.contains("86170"), "{detail}");
    }
    assert_eq!(store.call(&id).await["state"], "not_sent");
}

/// Parks texts; returns the path that releases the last of them.
async fn parked(store: &Store, texts: &[Value]) -> String {
    let mut body = push(PUSH_1, vec![]);
    body["application"] = json!({"ak": "CONFIGURED"});
    body["parked"] = json!(texts);
    store.post("/v1/pushes", body).await.expect(200);
    let number = store.get("/v1/parked").await.expect(200)["parked"][0]["number"].clone();
    format!("/v1/parked/{number}:release")
}

fn text(cdr: &Value) -> Value {
    json!({"reason": "/feeLst/0: a rule of yesterday", "raw": cdr.to_string()})
}

#[tokio::test]
async fn r20_a_parked_cdr_is_read_again_with_the_rules_of_today_and_called_back_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let release = parked(&store, &[text(&cdr("session"))]).await;
    let answers = join_all((0..10).map(|_| store.post(&release, "{}"))).await;
    let id = call_id("session");
    let first = answers.iter().filter(|answer| answer.expect(200) == json!({"callId": id, "alreadyReleased": false}));
    assert_eq!(first.count(), 1);
    assert!(answers.iter().all(|answer| answer.expect(200)["callId"] == id));
    assert_eq!(store.get("/v1/parked").await.expect(200)["parked"][0]["callId"], id);
    let view = store.call(&id).await;
    assert_eq!((&view["state"], &view["receivedAt"]), (&json!("waiting"), &json!(START - 5)));
    assert_eq!(view["cdr"], cdr("session"));

    drop(store);
    let store = Store::at(&path).await;
    assert_eq!(store.post(&release, "{}").await.expect(200)["alreadyReleased"], true);
    // Huawei pushes it again, as a CDR that can be used or as one that cannot.
    assert_eq!(store.push(PUSH_2, vec![call("session")]).await[0]["verdict"], "duplicate");
    parked(&store, &[text(&cdr("session"))]).await;
    let works = store.take(WORKER_1, 10).await;
    let [work] = &works["calls"].as_array().unwrap()[..] else { panic!("{works:#}") };
    assert_eq!((&work["callId"], &work["ak"]), (&json!(id), &json!("CONFIGURED")));
    assert_eq!(work["record"]["origNum"], "+8617010000011");
    assert_eq!(store.report(&id, WORKER_1, answered(200)).await["recorded"], 1);
    assert_eq!(store.post(&release, "{}").await.expect(200)["alreadyReleased"], true);
    assert_eq!(store.take(WORKER_2, 10).await["calls"], json!([]));
}

#[tokio::test]
async fn a_parked_cdr_is_released_with_a_corrected_text_and_stays_as_it_came() {
    let store = Store::in_memory().await;
    let mut broken = cdr("session");
    broken["sessionId"] = json!([]);
    let release = parked(&store, &[text(&broken)]).await;
    let detail = store.post(&release, "{}").await.problem(409, "not-releasable");
    assert!(detail.contains("CDR/sessionId: expected") && detail.ends_with("Give a corrected `cdr`"), "{detail}");
    let mut foreign = cdr("session");
    foreign["appKey"] = json!("other");
    let mut long = cdr("session");
    long["sessionId"] = json!("+8617010000001".repeat(1000));
    for wrong in [json!({"cdr": foreign}), json!({"cdr": long}), json!({"cdr": BASE64_STANDARD.encode(b"{\xff}")})] {
        let detail = store.post(&release, wrong).await.problem(422, "invalid-body");
        assert!(detail.starts_with("`cdr`: cannot be used: CDR") && !detail.contains("86170"), "{detail}");
    }
    for (wrong, expected) in [
        (json!({"cdr": 1}), "`cdr`: wrong type or value"),
        (json!({"ak": "a\u{0}b"}), "`ak`: holds the character U+0000"),
        (json!({"raw": "{}"}), "`raw`"),
    ] {
        let detail = store.post(&release, wrong).await.problem(422, "invalid-body");
        assert!(detail.starts_with(expected), "{detail}");
    }
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"], json!([]));

    let body = json!({"cdr": cdr("session"), "ak": "GIVEN"});
    assert_eq!(store.post(&release, body).await.expect(200)["callId"], call_id("session"));
    assert_eq!(store.call(&call_id("session")).await["cdr"], cdr("session"));
    assert_eq!(store.take(WORKER_1, 1).await["calls"][0]["ak"], "GIVEN");
    let kept = store.get("/v1/parked").await.expect(200)["parked"][0].clone();
    assert_eq!(kept["raw"], broken.to_string());
    assert_eq!(metric(&store, r#"privatenumber_store_parked_releases_total{result="released"}"#), 1.0);
}

#[tokio::test]
async fn a_parked_cdr_in_gbk_is_read_from_its_bytes() {
    let store = Store::in_memory().await;
    let json = cdr("session").to_string();
    let (before, after) = json.split_once("order 7").unwrap();
    let bytes = [before.as_bytes(), b"\xb6\xa9\xb5\xa5", after.as_bytes()].concat();
    let raw = String::from_utf8_lossy(&bytes).into_owned();
    let kept = json!({"reason": "r", "raw": raw, "rawBase64": BASE64_STANDARD.encode(&bytes)});
    let release = parked(&store, &[kept]).await;
    store.post(&release, "{}").await.expect(200);
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["record"]["userData"], &view["cdr"]), (&json!("订单"), &json!(BASE64_STANDARD.encode(&bytes))));
}

#[tokio::test]
async fn p1_a_parked_cdr_whose_call_exists_is_refused_with_the_calls_id() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let mut other_form = cdr("session");
    other_form["userData"] = json!("another text");
    let release = parked(&store, &[text(&other_form)]).await;
    for _ in 0..2 {
        let detail = store.post(&release, "{}").await.problem(409, "not-releasable");
        assert!(detail.contains(&call_id("session")), "{detail}");
    }
    // Two parked texts of one call make one work.
    let mut texts = [cdr("two"), cdr("two")];
    texts[1]["userData"] = json!("another text");
    let second = parked(&store, &texts.map(|cdr| text(&cdr))).await;
    let first = second.replace("/3:", "/2:");
    let (first, second) = tokio::join!(store.post(&first, "{}"), store.post(&second, "{}"));
    first.expect(200);
    second.problem(409, "not-releasable");
    assert_eq!(store.take(WORKER_1, 10).await["calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_parked_cdr_that_is_not_there_is_not_found() {
    let store = Store::in_memory().await;
    for path in ["/v1/parked/1:release", "/v1/parked/x:release", "/v1/parked/99999999999999999999:release"] {
        store.post(path, "{}").await.problem(404, "not-found");
    }
    for path in ["/v1/parked/1", "/v1/parked/1:free"] {
        store.get(path).await.problem(404, "not-found");
        store.post(path, "{}").await.problem(404, "not-found");
    }
}
