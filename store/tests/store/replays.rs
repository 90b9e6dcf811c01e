//! Whoever captured one push's headers can put them on other CDRs: a signature that comes again with other texts is noticed.

use privatenumber_contract::PushId;
use privatenumber_store::database::Keeping;
use serde_json::{Value, json};

use crate::support::{PUSH_1, PUSH_2, START, Store, WORKER_1, WORKER_2, answered, call, call_id, cdr, metric, push};

const DAY_MS: i64 = 86_400_000;
const RECORDED: &str = r#"privatenumber_store_replays_total{cdrs="recorded"}"#;
const PARKED: &str = r#"privatenumber_store_replays_total{cdrs="parked"}"#;

fn id(number: u128) -> String {
    PushId::from_bytes(number.to_be_bytes()).to_string()
}

/// A push of the calls of these sessions, each with a CDR, signed with `hash`.
fn signed(push_id: &str, hash: char, sessions: &[&str]) -> Value {
    let calls = sessions.iter().map(|session| {
        let mut one = call(session);
        one["cdr"] = json!({"sessionId": session});
        one
    });
    let mut push = push(push_id, calls.collect());
    push["signature"] = json!({"scheme": "aksk", "hash": hash.to_string().repeat(32)});
    push
}

fn parking(mut push: Value) -> Value {
    push["application"] = json!({"onReplay": "park"});
    push
}

impl Store {
    /// What is said of the calls of a push.
    async fn verdicts(&self, push: Value) -> Vec<Value> {
        let answer = self.post("/v1/pushes", push).await.expect(200);
        answer["calls"].as_array().unwrap().iter().map(|call| call["verdict"].clone()).collect()
    }

