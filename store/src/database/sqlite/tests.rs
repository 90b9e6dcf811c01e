//! What only shows on the writing connection itself.

use privatenumber_contract::{Push, PushId};
use sqlx::Row;

use super::Sqlite;
use crate::database::work::{Done, PushWork, Work};
use crate::database::{OpenOptions, WriteError, group};

fn push_with_event(number: u128, bytes: usize) -> Work {
    let raw = format!("{number}{}", "x".repeat(bytes));
    let text = format!(
        r#"{{"pushId":"{}","appKey":"app","receivedAt":1,"event":{{"eventType":"callin","raw":"{raw}"}}}}"#,
        PushId::from_bytes(number.to_be_bytes())
    );
    let push: Push<'_> = serde_json::from_str(&text).unwrap();
    Work::Push(Box::new(PushWork::new(&push)))
}

async fn file() -> (tempfile::TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&directory.path().join("store.sqlite3"), &OpenOptions::default()).await.unwrap();
    (directory, sqlite)
}

async fn events(sqlite: &Sqlite) -> i64 {
    sqlx::query("SELECT count(*) FROM events").fetch_one(&sqlite.readers).await.unwrap().get(0)
}

#[tokio::test]
async fn the_writer_syncs_every_commit() {
    let (_directory, sqlite) = file().await;
    for (pragma, expected) in
        [("PRAGMA synchronous", 2_i64), ("PRAGMA foreign_keys", 1), ("PRAGMA journal_size_limit", 64 << 20)]
    {
        let value: i64 = sqlx::query(pragma).fetch_one(&sqlite.writer).await.unwrap().get(0);
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test]
async fn p8_a_full_database_refuses_the_whole_group_and_serves_again_once_there_is_room() {
    let (_directory, sqlite) = file().await;
    let pages: i64 = sqlx::query("PRAGMA page_count").fetch_one(&sqlite.writer).await.unwrap().get(0);
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 10));
    sqlx::query(limit).execute(&sqlite.writer).await.unwrap();

    let works = [push_with_event(1, 10), push_with_event(2, 10), push_with_event(3, 1_000_000)];
    let works: Vec<&Work> = works.iter().collect();
    for _ in 0..3 {
        let results = group::commit(&sqlite, &works, 1).await;
        assert!(results.iter().all(|result| matches!(result, Err(WriteError::Unavailable(_)))), "{results:?}");
        assert_eq!((results.len(), events(&sqlite).await), (3, 0));
    }
    // What fits is still taken.
    let results = group::commit(&sqlite, &works[..2], 1).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Done::Push(_)))), "{results:?}");
    assert_eq!(events(&sqlite).await, 2);

    sqlx::query("PRAGMA max_page_count = 1000000").execute(&sqlite.writer).await.unwrap();
    let results = group::commit(&sqlite, &works, 1).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Done::Push(_)))), "{results:?}");
    assert_eq!(events(&sqlite).await, 3);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing_open() {
    use crate::database::transaction::{Engine, Transaction};
    let (_directory, sqlite) = file().await;
    let mut transaction = sqlite.begin().await.unwrap();
    transaction.write_readiness(1).await.unwrap();
    drop(transaction);
    let work = push_with_event(1, 10);
    assert!(group::commit(&sqlite, &[&work], 1).await[0].is_ok());
    let rows: i64 = sqlx::query("SELECT count(*) FROM readiness").fetch_one(&sqlite.readers).await.unwrap().get(0);
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn no_filter_makes_a_page_sort_or_walk_the_table() {
    use super::read::{Span, select_calls};
    use crate::database::{CallFilter, Page};
    use privatenumber_contract::CallState;

    let (_directory, sqlite) = file().await;
    let text = Some("x".to_owned());
    let filters = [
        ("PRIMARY KEY", CallFilter::default()),
        ("PRIMARY KEY", CallFilter { to: Some(2), ..CallFilter::default() }),
        ("calls_by_outcome_class", CallFilter { state: Some(CallState::Unknown), ..CallFilter::default() }),
        (
            "calls_by_outcome_class",
            CallFilter { state: Some(CallState::Answered), from: Some(1), ..CallFilter::default() },
        ),
        // The businesses' reconciliation: few calls are `unknown`, and a business has millions.
        (
            "calls_by_outcome_class",
            CallFilter { state: Some(CallState::Unknown), ak: text.clone(), from: Some(1), ..CallFilter::default() },
        ),
        (
            "calls_by_outcome_class",
            CallFilter { state: Some(CallState::NotSent), app_key: text.clone(), ..CallFilter::default() },
        ),
        ("calls_by_ak", CallFilter { state: Some(CallState::Answered), ak: text.clone(), ..CallFilter::default() }),
        ("calls_by_ak", CallFilter { state: Some(CallState::Skipped), ak: text.clone(), ..CallFilter::default() }),
        ("calls_by_ak", CallFilter { ak: text.clone(), from: Some(1), to: Some(2), ..CallFilter::default() }),
        ("calls_by_ak", CallFilter { ak: text.clone(), app_key: text.clone(), ..CallFilter::default() }),
        ("calls_by_app_key", CallFilter { app_key: text.clone(), ..CallFilter::default() }),
        (
            "calls_by_subscription_id",
            CallFilter {
                subscription_id: text.clone(),
                state: Some(CallState::Pending),
                ak: text.clone(),
                ..CallFilter::default()
            },
        ),
    ];
    for (index, filter) in filters {
        let page = Page::first(50);
        let explain = "EXPLAIN QUERY PLAN SELECT number, record FROM calls WHERE ";
        for span in [Span::ALL, Span { first: 1, last: 9 }] {
            let mut query = select_calls(&filter, &page, &span, 1, explain);
            let rows = query.build().fetch_all(&sqlite.readers).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let [step] = &plan[..] else { panic!("{filter:?}: {plan:#?}") };
            assert!(step.starts_with("SEARCH calls USING ") && step.contains(index), "{filter:?}: {plan:#?}");
            let bounds = if span == Span::ALL { "rowid<?)" } else { "rowid>? AND rowid<?)" };
            assert!(step.ends_with(bounds), "{filter:?}: {plan:#?}");
        }
    }
}
