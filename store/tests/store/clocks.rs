//! One clock: whatever is compared is compared on the store's, and that is never set back.

use serde_json::{Value, json};

use crate::support::{
    CLAIM_LASTS, PUSH_1, PUSH_2, START, Store, WORKER_1, answered, call, call_id, metric, push, sessions,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A push of a gateway whose clock is off by `offset_ms`, as a filter of this version or of 0.1.0 sends it.
fn push_of_gateway(offset_ms: i64, of_0_1_0: bool, push_id: &str, session: &str) -> Value {
    let mut one = call(session);
    let received_at = START - 7 + offset_ms;
    one["claimDeadline"] = json!(received_at + CLAIM_LASTS);
    if !of_0_1_0 {
        one["ttlMs"] = json!(CLAIM_LASTS);
    }
    let mut body = push(push_id, vec![one]);
    body["receivedAt"] = json!(received_at);
    if !of_0_1_0 {
        body["ageMs"] = json!(7);
    }
    body
}

#[tokio::test]
async fn p3_a_claim_lasts_as_long_as_it_should_whatever_the_clock_of_its_gateway() {
    for of_0_1_0 in [false, true] {
        for offset_ms in [0, 2 * MINUTE, 8 * HOUR, -8 * HOUR, -START] {
            let what = format!("{offset_ms} ms, of 0.1.0: {of_0_1_0}");
            let store = Store::in_memory().await;
            store.post("/v1/pushes", push_of_gateway(offset_ms, of_0_1_0, PUSH_1, "session")).await.expect(200);
            let view = store.call(&call_id("session")).await;
            assert_eq!(view["claimDeadline"], START + CLAIM_LASTS, "{what}");
            store.pass_ms(CLAIM_LASTS);
            assert_eq!(store.call(&call_id("session")).await["state"], "pending", "{what}");
            store.pass_ms(1);
            assert_eq!(store.call(&call_id("session")).await["state"], "unknown", "{what}");
            // Asked for again, it begins again.
            store.post("/v1/pushes", push_of_gateway(offset_ms, of_0_1_0, PUSH_1, "session")).await.expect(200);
            assert_eq!(store.call(&call_id("session")).await["state"], "pending", "{what}");
        }
    }
}

#[tokio::test]
async fn the_difference_between_a_gateways_clock_and_the_stores_is_measured() {
    let store = Store::in_memory().await;
    let batch = |offset_ms| json!({"pushes": [push_of_gateway(offset_ms, false, PUSH_1, "session")]});
    store.post("/v1/pushes", push_of_gateway(90_000, false, PUSH_1, "session")).await.expect(200);
    assert_eq!(metric(&store, "privatenumber_store_gateway_clock_offset_seconds"), 90.0);
    store.post("/v1/push-batches", batch(-2500)).await.expect(200);
    assert_eq!(metric(&store, "privatenumber_store_gateway_clock_offset_seconds"), -2.5);
    let at_most = |seconds| format!(r#"privatenumber_store_gateway_clock_difference_seconds_bucket{{le="{seconds}"}}"#);
    assert_eq!((metric(&store, &at_most("1.0")), metric(&store, &at_most("5.0"))), (0.0, 1.0));
    assert_eq!(metric(&store, "privatenumber_store_gateway_clock_difference_seconds_count"), 2.0);
    // 0.1.0 does not say when it sent the request.
    store.post("/v1/pushes", push_of_gateway(HOUR, true, PUSH_1, "session")).await.expect(200);
    assert_eq!(metric(&store, "privatenumber_store_gateway_clock_difference_seconds_count"), 2.0);
}

#[tokio::test]
async fn p3_a_clock_set_back_records_nothing_as_earlier_than_before() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("before")]).await;
    store.set_clock(-20 * MINUTE);
    store.push(PUSH_1, vec![call("after")]).await;
    let view = store.call(&call_id("after")).await;
    assert_eq!((&view["recordedAt"], &view["record"]["updatedAt"]), (&json!(START), &json!(START)));
    assert_eq!(view["state"], "pending");
    store.report(&call_id("after"), PUSH_1, answered(200)).await;
    assert_eq!(store.call(&call_id("after")).await["reportedAt"], START);

    // Meanwhile it runs at half speed: claims still end.
    store.pass_ms(2 * CLAIM_LASTS + 2);
    assert_eq!(store.call(&call_id("before")).await["state"], "unknown");
    store.push(PUSH_1, vec![call("later")]).await;
    assert_eq!(store.call(&call_id("later")).await["recordedAt"], START + CLAIM_LASTS + 1);
    // It has caught up.
    store.pass_ms(HOUR);
    store.push(PUSH_1, vec![call("at last")]).await;
    assert_eq!(
        store.call(&call_id("at last")).await["recordedAt"],
        store.now.load(std::sync::atomic::Ordering::SeqCst)
    );
}

#[tokio::test]
async fn p3_a_clock_set_back_while_the_store_is_away_records_nothing_as_earlier_than_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    store.pass_ms(HOUR);
    store.push(PUSH_1, vec![call("before")]).await;
    // Time passes in which no call comes, and is recorded.
    store.pass_ms(HOUR);
    store.get("/readyz").await.expect(200);
    drop(store);
    // Two hours back: the store starts over at its START.
    let store = Store::at(&path).await;
    store.push(PUSH_1, vec![call("after")]).await;
    assert_eq!(store.call(&call_id("after")).await["recordedAt"], START + 2 * HOUR);
    // Two stores with different clocks over one file.
    let ahead = Store::at(&path).await;
    ahead.set_clock(5 * HOUR);
    ahead.push(PUSH_1, vec![call("ahead")]).await;
    store.push(PUSH_1, vec![call("beside")]).await;
    assert_eq!(store.call(&call_id("beside")).await["recordedAt"], START + 5 * HOUR);
}

