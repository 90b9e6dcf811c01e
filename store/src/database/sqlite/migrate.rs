//! Brings the tables of a file up to date.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha384};

use super::describe;

/// The tables, in the order in which they came to be. A migration that was released is never edited, and adds only: the release before
/// it must run on its tables.
pub(super) const MIGRATIONS: [(i64, &str); 6] = [
    (1, include_str!("../../../migrations/sqlite/0001_calls_bindings_parked_events.sql")),
    (2, include_str!("../../../migrations/sqlite/0002_texts_of_cdrs.sql")),
    (3, include_str!("../../../migrations/sqlite/0003_waiting_calls.sql")),
    (4, include_str!("../../../migrations/sqlite/0004_versions_replays_event_bytes.sql")),
    (5, include_str!("../../../migrations/sqlite/0005_paused_businesses.sql")),
    (6, include_str!("../../../migrations/sqlite/0006_undelivered_calls.sql")),
];

/// The one version that is recorded the way 0.1.0 did it, which refuses a file where there is another one.
const VERSION_OF_0_1_0: i64 = 1;

/// Where 0.1.0 recorded its version; later stores go by `user_version`.
const RECORD_OF_0_1_0: &str = "\
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// Marks a file as one of this store, "PNGS"; see `application_id` in SQLite's file format. 0.1.0 left it at 0.
pub(super) const APPLICATION_ID: i32 = 0x504e_4753;

/// Whether the file is one of this store, or holds nothing yet.
pub(super) fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let of_0_1_0 = "SELECT count(*) FROM sqlite_schema \
                    WHERE type = 'table' AND name IN ('calls', 'bindings', 'parked', 'events', '_sqlx_migrations')";
    let of_0_1_0: i64 = connection.query_row(of_0_1_0, [], |row| row.get(0))?;
    Ok(id == APPLICATION_ID || (id == 0 && (tables == 0 || of_0_1_0 == 5)))
}

/// Brings the tables up to date, in one transaction, and marks the file as ours.
///
/// # Errors
/// What went wrong, in words without values.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let latest = latest();
    let id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(|error| describe(&error))?;
    if version(connection)? == latest && id == APPLICATION_ID {
        return Ok(());
    }
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| describe(&error))?;
    // Another process may have been here meanwhile.
    let current = version(&transaction)?;
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > current) {
        apply(&transaction, *version, sql).map_err(|error| describe(&error))?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(|error| describe(&error))?;
    transaction.commit().map_err(|error| describe(&error))
}

fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, _)| *version)
}

fn apply(connection: &Connection, version: i64, sql: &str) -> rusqlite::Result<()> {
    connection.execute_batch(sql)?;
    if version == VERSION_OF_0_1_0 {
        connection.execute_batch(RECORD_OF_0_1_0)?;
        connection.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (?1, 'calls, bindings, parked CDRs, events', 1, ?2, 0)",
            params![version, Sha384::digest(sql).as_slice()],
        )?;
    }
    connection.pragma_update(None, "user_version", version)
}

/// The version of the tables; 0 where there are none.
///
/// # Errors
/// When a newer store made them, or they cannot be read.
pub(super) fn version(connection: &Connection) -> Result<i64, String> {
    let latest = latest();
    let read = || {
        let user_version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'";
        let recorded: Option<i64> = match connection.query_row(exists, [], |_| Ok(())).optional()? {
            Some(()) => connection.query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| row.get(0))?,
            None => None,
        };
        Ok((user_version, recorded.unwrap_or_default()))
    };
    let (user_version, recorded) = read().map_err(|error: rusqlite::Error| describe(&error))?;
    if user_version > latest || recorded > VERSION_OF_0_1_0 {
        let version = user_version.max(recorded);
        return Err(format!("its tables have version {version}, this store knows those up to {latest}"));
    }
    Ok(user_version.max(recorded))
}
