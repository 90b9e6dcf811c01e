//! The embedded engine: one SQLite file in WAL mode, every commit synced to disk, one connection that writes and several
//! that only read.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};

use super::{EngineError, OpenError, OpenOptions};

/// The tables, in the order in which they came to be. A migration that was released is never edited.
const MIGRATIONS: [(i64, &str, &str); 1] = [(
    1,
    "calls, bindings, parked CDRs, events",
    include_str!("../../../migrations/sqlite/0001_calls_bindings_parked_events.sql"),
)];

/// How large the write-ahead log stays once everything in it is in the database, bytes.
const JOURNAL_MAX_BYTES: &str = "67108864";

/// An open SQLite database.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    /// One connection: SQLite has one writer at a time.
    writer: SqlitePool,
    /// Read-only connections; in memory the writer itself, because there the database is the connection.
    readers: SqlitePool,
    in_memory: bool,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let file = path.display().to_string();
        prepare_file(path)?;
        let base = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(options.busy_timeout)
            // A row can be megabytes, and a page ends when it has enough of them.
            .row_buffer_size(1)
            .disable_statement_logging();
        let write = base
            .clone()
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // A backup or a long query holds the log back; it shrinks to this afterwards.
            .pragma("journal_size_limit", JOURNAL_MAX_BYTES);
        let writer = pool(1)
            .connect_with(write)
            .await
            .map_err(|error| OpenError::Engine { file: file.clone(), reason: describe(&error) })?;
        migrate(&writer, &file).await?;
        let readers = pool(options.readers.max(1)).connect_lazy_with(base.read_only(true));
        Ok(Self { writer, readers, in_memory: false })
    }

    pub(crate) async fn open_in_memory() -> Result<Self, OpenError> {
        let file = ":memory:".to_owned();
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true).disable_statement_logging();
        let writer = pool(1)
            .connect_with(options)
            .await
            .map_err(|error| OpenError::Engine { file: file.clone(), reason: describe(&error) })?;
        migrate(&writer, &file).await?;
        Ok(Self { readers: writer.clone(), writer, in_memory: true })
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        if !self.in_memory
            && let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await
        {
            // Nothing is lost: the next start reads the write-ahead log.
            tracing::warn!(error = describe(&error), "the write-ahead log stays beside the database file");
        }
        self.writer.close().await;
    }
}

/// A pool whose connections live as long as it does.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(30))
}

/// Makes the directory and the file. What the file holds is personal, so only its owner may read it; the files SQLite
/// puts beside it take over its permissions.
fn prepare_file(path: &Path) -> Result<(), OpenError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)
            .map_err(|source| OpenError::Directory { directory: directory.display().to_string(), source })?;
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(OpenError::File { file: path.display().to_string(), source }),
    }
}

async fn migrate(writer: &SqlitePool, file: &str) -> Result<(), OpenError> {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.to_vec())
        .run(writer)
        .await
        .map_err(|error| OpenError::Migration { file: file.to_owned(), reason: error.to_string() })
}

impl From<sqlx::Error> for EngineError {
    fn from(error: sqlx::Error) -> Self {
        if concerns_one_statement(&error) {
            Self::Statement(describe(&error))
        } else {
            Self::Unavailable(describe(&error))
        }
    }
}

/// Whether the error lies in what the statement carried, so that others may succeed. Everything else (full, locked,
/// read-only, I/O, no connection) concerns the whole database.
fn concerns_one_statement(error: &sqlx::Error) -> bool {
    /// Primary result codes of SQLite: ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE.
    const OF_THE_STATEMENT: [i32; 5] = [1, 18, 19, 20, 25];
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i32>().ok());
            // The low byte of an extended code is the primary one.
            code.is_some_and(|code| OF_THE_STATEMENT.contains(&(code & 0xff)))
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// The error without values: SQLite names tables and columns; what a decoder says may quote, so it is left out.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            format!("{} (SQLite code {})", database.message(), database.code().unwrap_or_default())
        }
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index} cannot be read"),
        sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => "a value cannot be converted".to_owned(),
        other => other.to_string(),
    }
}