    async fn replays(&self) -> Vec<Value> {
        self.get("/v1/replays").await.expect(200)["replays"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_signature_that_comes_again_with_other_texts_is_counted_listed_and_shown_and_its_calls_are_recorded() {
    let store = Store::in_memory().await;
    assert_eq!(store.verdicts(signed(PUSH_1, 'a', &["genuine"])).await, ["claimed"]);
    store.pass_ms(60_000);
    let mut forged = signed(PUSH_2, 'a', &["forged", "genuine"]);
    forged["ageMs"] = json!(10);
    assert_eq!(store.verdicts(forged).await, ["claimed", "duplicate"]);
    assert_eq!(
        store.replays().await,
        [json!({
            "number": 1, "appKey": "app", "scheme": "aksk", "pushId": PUSH_2, "receivedAt": START + 59_990,
            "firstPushId": PUSH_1, "firstReceivedAt": START - 5, "parked": false,
            "callIds": [call_id("forged"), call_id("genuine")],
        })]
    );
    assert_eq!(store.call(&call_id("forged")).await["replayed"], true);
    assert!(store.call(&call_id("genuine")).await.get("replayed").is_none());
    assert_eq!((metric(&store, RECORDED), metric(&store, PARKED)), (1.0, 0.0));
    // The list is given in pages like others.
    store.verdicts(signed(&id(3), 'a', &["another"])).await;
    let page = store.get("/v1/replays?limit=1").await.expect(200);
    assert_eq!(page["replays"][0]["pushId"], id(3));
    let next = page["nextCursor"].as_str().unwrap();
    assert_eq!(store.get(&format!("/v1/replays?cursor={next}")).await.expect(200)["replays"][0]["pushId"], PUSH_2);
}

#[tokio::test]
async fn huaweis_retry_with_the_same_texts_is_not_a_replay() {
    let store = Store::in_memory().await;
    let mut first = signed(PUSH_1, 'a', &["one", "two"]);
    first["parked"] = json!([{"reason": "r", "raw": "{}"}]);
    store.verdicts(first.clone()).await;
    // Everything about a retry is its own but the signature and the texts.
    let mut retry = first.clone();
    (retry["pushId"], retry["receivedAt"], retry["ageMs"]) = (json!(PUSH_2), json!(START), json!(1));
    retry["calls"][0]["claimDeadline"] = json!(START + 1);
    assert_eq!(store.verdicts(retry).await, ["duplicate", "duplicate"]);
    assert!(store.replays().await.is_empty());
    // Texts in another order are other texts.
    let mut turned = first;
    turned["pushId"] = json!(id(3));
    turned["calls"].as_array_mut().unwrap().reverse();
    store.verdicts(turned).await;
    assert_eq!(store.replays().await.len(), 1);
}

#[tokio::test]
async fn application_and_scheme_belong_to_the_signature_and_a_push_without_one_is_never_a_replay() {
    let store = Store::in_memory().await;
    store.verdicts(signed(PUSH_1, 'a', &["one"])).await;
    let mut other_scheme = signed(&id(2), 'a', &["two"]);
    other_scheme["signature"]["scheme"] = json!("wsse");
    let mut other_application = signed(&id(3), 'a', &["three"]);
    other_application["appKey"] = json!("another");
    let mut unsigned = signed(&id(4), 'a', &["four"]);
    unsigned.as_object_mut().unwrap().remove("signature");
    for push in [other_scheme, other_application, unsigned, signed(&id(5), 'b', &["five"])] {
        store.verdicts(push).await;
    }
    assert!(store.replays().await.is_empty());
}

#[tokio::test]
async fn parked_cdrs_and_events_are_texts_too() {
    let store = Store::in_memory().await;
    let mut first = signed(PUSH_1, 'a', &[]);
    first["event"] = json!({"eventType": "callin", "raw": "{\"a\":1}"});
    let mut second = signed(PUSH_2, 'a', &[]);
    second["parked"] = json!([{"reason": "r", "raw": "{\"a\":2}"}]);
    store.post("/v1/pushes", &first).await.expect(200);
    store.post("/v1/pushes", &second).await.expect(200);
    assert_eq!(store.replays().await.len(), 1);
    // A text that is read another way than the time before, because the gateway was upgraded, is the same text.
    let (mut third, mut fourth) = (signed(&id(3), 'b', &["read"]), signed(&id(4), 'b', &[]));
    fourth["parked"] = json!([{"reason": "r", "raw": third["calls"][0]["cdr"].to_string()}]);
    store.post("/v1/pushes", third.take()).await.expect(200);
    store.post("/v1/pushes", fourth.take()).await.expect(200);
    assert_eq!(store.replays().await.len(), 1);
}

#[tokio::test]
async fn p1_with_park_the_cdrs_of_a_replay_are_parked_and_known_calls_stay_duplicates() {
    let store = Store::in_memory().await;
    store.verdicts(parking(signed(PUSH_1, 'a', &["genuine"]))).await;
    let forged = parking(signed(PUSH_2, 'a', &["forged", "genuine", "forged"]));
    for _ in 0..2 {
        assert_eq!(store.verdicts(forged.clone()).await, ["parked", "duplicate", "parked"]);
    }
    store.get(&format!("/v1/calls/{}", call_id("forged"))).await.problem(404, "not-found");
    let parked = store.get("/v1/parked").await.expect(200);
    let [parked] = &parked["parked"].as_array().unwrap()[..] else { panic!("{parked:#}") };
    assert_eq!(parked["raw"], r#"{"sessionId":"forged"}"#);
    let reason = format!("/calls/0: the signature of this push came with other CDRs before, in the push {PUSH_1}");
    assert_eq!((&parked["reason"], &parked["duplicates"]), (&json!(reason), &json!(0)));
    assert_eq!(store.replays().await[0]["parked"], true);
    assert_eq!((metric(&store, RECORDED), metric(&store, PARKED)), (0.0, 1.0));
    // A genuine push of the same call is claimed.
    assert_eq!(store.verdicts(parking(signed(&id(3), 'b', &["forged"]))).await, ["claimed"]);
}

#[tokio::test]
async fn p8_a_push_that_asks_again_is_never_a_replay_of_itself() {
    let store = Store::in_memory().await;
    let first = parking(signed(PUSH_1, 'a', &["one"]));
    // Asked by itself and in a batch, with texts that somebody changed on the way.
    let changed = parking(signed(PUSH_1, 'a', &["one", "two"]));
    assert_eq!(store.verdicts(first.clone()).await, ["claimed"]);
    assert_eq!(store.verdicts(changed.clone()).await, ["claimed", "claimed"]);
    let batch = json!({"pushes": [changed, signed(PUSH_2, 'b', &["three"])]});
    let answer = store.post("/v1/push-batches", batch).await.expect(200);
    assert!(!answer.to_string().contains("parked"), "{answer:#}");
    assert!(store.replays().await.is_empty());
    // A claim that a push was granted before it was found to be a replay is granted again all the same: only it can call back.
    store.verdicts(signed(&id(3), 'c', &["three", "four"])).await;
    let granted = parking(signed(&id(4), 'c', &["five"]));
    let mut unsigned = granted.clone();
    unsigned.as_object_mut().unwrap().remove("signature");
    assert_eq!(store.verdicts(unsigned).await, ["claimed"]);
    assert_eq!(store.verdicts(granted.clone()).await, ["claimed"]);
    store.report(&call_id("five"), &id(4), answered(200)).await;
    assert_eq!(store.verdicts(granted).await, ["duplicate"]);
}

#[tokio::test]
async fn pushes_of_one_batch_are_compared_with_each_other() {
    let store = Store::in_memory().await;
    let batch = json!({"pushes": [
        signed(&id(1), 'a', &["one"]),
        parking(signed(&id(2), 'a', &["two"])),
        signed(&id(3), 'a', &["one"]),
        signed(&id(4), 'b', &["four"]),
    ]});
    for _ in 0..2 {
        let answer = store.post("/v1/push-batches", &batch).await.expect(200);
        let verdicts: Vec<_> =
            answer["pushes"].as_array().unwrap().iter().map(|push| push["calls"][0]["verdict"].clone()).collect();
        assert_eq!(verdicts, ["claimed", "parked", "duplicate", "claimed"]);
        let listed = store.replays().await;
        assert_eq!((listed.len(), &listed[0]["pushId"]), (1, &json!(id(2))));
    }
    assert_eq!(metric(&store, PARKED), 1.0);
}

fn tables(file: &rusqlite::Connection) -> Vec<String> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'signatures_*' ORDER BY name";
    let mut names = file.prepare(names).unwrap();
    names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn signatures_are_remembered_for_the_days_that_are_set_and_dropped_by_the_day() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    store.verdicts(signed(&id(1), 'a', &["one"])).await;
    store.pass_ms(DAY_MS);
    store.verdicts(signed(&id(2), 'b', &["two"])).await;
    store.pass_ms(2 * DAY_MS);
    store.verdicts(signed(&id(3), 'a', &["three"])).await;
    assert_eq!(store.replays().await.len(), 1);
    let day = START / DAY_MS;
    assert_eq!(tables(&file), [day, day + 1].map(|day| format!("signatures_{day}")));
    store.pass_ms(DAY_MS);
    store.verdicts(signed(&id(4), 'b', &["four"])).await;
    assert_eq!(store.replays().await.len(), 2);
    // The first is forgotten: whoever comes with it now is the first.
    store.verdicts(signed(&id(5), 'a', &["five"])).await;
    assert_eq!(store.replays().await.len(), 2);
    assert_eq!(tables(&file), [day + 1, day + 4].map(|day| format!("signatures_{day}")));

    // After a long rest every commit drops one.
    store.pass_ms(100 * DAY_MS);
    store.verdicts(signed(&id(6), 'd', &["six"])).await;
    assert_eq!(tables(&file), [day + 4, day + 104].map(|day| format!("signatures_{day}")));
    store.verdicts(signed(&id(7), 'd', &["six"])).await;
    assert_eq!(tables(&file), [format!("signatures_{}", day + 104)]);
}

#[tokio::test]
async fn a_store_that_was_restarted_recognises_replays_of_what_came_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    for (number, hash) in [(1, 'a'), (2, 'b'), (3, 'c')] {
        store.verdicts(signed(&id(number), hash, &[&number.to_string()])).await;
    }
    let batch: Vec<_> = ('d'..='f').zip(4..).map(|(hash, number)| signed(&id(number), hash, &["batch"])).collect();
    store.post("/v1/push-batches", json!({"pushes": batch})).await.expect(200);
    store.app.database.close().await;
    drop(store);

    let store = Store::at(&path).await;
    for (number, hash) in (11..).zip('a'..='f') {
        store.verdicts(signed(&id(number), hash, &["forged"])).await;
    }
    let replays = store.replays().await;
    let firsts: Vec<_> = replays.iter().rev().map(|replay| replay["firstPushId"].clone()).collect();
    assert_eq!(firsts, [1, 2, 3, 4, 5, 6].map(id));
    assert!(replays.iter().all(|replay| replay["firstReceivedAt"] == START - 5), "{replays:#?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(&directory.path().join("store.sqlite3")).await;
    store.verdicts(signed(&id(1), 'a', &["one"])).await;
    store.set_clock(-DAY_MS);
    store.verdicts(signed(&id(2), 'a', &["two"])).await;
    store.pass_ms(DAY_MS);
    store.verdicts(signed(&id(3), 'a', &["three"])).await;
    assert_eq!(store.replays().await.len(), 2);
}

#[tokio::test]
async fn with_0_days_no_signature_is_remembered_and_what_was_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    store.verdicts(signed(&id(1), 'a', &["one"])).await;
    store.app.database.close().await;
    drop(store);
    let store = Store::at_keeping(&path, Keeping { replay_days: 0, ..Keeping::default() }).await;
    for number in 2..4 {
        let session = number.to_string();
        assert_eq!(store.verdicts(parking(signed(&id(number), 'a', &[&session]))).await, ["claimed"]);
    }
    assert!(store.replays().await.is_empty());
    assert!(tables(&rusqlite::Connection::open(&path).unwrap()).is_empty());
}

#[tokio::test]
async fn a_commit_that_failed_leaves_no_signature_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("CREATE TRIGGER poison BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
        .unwrap();
    store.post("/v1/pushes", signed(&id(1), 'a', &["one"])).await.expect(500);
    assert!(tables(&file).is_empty());
    file.execute_batch("DROP TRIGGER poison").unwrap();
    assert_eq!(store.verdicts(parking(signed(&id(2), 'a', &["two"]))).await, ["claimed"]);
    assert!(store.replays().await.is_empty());
}

#[tokio::test]
async fn p6_the_list_of_replays_has_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    store.verdicts(signed(&id(1), 'a', &["one"])).await;
    file.execute_batch(
        "INSERT INTO replays (push_id, app_key, scheme, received_at, first_push_id, first_received_at, parked, call_ids) \
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000) \
         SELECT printf('%032x', n + 1000), 'app', 'aksk', 1, printf('%032x', 1), 1, 0, '[]' FROM n",
    )
    .unwrap();
    store.verdicts(signed(&id(2), 'a', &["two"])).await;
    let count = "SELECT count(*), min(number), max(number) FROM replays";
    let found: (i64, i64, i64) = file.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(found, (10_000, 2, 10_001));
}

#[tokio::test]
async fn r20_a_cdr_that_was_parked_as_a_replay_can_be_released_and_its_call_shows_it() {
    let store = Store::in_memory().await;
    store.verdicts(parking(signed(PUSH_1, 'a', &["genuine"]))).await;
    let mut regrouped = parking(signed(PUSH_2, 'a', &["session"]));
    regrouped["calls"][0]["cdr"] = cdr("session");
    regrouped["application"]["ak"] = json!("CONFIGURED");
    assert_eq!(store.verdicts(regrouped.clone()).await, ["parked"]);
    let release = "/v1/parked/1:release";
    let released = |already: bool| json!({"callId": call_id("session"), "alreadyReleased": already});
    assert_eq!(store.post(release, "{}").await.expect(200), released(false));
    let shown = store.call(&call_id("session")).await;
    assert_eq!((&shown["state"], &shown["cdr"]), (&json!("waiting"), &cdr("session")));

    // The replay asks again, and another push brings a CDR that says something else: neither is granted what the worker takes.
    assert_eq!(store.verdicts(regrouped.clone()).await, ["duplicate"]);
    assert_eq!(store.verdicts(signed(&id(3), 'b', &["session"])).await, ["duplicate"]);
    let works = store.take(WORKER_1, 10).await;
    assert_eq!(
        (&works["calls"][0]["callId"], &works["calls"][0]["ak"]),
        (&json!(call_id("session")), &json!("CONFIGURED"))
    );
    assert_eq!(store.verdicts(regrouped).await, ["duplicate"]);
    let shown = store.call(&call_id("session")).await;
    assert_eq!(shown["cdr"], cdr("session"));
    let later = json!({"pushId": id(3), "receivedAt": START - 5, "cdr": {"sessionId": "session"}});
    assert_eq!(shown["laterCdrs"], json!([later]));
    assert_eq!(store.post(release, "{}").await.expect(200), released(true));
}

#[tokio::test]
async fn a_call_that_a_replay_brought_says_so_while_it_waits_and_whoever_takes_it() {
    let store = Store::in_memory().await;
    store.verdicts(signed(PUSH_1, 'a', &["genuine"])).await;
    let mut forged = signed(PUSH_2, 'a', &["forged"]);
    forged["application"] = json!({"withoutBinding": {"hold": 60}});
    assert_eq!(store.verdicts(forged).await, ["held"]);
    let replayed = async || store.call(&call_id("forged")).await["replayed"].clone();
    assert_eq!(replayed().await, true);
    store.put("/v1/bindings/binding-1", json!({"ak": "BUSINESS"})).await.expect(201);
    for worker in [WORKER_1, WORKER_2] {
        assert_eq!(store.take(worker, 1).await["calls"][0]["callId"], call_id("forged"));
        assert_eq!(replayed().await, true);
        store.report(&call_id("forged"), worker, json!({"class": "not_sent", "reason": "no_cluster"})).await;
        store.release(&[&call_id("forged")]).await;
        assert_eq!(replayed().await, true);
        // The push that brought it does not get it back.
        assert_eq!(store.verdicts(signed(PUSH_2, 'a', &["forged"])).await, ["duplicate"]);
    }

    // A call that was claimed by the replay itself, and released since.
    assert_eq!(store.verdicts(signed(&id(3), 'a', &["claimed"])).await, ["claimed"]);
    store.report(&call_id("claimed"), &id(3), json!({"class": "not_sent", "reason": "no_cluster"})).await;
    store.release(&[&call_id("claimed")]).await;
    store.take(&id(9), 10).await;
    assert_eq!(store.call(&call_id("claimed")).await["replayed"], true);
    assert!(store.call(&call_id("genuine")).await.get("replayed").is_none());
}
