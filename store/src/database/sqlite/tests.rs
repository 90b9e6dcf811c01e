//! What only shows on the writing connection itself.

use privatenumber_contract::{CallState, Push, PushId};
use rusqlite::Connection;

use super::Sqlite;
use super::read::{Span, select_calls};
use crate::database::group::Upkeep;
use crate::database::work::{PushDone, PushWork, Requester, Slot, Unit, Waiting};
use crate::database::{CallFilter, Keeping, OpenOptions, Page, WriteError, group};

/// A requester that waits, or does not.
struct Waits(bool);

impl Requester for Waits {
    fn waits(&self) -> bool {
        self.0
    }
}

fn push_with_event(number: u128, bytes: usize) -> PushWork {
    let raw = format!("{number}{}", "x".repeat(bytes));
    let text = format!(
        r#"{{"pushId":"{}","appKey":"app","receivedAt":1,"event":{{"eventType":"callin","raw":"{raw}"}}}}"#,
        PushId::from_bytes(number.to_be_bytes())
    );
    let push: Push<'_> = serde_json::from_str(&text).unwrap();
    PushWork::new(&push).unwrap()
}

fn file() -> (tempfile::TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&directory.path().join("store.sqlite3"), &OpenOptions::default()).unwrap();
    (directory, sqlite)
}

/// Asks the writing connection.
fn on_writer<T>(sqlite: &Sqlite, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
    ask(sqlite.writing().connection.as_ref().unwrap()).unwrap()
}

