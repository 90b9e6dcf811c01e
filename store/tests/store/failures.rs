//! P8: a database that cannot commit, and how the store comes back by itself.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{PUSH_1, PUSH_2, Store, answered, call, call_id, metric, push, rejected, sessions};

/// A store on a file, and another program that has the file open.
async fn store_and_intruder() -> (tempfile::TempDir, Store, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let store = Store::at(&path).await;
    let intruder = Connection::open(&path).unwrap();
    (directory, store, intruder)
}

fn run(intruder: &Connection, sql: &str) {
    intruder.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn p8_a_locked_database_is_503_and_nothing_is_kept_until_the_lock_is_gone() {
    let (_directory, store, intruder) = store_and_intruder().await;
    run(&intruder, "BEGIN IMMEDIATE");
    store.post("/v1/pushes", push(PUSH_1, vec![call("session")])).await.problem(503, "unavailable");
    store.get("/readyz").await.problem(503, "unavailable");
    // What is committed can be read all the while.
    assert_eq!(store.get("/v1/calls").await.expect(200)["calls"], json!([]));
    run(&intruder, "ROLLBACK");
    store.get("/readyz").await.expect(200);
    assert_eq!(store.push(PUSH_2, vec![call("session")]).await[0]["verdict"], "claimed");
    assert_eq!(metric(&store, r#"privatenumber_store_pushes_total{result="unavailable"}"#), 1.0);
}

#[tokio::test]
async fn p4_one_work_that_cannot_be_stored_does_not_fail_those_it_waits_with() {
    let (_directory, store, intruder) = store_and_intruder().await;
    run(
        &intruder,
        "CREATE TRIGGER poison BEFORE INSERT ON calls WHEN NEW.app_key = 'poison' \
         BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    );
    let pushes = (0..10).map(|number| {
        let mut one = call(&format!("s{number}"));
        if number == 4 {
            one["appKey"] = json!("poison");
        }
        store.post("/v1/pushes", push(PUSH_1, vec![call(&format!("with s{number}")), one]))
    });
    let answers = futures_util::future::join_all(pushes).await;
    for (number, answer) in answers.iter().enumerate() {
        let with = format!("/v1/calls/{}", call_id(&format!("with s{number}")));
        if number == 4 {
            answer.problem(500, "internal");
            store.get(&with).await.problem(404, "not-found");
        } else {
            assert_eq!(answer.expect(200)["calls"][1]["verdict"], "claimed");
            store.get(&with).await.expect(200);
        }
    }
    assert_eq!(metric(&store, r#"privatenumber_store_pushes_total{result="committed"}"#), 9.0);
    assert_eq!(metric(&store, r#"privatenumber_store_pushes_total{result="refused"}"#), 1.0);
}

#[tokio::test]
async fn p8_a_commit_that_fails_is_answered_with_neither_success_nor_problem() {
    let (_directory, store, intruder) = store_and_intruder().await;
    // A constraint that is checked at COMMIT only.
    run(
        &intruder,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER spoil AFTER INSERT ON calls BEGIN INSERT INTO child VALUES (1); END",
    );
    let answer = store.post("/v1/pushes", push(PUSH_1, vec![call("session")])).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (500, ""));
    assert_eq!(answer.headers.get("content-type"), None);

    run(&intruder, "DROP TRIGGER spoil");
    assert_eq!(store.push(PUSH_1, vec![call("session")]).await[0]["verdict"], "claimed");
    store.report(&call_id("session"), PUSH_1, answered(200)).await;
    assert_eq!(store.call(&call_id("session")).await["state"], "delivered");
}

#[tokio::test]
async fn an_existing_file_is_taken_up_and_a_foreign_or_newer_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/store.sqlite3");
    let store = Store::at(&path).await;
    store.push(PUSH_1, vec![call("session")]).await;
    let view = store.call(&call_id("session")).await;
    close(store).await;
    let store = Store::at(&path).await;
    assert_eq!(store.call(&call_id("session")).await, view);
    assert_eq!(store.push(PUSH_2, vec![call("session")]).await[0]["verdict"], "duplicate");
    close(store).await;

    let newer = Connection::open(&path).unwrap();
    run(
        &newer,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'of a later release', 1, x'00', 0)",
    );
    drop(newer);
    assert!(refusal(&path).await.contains("was it written by a newer store, or is its disk full?"));

    let foreign = directory.path().join("foreign");
    std::fs::write(&foreign, "this is no database ".repeat(100)).unwrap();
    assert!(refusal(&foreign).await.contains("check that it is a database of this store"));
    assert!(refusal(&foreign.join("below")).await.contains("cannot create the directory"));
}

/// The tables as 0.1.0 made them, with a call and a parked CDR.
#[tokio::test]
async fn a_file_of_0_1_0_is_taken_up_with_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite3");
    let old = Connection::open(&path).unwrap();
    run(&old, include_str!("../../migrations/sqlite/0001_calls_bindings_parked_events.sql"));
    let id = call_id("session");
    let record = serde_json::to_string(&privatenumber_contract::Record::default()).unwrap();
    run(
        &old,
        &format!(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
               installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
               checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (1, 'calls, bindings, parked CDRs, events', 1, x'00', 0);
             INSERT INTO calls (call_id, app_key, session_id, icid, push_id, received_at, recorded_at, claim_deadline, record) \
               VALUES ('{id}', 'app', 'session', 'icid', '{PUSH_1}', 1, 1, 1, '{record}');
             INSERT INTO calls (call_id, app_key, session_id, icid, push_id, received_at, recorded_at, claim_deadline, record, \
               outcome_class, outcome, reported_at) \
               SELECT printf('%032d', value), 'app', 'ended ' || value, '', '{PUSH_1}', 1, 1, 1, '{record}', 'answered', \
                 '{{\"class\":\"answered\",\"status\":' || value || '}}', 1 FROM json_each('[200,299,302,404,503]');
             INSERT INTO parked (digest, app_key, push_id, reason, raw, received_at) VALUES ('x', 'app', 'p', 'r', 'raw', 1)"
        ),
    );
    drop(old);
    let store = Store::at(&path).await;
    // What ended under 0.1.0 reads and is found as what it is now.
    for (query, expected) in [
        ("state=delivered", &["ended 299", "ended 200"][..]),
        ("outcome=undelivered&from=1", &["ended 503", "ended 404", "ended 302", "session"]),
    ] {
        assert_eq!(sessions(&store.get(&format!("/v1/calls?{query}")).await.expect(200)), expected, "{query}");
    }
    assert_eq!(store.call(&format!("{:032}", 404)).await["outcome"], rejected(404));
    assert_eq!(store.push(PUSH_2, vec![call("session"), call("new")]).await[0]["verdict"], "duplicate");
    assert_eq!(store.push(PUSH_1, vec![call("session")]).await[0]["verdict"], "claimed");
    assert_eq!(store.get("/v1/parked").await.expect(200)["parked"][0]["raw"], "raw");
    close(store).await;
    // What 0.1.0 goes by is as it was.
    let new = Connection::open(&path).unwrap();
    let versions: i64 = new.query_row("SELECT sum(version) FROM _sqlx_migrations", [], |row| row.get(0)).unwrap();
    assert_eq!(versions, 1);
    run(&new, "PRAGMA user_version = 999");
    drop(new);
    assert!(refusal(&path).await.contains("was it written by a newer store, or is its disk full?"));
}

async fn refusal(path: &Path) -> String {
    use privatenumber_store::database::{Database, OpenOptions};
    Database::open(path, &OpenOptions::default()).await.unwrap_err().to_string()
}

async fn close(store: Store) {
    let Store { app, router, writer_task, .. } = store;
    let database = app.database.clone();
    drop((app, router));
    writer_task.await.unwrap().unwrap();
    database.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn p7_the_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, store, _intruder) = store_and_intruder().await;
    store.push(PUSH_1, vec![call("session")]).await;
    let files: Vec<PathBuf> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn commits_are_synced_and_the_log_is_written_ahead() {
    let (_directory, store, intruder) = store_and_intruder().await;
    let mode: String = intruder.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let calls: Vec<Value> = (0..50).map(|number| call(&number.to_string())).collect();
    assert_eq!(store.push(PUSH_1, calls).await.len(), 50);
    let count: i64 = intruder.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 50);
}
