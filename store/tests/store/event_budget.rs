//! P2 and P6: events are kept as they came, within a budget of bytes.

use privatenumber_contract::PushId;
use privatenumber_store::database::Keeping;
use serde_json::{Value, json};

use crate::support::{Oddities, Store, metric, push};

/// What is counted of an event besides its body, bytes.
const REST: u64 = 256;
const BODY: usize = 1_000;

fn event(number: u128) -> Value {
    let mut one = push(&PushId::from_bytes(number.to_be_bytes()).to_string(), Vec::new());
    one["event"] = json!({"eventType": if number.is_multiple_of(2) { "callin" } else { "playRes" }, "raw": format!("{number:0BODY$}")});
    one
}

fn budget(events: u64) -> Keeping {
    Keeping { event_bytes: events * (BODY as u64 + REST), ..Keeping::default() }
}

/// The numbers in the bodies of the events that are there, oldest first.
async fn kept(store: &Store) -> Vec<u128> {
    let page = store.get("/v1/events?limit=500").await.expect(200);
    let numbers =
        page["events"].as_array().unwrap().iter().map(|event| event["raw"].as_str().unwrap().trim().parse().unwrap());
    numbers.rev().collect()
}

const DROPPED: &str = "privatenumber_store_events_dropped_total";

#[tokio::test]
async fn p2_events_of_whatever_type_are_kept_until_their_bytes_are_used_up_and_the_oldest_go_first() {
    let store = Store::odd(Oddities { keeping: budget(10), ..Oddities::default() }).await;
    for number in 1..=10 {
        store.post("/v1/pushes", event(number)).await.expect(200);
    }
    assert_eq!((kept(&store).await, metric(&store, DROPPED)), ((1..=10).collect(), 0.0));
    for number in 11..=13 {
        store.post("/v1/pushes", event(number)).await.expect(200);
    }
    assert_eq!((kept(&store).await, metric(&store, DROPPED)), ((4..=13).collect(), 3.0));
    // What is there already takes no more room; what was dropped and comes again is new.
    store.post("/v1/pushes", event(13)).await.expect(200);
    store.post("/v1/pushes", event(1)).await.expect(200);
    assert_eq!((kept(&store).await, metric(&store, DROPPED)), ([5, 6, 7, 8, 9, 10, 11, 12, 13, 1].to_vec(), 4.0));
}

#[tokio::test]
async fn p2_an_event_that_is_larger_than_the_budget_is_answered_and_not_kept() {
    let store = Store::odd(Oddities { keeping: budget(0), ..Oddities::default() }).await;
    store.post("/v1/pushes", event(1)).await.expect(200);
    assert_eq!((kept(&store).await, metric(&store, DROPPED)), (Vec::new(), 1.0));
}

#[tokio::test]
async fn p4_a_budget_that_was_lowered_is_reached_in_small_steps_by_whatever_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    for first in [1, 301] {
        let batch: Vec<_> = (first..first + 200).map(event).collect();
        store.post("/v1/push-batches", json!({"pushes": batch})).await.expect(200);
    }
    store.app.database.close().await;
    drop(store);

    let store = Store::at_keeping(&path, budget(50)).await;
    let mut before = 400;
    while before > 50 {
        store.get("/readyz").await.expect(200);
        let after = kept(&store).await.len();
        assert!(after < before && before - after <= 256, "{before} → {after}");
        before = after;
    }
    assert_eq!((before, metric(&store, DROPPED)), (50, 350.0));
    assert_eq!(kept(&store).await, (451..501).collect::<Vec<_>>());
}

#[tokio::test]
async fn p4_large_events_are_dropped_a_few_mebibytes_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    for number in 1..=10_u128 {
        let mut large = event(number);
        large["event"]["raw"] = json!(format!("{number}{}", " ".repeat(1_000_000)));
        store.post("/v1/pushes", large).await.expect(200);
    }
    store.app.database.close().await;
    drop(store);

    let store = Store::at_keeping(&path, budget(0)).await;
    for left in [5, 0, 0] {
        store.get("/readyz").await.expect(200);
        assert_eq!(kept(&store).await.len(), left);
    }
}

#[tokio::test]
async fn what_events_take_is_right_after_a_store_of_the_release_before_wrote_some() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    store.post("/v1/pushes", event(1)).await.expect(200);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute(
        "INSERT INTO events (digest, app_key, push_id, event_type, raw, received_at, raw_bytes) \
         VALUES ('d', 'app', 'p', 'callin', '\u{4e00}', 1, x'0102')",
        [],
    )
    .unwrap();
    let bytes = || file.query_row("SELECT bytes FROM event_bytes", [], |row| row.get::<_, i64>(0)).unwrap();
    let (body, rest) = (i64::try_from(BODY).unwrap(), i64::try_from(REST).unwrap());
    assert_eq!(bytes(), body + rest + 3 + 2 + rest);
    file.execute("DELETE FROM events WHERE digest = 'd'", []).unwrap();
    assert_eq!(bytes(), body + rest);
}