#[tokio::test]
async fn a_store_far_ahead_of_its_machine_says_so_in_its_metrics() {
    let store = Store::in_memory().await;
    let shown = || {
        let names = ["privatenumber_store_clock_ahead_seconds", "privatenumber_store_clock_far_ahead_total"];
        names.map(|name| metric(&store, name))
    };
    store.push(PUSH_1, vec![call("a")]).await;
    assert_eq!(shown(), [0.0, 0.0]);
    store.set_clock(-MINUTE);
    store.push(PUSH_1, vec![call("b")]).await;
    assert_eq!(shown(), [60.0, 0.0]);
    store.set_clock(-1000);
    for session in ["c", "d"] {
        store.push(PUSH_1, vec![call(session)]).await;
        assert_eq!(shown(), [61.0, 1.0]);
    }
    store.pass_ms(2000);
    store.push(PUSH_1, vec![call("e")]).await;
    assert_eq!(shown(), [60.0, 1.0]);
    store.pass_ms(HOUR);
    store.push(PUSH_1, vec![call("f")]).await;
    assert_eq!(shown(), [0.0, 1.0]);
}

/// What a business does that reconciles as the README says.
struct Business {
    from: i64,
    seen: Vec<String>,
}

impl Business {
    async fn reconcile(&mut self, store: &Store) {
        let question = format!("/v1/calls?ak=CONFIGURED&outcome=undelivered&limit=2&from={}", self.from);
        let first = store.get(&question).await.expect(200);
        self.from = first["nextFrom"].as_i64().unwrap();
        let mut page = first;
        loop {
            self.seen.extend(sessions(&page));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            page = store.get(&format!("{question}&cursor={cursor}")).await.expect(200);
            assert_eq!(page["nextFrom"], json!(null), "only the first page says it");
        }
    }
}

#[tokio::test]
async fn p3_whoever_reconciles_misses_no_call_whatever_the_clocks() {
    let mut business = Business { from: 0, seen: Vec::new() };
    let store = Store::in_memory().await;
    let not_sent = || json!({"class": "not_sent", "reason": "overflow"});
    let mut expected: Vec<String> = Vec::new();
    // However the machine's clock is set in between.
    for (round, set_by) in [0, -20 * MINUTE, 0, 3 * HOUR, -5 * HOUR, -HOUR, 0, 10 * HOUR, 0].into_iter().enumerate() {
        let [ended, lost, late] = ["ended", "lost", "late"].map(|name| format!("{name} {round}"));
        store.push(PUSH_1, vec![call(&ended), call(&lost), call(&late), call(&format!("delivered {round}"))]).await;
        store.report(&call_id(&ended), PUSH_1, not_sent()).await;
        store.report(&call_id(&format!("delivered {round}")), PUSH_1, answered(200)).await;
        business.reconcile(&store).await;
        store.set_clock(set_by);
        business.reconcile(&store).await;
        // Granted again, and its outcome comes long after those of calls that were recorded later.
        store.pass_ms(CLAIM_LASTS / 2);
        store.push(PUSH_1, vec![call(&late)]).await;
        store.pass_ms(CLAIM_LASTS);
        business.reconcile(&store).await;
        store.report(&call_id(&late), PUSH_1, not_sent()).await;
        expected.extend([ended, lost, late]);
    }
    store.pass_ms(20 * HOUR);
    business.reconcile(&store).await;
    for session in expected {
        assert!(business.seen.contains(&session), "{session}: {:?}", business.seen);
    }
    assert!(!business.seen.iter().any(|session| session.starts_with("delivered")));
    // It does not begin where it began.
    assert!(business.from > START);
}

#[tokio::test]
async fn p3_a_call_that_waits_or_is_pending_keeps_the_next_reconciliation_from_passing_it() {
    let store = Store::in_memory().await;
    let next_from = async |query: &str| {
        let page = store.get(&format!("/v1/calls?outcome=undelivered&{query}")).await.expect(200);
        page["nextFrom"].as_i64()
    };
    assert_eq!(next_from("from=5").await, Some(5), "nothing is recorded yet");
    store.push(PUSH_1, vec![call("released")]).await;
    store.report(&call_id("released"), PUSH_1, json!({"class": "not_sent", "reason": "overflow"})).await;
    store.pass_ms(1000);
    store.push(PUSH_2, vec![call("pending")]).await;
    store.pass_ms(1000);
    store.push(PUSH_1, vec![call("delivered")]).await;
    store.report(&call_id("delivered"), PUSH_1, answered(200)).await;

    assert_eq!(next_from("ak=CONFIGURED&from=1").await, Some(START + 1000));
    assert_eq!(next_from("ak=OTHER&from=1").await, Some(START + 2000));
    assert_eq!(next_from(&format!("from={}", START + 1001)).await, Some(START + 2000));
    assert_eq!(next_from(&format!("from=1&to={}", START + 500)).await, Some(START + 500));
    assert_eq!(next_from("").await, None);
    store.release(&[&call_id("released")]).await;
    // Whose it will be is known once it is taken.
    for ak in ["CONFIGURED", "OTHER"] {
        assert_eq!(next_from(&format!("ak={ak}&from=1")).await, Some(START));
    }
    store.take(WORKER_1, 10).await;
    assert_eq!(next_from("ak=OTHER&from=1").await, Some(START + 2000));
    assert_eq!(next_from("ak=CONFIGURED&from=1").await, Some(START));
    store.pass_ms(1001);
    assert_eq!(next_from("ak=CONFIGURED&from=1").await, Some(START + 1000));
    store.pass_ms(CLAIM_LASTS);
    assert_eq!(next_from("ak=CONFIGURED&from=1").await, Some(START + 2000));
}