/// What another connection sees.
fn count(directory: &tempfile::TempDir, table: &str) -> i64 {
    let connection = Connection::open(directory.path().join("store.sqlite3")).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn commit(sqlite: &Sqlite, works: &[PushWork]) -> Vec<Option<Result<PushDone, WriteError>>> {
    let mut slots: Vec<_> = works.iter().cloned().map(Slot::new).collect();
    let mut works: Vec<_> =
        slots.iter_mut().map(|slot| Waiting { unit: Unit::Push(slot), requester: &Waits(true) }).collect();
    group::commit(&mut *sqlite.writing(), &mut works, &|_| 1, &Upkeep::new(Keeping::default()));
    drop(works);
    slots.into_iter().map(|slot| slot.result).collect()
}

#[test]
fn the_writer_syncs_every_commit() {
    let (_directory, sqlite) = file();
    for (pragma, expected) in [("synchronous", 2_i64), ("foreign_keys", 1), ("journal_size_limit", 64 << 20)] {
        let value: i64 = on_writer(&sqlite, |writer| writer.pragma_query_value(None, pragma, |row| row.get(0)));
        assert_eq!(value, expected, "{pragma}");
    }
}

#[test]
fn p8_a_full_database_refuses_the_whole_group_and_serves_again_once_there_is_room() {
    let (directory, sqlite) = file();
    let limit = |pages: i64| on_writer(&sqlite, |writer| writer.pragma_update(None, "max_page_count", pages));
    let pages: i64 = on_writer(&sqlite, |writer| writer.pragma_query_value(None, "page_count", |row| row.get(0)));
    limit(pages + 10);

    let works = [push_with_event(1, 10), push_with_event(2, 10), push_with_event(3, 1_000_000)];
    for _ in 0..3 {
        let results = commit(&sqlite, &works);
        let unavailable = |result: &_| matches!(result, Some(Err(WriteError::Unavailable(_))));
        assert!(results.iter().all(unavailable), "{results:?}");
        assert_eq!((results.len(), count(&directory, "events")), (3, 0));
    }
    // What fits is still taken.
    let results = commit(&sqlite, &works[..2]);
    assert!(results.iter().all(|result| matches!(result, Some(Ok(_)))), "{results:?}");
    assert_eq!(count(&directory, "events"), 2);

    limit(1_000_000);
    let results = commit(&sqlite, &works);
    assert!(results.iter().all(|result| matches!(result, Some(Ok(_)))), "{results:?}");
    assert_eq!(count(&directory, "events"), 3);
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing_open() {
    use crate::database::transaction::{Transaction, WriteEngine};
    let (directory, sqlite) = file();
    let mut writing = sqlite.writing();
    let mut transaction = writing.begin().unwrap();
    transaction.write_readiness(1).unwrap();
    drop(transaction);
    drop(writing);
    assert!(matches!(commit(&sqlite, &[push_with_event(1, 10)])[..], [Some(Ok(_))]));
    assert_eq!(count(&directory, "readiness"), 0);
}

#[test]
fn p4_of_a_group_only_the_work_that_cannot_be_stored_fails_whatever_their_number() {
    let (directory, sqlite) = file();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.raw LIKE '7%' OR NEW.raw LIKE '5%' \
                  BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
    on_writer(&sqlite, |writer| writer.execute_batch(poison));
    for number in 1_u128..10 {
        let works: Vec<_> = (0..number).map(|each| push_with_event(each * 100 + number, 1)).collect();
        let expected = works.iter().filter(|work| !work.event.as_ref().unwrap().raw.expose().starts_with(['5', '7']));
        let expected = expected.count();
        let before = count(&directory, "events");
        let results = commit(&sqlite, &works);
        assert_eq!(results.iter().filter(|result| matches!(result, Some(Ok(_)))).count(), expected, "{number}");
        let refused = |result: &&_| matches!(result, Some(Err(WriteError::Refused(_))));
        assert_eq!(results.iter().filter(refused).count(), works.len() - expected, "{number}");
        assert_eq!(count(&directory, "events") - before, expected as i64);
    }
}

#[test]
fn r16_a_work_whose_requester_left_is_not_committed_and_those_beside_it_are() {
    let (directory, sqlite) = file();
    let mut slots = [1, 2, 3].map(|number| Slot::new(push_with_event(number, 10)));
    let requesters = [Waits(true), Waits(false), Waits(true)];
    let mut works: Vec<_> = slots
        .iter_mut()
        .zip(&requesters)
        .map(|(slot, requester)| Waiting { unit: Unit::Push(slot), requester })
        .collect();
    group::commit(&mut *sqlite.writing(), &mut works, &|_| 1, &Upkeep::new(Keeping::default()));
    drop(works);
    assert!(matches!(slots.map(|slot| slot.result), [Some(Ok(_)), None, Some(Ok(_))]));
    assert_eq!(count(&directory, "events"), 2);
}

#[test]
fn no_filter_makes_a_page_sort_or_walk_the_table() {
    use CallState::{Delivered, NotSent, Pending, Rejected, Skipped, Unknown, Waiting};
    let (_directory, sqlite) = file();
    let text = Some("x".to_owned());
    let any = CallFilter::default;
    let of_ak = || CallFilter { ak: text.clone(), ..CallFilter::default() };
    let of_app_key = || CallFilter { app_key: text.clone(), ..CallFilter::default() };
    let (undelivered, undelivered_by_ak) =
        ("calls_undelivered (undelivered=?", "calls_undelivered_by_ak (ak=? AND undelivered=?");
    let filters: [(&str, Option<CallState>, CallFilter); 19] = [
        ("PRIMARY KEY", None, any()),
        ("PRIMARY KEY", None, CallFilter { to: Some(2), ..any() }),
        ("calls_by_outcome_class", Some(Unknown), any()),
        ("calls_by_outcome_class", Some(Delivered), CallFilter { from: Some(1), ..any() }),
        // The businesses' reconciliation: few calls are not delivered, and a business has millions.
        ("calls_by_outcome_class", Some(Unknown), CallFilter { from: Some(1), ..of_ak() }),
        (undelivered, Some(Rejected), CallFilter { from: Some(1), ..any() }),
        (undelivered, Some(NotSent), of_app_key()),
        (undelivered_by_ak, Some(Rejected), CallFilter { from: Some(1), ..of_ak() }),
        (undelivered_by_ak, Some(NotSent), CallFilter { app_key: text.clone(), ..of_ak() }),
        (undelivered_by_ak, Some(Skipped), of_ak()),
        ("calls_by_app_key", Some(Skipped), of_app_key()),
        ("calls_by_ak", Some(Delivered), of_ak()),
        ("calls_by_ak", None, CallFilter { from: Some(1), to: Some(2), ..of_ak() }),
        ("calls_by_ak", None, CallFilter { app_key: text.clone(), ..of_ak() }),
        ("calls_by_app_key", None, of_app_key()),
        ("calls_waiting", Some(Waiting), any()),
        ("calls_waiting", Some(Waiting), CallFilter { from: Some(1), ..of_ak() }),
        ("calls_by_subscription_id", Some(Pending), CallFilter { subscription_id: text.clone(), ..of_ak() }),
        ("calls_by_subscription_id", Some(Rejected), CallFilter { subscription_id: text.clone(), ..of_ak() }),
    ];
    for (index, state, filter) in filters {
        let filter = CallFilter { states: state.into_iter().collect(), ..filter };
        for span in [Span::ALL, Span { first: 1, last: 9 }] {
            let plan = plan_of_page(&sqlite, &filter, &span);
            let [step] = &plan[..] else { panic!("{filter:?}: {plan:#?}") };
            assert!(step.starts_with("SEARCH calls USING ") && step.contains(index), "{filter:?}: {plan:#?}");
            let by_number = index == "calls_waiting";
            let bounds = match (span == Span::ALL, by_number) {
                (true, false) => "rowid<?)",
                (false, false) => "rowid>? AND rowid<?)",
                (true, true) => "(number<?)",
                (false, true) => "(number>? AND number<?)",
            };
            assert!(step.ends_with(bounds), "{filter:?}: {plan:#?}");
        }
    }
}

/// The steps by which SQLite reads a page of calls.
fn plan_of_page(sqlite: &Sqlite, filter: &CallFilter, span: &Span) -> Vec<String> {
    let explain = |sql: &str| format!("EXPLAIN QUERY PLAN {sql}");
    let query = select_calls(filter, &Page::first(50), span, 1, "SELECT number, record FROM calls");
    on_writer(sqlite, |writer| {
        let mut statement = writer.prepare(&explain(&query.sql))?;
        statement.query_map(rusqlite::params_from_iter(&query.values), |row| row.get("detail"))?.collect()
    })
}

#[test]
fn the_latest_time_and_the_earliest_unsettled_call_are_found_by_their_indexes() {
    use super::read::{LATEST_TIME, UNSETTLED};
    let (_directory, sqlite) = file();
    for (sql, index) in [
        (LATEST_TIME, "COVERING INDEX calls_by_recorded_at"),
        (UNSETTLED, "INDEX calls_by_outcome_class (outcome_class=? AND rowid>? AND rowid<?)"),
    ] {
        let plan: Vec<String> = on_writer(&sqlite, |writer| {
            let mut statement = writer.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let values = vec![1; statement.parameter_count()];
            statement.query_map(rusqlite::params_from_iter(values), |row| row.get("detail"))?.collect()
        });
        assert!(plan.iter().any(|step| step.contains(index)), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN calls")), "{plan:#?}");
    }
}

#[test]
fn calls_of_several_states_are_merged_and_never_sorted() {
    let (_directory, sqlite) = file();
    for ak in [None, Some("x".to_owned())] {
        let filter = CallFilter { states: CallState::UNDELIVERED.to_vec(), ak, ..CallFilter::default() };
        let plan = plan_of_page(&sqlite, &filter, &Span { first: 1, last: 9 });
        let searches: Vec<&String> = plan.iter().filter(|step| step.starts_with("SEARCH calls USING ")).collect();
        assert_eq!(searches.len(), CallState::UNDELIVERED.len(), "{plan:#?}");
        assert!(searches.iter().all(|step| step.ends_with("rowid>? AND rowid<?)")), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN calls") || step.contains("TEMP B-TREE")), "{plan:#?}");
    }
}

#[test]
fn no_statement_about_waiting_calls_sorts_or_walks_the_table() {
    use super::{read, write};
    let (_directory, sqlite) = file();
    for (sql, index) in [
        (write::DUE_WORKS, "calls_due"),
        (write::COUNT_DUE, "COVERING INDEX calls_due"),
        (write::BINDING_CAME, "calls_held"),
        (write::WORKS_OF, "calls_taken"),
        (write::MAKE_DUE, "calls_paused"),
        (read::WAITING_FOR, "calls_paused"),
        (write::EVER_TOOK, "calls_taken"),
        (read::OLDEST_DUE, "COVERING INDEX calls_due"),
    ] {
        let plan: Vec<String> = on_writer(&sqlite, |writer| {
            let mut statement = writer.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let steps = statement.parameter_count();
            statement.query_map(rusqlite::params_from_iter(vec![1; steps]), |row| row.get("detail"))?.collect()
        });
        assert!(plan.iter().any(|step| step.contains("SEARCH calls USING") && step.contains(index)), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN calls") || step.contains("TEMP B-TREE")), "{plan:#?}");
    }
    // It counts all entries of its index, which has those of waiting calls alone.
    let plan: String = on_writer(&sqlite, |writer| {
        writer.query_row(&format!("EXPLAIN QUERY PLAN {}", read::WAITING), [], |row| row.get("detail"))
    });
    assert!(plan.contains("USING COVERING INDEX calls_waiting"), "{plan}");
}
