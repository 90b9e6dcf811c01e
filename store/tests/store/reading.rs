//! Lists: filters, pages, cursors.

use serde_json::json;

use crate::support::{PUSH_1, PUSH_2, START, Store, answered, call, call_id, push, sessions};

#[tokio::test]
async fn pages_are_stable_while_calls_come_in() {
    let store = Store::in_memory().await;
    for number in 0..10 {
        store.push(PUSH_1, vec![call(&format!("s{number}"))]).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/calls?limit=3".to_owned();
    loop {
        let page = store.get(&path).await.expect(200);
        seen.extend(sessions(&page));
        // A newer call after every page; the clock even steps back.
        store.set_clock(-1000);
        store.push(PUSH_2, vec![call(&format!("late {}", seen.len()))]).await;
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/v1/calls?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..10).rev().map(|number| format!("s{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_span_of_time_is_paged_through_exactly_though_the_clock_of_0_1_0_stepped_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    for number in 0..10 {
        store.push(PUSH_1, vec![call(&format!("s{number}"))]).await;
    }
    // Recorded at 0, 1, 2, 3, 4 and again 1, 2, 3, 4, 5 s.
    let seconds = "CASE WHEN number <= 5 THEN number - 1 ELSE number - 5 END";
    let recorded = format!("UPDATE calls SET recorded_at = {START} + 1000 * ({seconds})");
    rusqlite::Connection::open(&path).unwrap().execute_batch(&recorded).unwrap();
    let (from, to) = (START + 1000, START + 4000);
    for more in ["", "&ak=CONFIGURED", "&state=pending", "&subscriptionId=binding-1"] {
        let filter = format!("/v1/calls?limit=2&from={from}&to={to}{more}");
        let (mut seen, mut path) = (Vec::new(), filter.clone());
        loop {
            let page = store.get(&path).await.expect(200);
            seen.extend(sessions(&page));
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("{filter}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, ["s7", "s6", "s5", "s3", "s2", "s1"], "{more}");
    }
    // A cursor may be used with other times than those it comes from.
    let page = store.get(&format!("/v1/calls?limit=2&from={from}&to={to}")).await.expect(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    let page = store.get(&format!("/v1/calls?cursor={cursor}&to={to}")).await.expect(200);
    assert_eq!(sessions(&page), ["s5", "s3", "s2", "s1", "s0"]);
}

#[tokio::test]
async fn a_last_page_that_is_just_full_has_no_cursor() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("a"), call("b")]).await;
    let page = store.get("/v1/calls?limit=2").await.expect(200);
    assert_eq!((sessions(&page), &page["nextCursor"]), (vec!["b".to_owned(), "a".to_owned()], &json!(null)));
}

#[tokio::test]
async fn filters_narrow_the_list_together() {
    let store = Store::in_memory().await;
    for (session, app_key, ak, binding) in
        [("a", "app", "X", "1"), ("b", "app", "Y", "1"), ("c", "other", "X", "1"), ("d", "app", "X", "2")]
    {
        let mut one = call(session);
        one["appKey"] = json!(app_key);
        one["ak"] = json!(ak);
        one["subscriptionId"] = json!(binding);
        store.push(PUSH_1, vec![one]).await;
        store.pass_ms(1000);
    }
    store.report(&call_id("d"), PUSH_1, answered(200)).await;
    let asked = [
        ("", vec!["d", "c", "b", "a"]),
        ("ak=X", vec!["d", "c", "a"]),
        ("ak=X&appKey=app", vec!["d", "a"]),
        ("ak=X&appKey=app&subscriptionId=1", vec!["a"]),
        ("state=pending&ak=X", vec!["c", "a"]),
        ("state=delivered", vec!["d"]),
        ("from=1800000001000", vec!["d", "c", "b"]),
        ("from=1800000001000&to=1800000003000", vec!["c", "b"]),
        ("to=1800000000000", vec![]),
        ("ak=Z", vec![]),
    ];
    for (query, expected) in asked {
        assert_eq!(sessions(&store.get(&format!("/v1/calls?{query}")).await.expect(200)), expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused_by_name() {
    let store = Store::in_memory().await;
    let wrong = [
        ("/v1/calls?sate=pending", "`sate`: not known here; known are state, outcome, ak,"),
        (
            "/v1/calls?%2B8617010000001=1",
            "the name of a parameter has something other than letters in it; it is not repeated here",
        ),
        ("/v1/calls?state=done", "`state`: not one of pending, delivered, rejected, not_sent,"),
        ("/v1/calls?state=pending,", "`state`: not one of pending, delivered,"),
        ("/v1/calls?outcome=rejected", "`outcome`: not one of undelivered"),
        ("/v1/calls?outcome=undelivered&state=pending", "`outcome`: there beside `state`"),
        ("/v1/calls?ak=X&ak=Y", "`ak`: there twice"),
        ("/v1/calls?ak=", "`ak`: empty"),
        ("/v1/calls?from=yesterday", "`from`: not a whole number; give epoch milliseconds"),
        ("/v1/calls?from=1646288530", "`from`: looks like epoch seconds; give epoch milliseconds"),
        ("/v1/calls?to=1646288530", "`to`: looks like epoch seconds; give epoch milliseconds"),
        ("/v1/calls?from=2&to=2", "`to`: not after `from`"),
        ("/v1/calls?limit=0", "`limit`: not an integer from 1 to 500"),
        ("/v1/calls?limit=501", "`limit`: not an integer from 1 to 500"),
        ("/v1/calls?cursor=1", "`cursor`: not a cursor"),
        ("/v1/parked?state=pending", "`state`: not known here; known are limit, cursor"),
        ("/v1/events?limit=x", "`limit`: not an integer from 1 to 500"),
        ("/v1/calls/x?history=true", "`history`: not known here; none is"),
        ("/v1/bindings/x?history=yes", "`history`: not one of true, false"),
    ];
    for (path, expected) in wrong {
        let detail = store.get(path).await.problem(400, "invalid-parameter");
        assert!(detail.starts_with(expected), "{path}: {detail}");
    }
}

#[tokio::test]
async fn large_entries_make_short_pages_and_none_is_lost() {
    let store = Store::in_memory().await;
    for number in 0..6 {
        let mut body = push(PUSH_1, vec![]);
        let raw = format!("{number}{}", "x".repeat(3_000_000));
        body["event"] = json!({"eventType": "callin", "raw": raw});
        store.post("/v1/pushes", &body).await.expect(200);
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut path = "/v1/events".to_owned();
    loop {
        let page = store.get(&path).await.expect(200);
        pages += 1;
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["number"].as_i64().unwrap()));
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/v1/events?cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![6, 5, 4, 3, 2, 1], 3));
}

#[tokio::test]
async fn a_call_shows_when_it_came_and_when_it_was_kept() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let view = store.call(&call_id("session")).await;
    assert_eq!((&view["receivedAt"], &view["recordedAt"]), (&json!(START - 5), &json!(START)));
    store.get("/v1/calls/none").await.problem(404, "not-found");
}
