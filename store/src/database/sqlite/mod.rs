//! The embedded engine: one SQLite file in WAL mode, every commit synced to disk, one connection that writes and several that only
//! read.

mod check;
mod empty_handed;
mod file;
mod migrate;
mod read;
mod readers;
mod signatures;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{EngineError, OpenError, OpenOptions};
pub(crate) use check::check;
use empty_handed::EmptyHanded;
use file::DataFile;
use readers::Readers;
use signatures::Signatures;

/// How large the write-ahead log stays once everything in it is in the database, bytes.
const JOURNAL_MAX_BYTES: i64 = 64 << 20;

/// After how many pages of 4 KiB in the write-ahead log they are brought into the database: as many as the log may keep. The pages of the
/// indexes change again and again, and are brought there once for many commits.
const CHECKPOINT_PAGES: i64 = 16_000;

/// After how many further pages it is tried again, where a reader kept them from being brought over.
const CHECKPOINT_AGAIN_PAGES: i64 = 1_000;

/// Pages the writing connection keeps in memory, KiB. The indexes are written at random places. More does not help: pages that are not
/// here are in the system's memory, and SQLite walks over all it keeps at each commit in which the pages of an index were split.
const CACHE_KIB: i64 = 8 << 10;

/// Prepared statements each connection keeps.
const STATEMENTS: usize = 64;

/// An open SQLite database.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    writing: Arc<Mutex<Writing>>,
    readers: Readers,
}

/// The one connection that writes; SQLite has one writer at a time.
#[derive(Debug)]
pub(crate) struct Writing {
    /// `None` once the database is closed, or when a connection was given up.
    connection: Option<Connection>,
    /// Where the signatures that are remembered stand.
    signatures: Signatures,
    /// The workers that were told that there are no works.
    empty_handed: EmptyHanded,
    place: Place,
    /// How many pages stayed in the write-ahead log when it was last brought over, because readers still needed the file as it was.
    left: i64,
}

/// What a transaction gets: the connection, the file (`None` in memory), and what is remembered beside it.
type Connected<'a> = (&'a mut Option<Connection>, Option<&'a DataFile>, &'a mut Signatures, &'a mut EmptyHanded);

/// Where the database is.
#[derive(Clone, Debug)]
enum Place {
    File {
        file: Arc<DataFile>,
        busy_timeout: Duration,
    },
    /// The database is the connection.
    Memory,
    Closed,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        prepare_file(path)?;
        let file = Arc::new(DataFile::lock(path)?);
        let unusable = |error| OpenError::Engine { file: name.clone(), reason: describe(&error) };
        let mut connection = connect(file.path(), options.busy_timeout).map_err(unusable)?;
        if !migrate::is_ours(&connection).map_err(unusable)? {
            return Err(OpenError::Foreign { file: name });
        }
        configure_writer(&connection).map_err(unusable)?;
        migrate::migrate(&mut connection).map_err(|reason| OpenError::Migration { file: name.clone(), reason })?;
        file.record().map_err(|source| OpenError::File { file: name, source })?;
        let place = Place::File { file: Arc::clone(&file), busy_timeout: options.busy_timeout };
        let writing = Arc::new(Mutex::new(Writing {
            connection: Some(connection),
            signatures: Signatures::default(),
            empty_handed: EmptyHanded::default(),
            place,
            left: 0,
        }));
        let readers = Readers::of_file(file, options);
        Ok(Self { writing, readers })
    }

    pub(crate) fn open_in_memory() -> Result<Self, OpenError> {
        let file = || ":memory:".to_owned();
        let mut connection = Connection::open_in_memory()
            .and_then(|connection| {
                connection.pragma_update(None, "foreign_keys", true)?;
                connection.set_prepared_statement_cache_capacity(STATEMENTS);
                Ok(connection)
            })
            .map_err(|error| OpenError::Engine { file: file(), reason: describe(&error) })?;
        migrate::migrate(&mut connection).map_err(|reason| OpenError::Migration { file: file(), reason })?;
        let writing = Arc::new(Mutex::new(Writing {
            connection: Some(connection),
            signatures: Signatures::default(),
            empty_handed: EmptyHanded::default(),
            place: Place::Memory,
            left: 0,
        }));
        Ok(Self { readers: Readers::of_memory(Arc::clone(&writing)), writing })
    }

    /// The connection that writes, as soon as nobody else uses it.
    pub(crate) fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it lives in memory, where a commit waits for nothing.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.readers, Readers::Memory(_))
    }

    /// Whether the file is in its place and was not found damaged.
    pub(crate) fn check_file(&self) -> Result<(), EngineError> {
        match &self.readers {
            Readers::File(pool) => {
                pool.file.check()?;
                pool.file.may_have_changed();
                Ok(())
            }
            Readers::Memory(_) => Ok(()),
        }
    }

    /// Brings everything into the file and closes it.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        let writing = Arc::clone(&self.writing);
        let close = move || writing.lock().unwrap_or_else(PoisonError::into_inner).close();
        if self.is_in_memory() {
            close();
        } else if let Err(error) = tokio::task::spawn_blocking(close).await {
            tracing::error!(%error, "the database was not closed in good order");
        }
    }
}

impl Writing {
    /// The connection, the file it writes to, and the signatures in it; opens another connection if one was given up.
    fn connection(&mut self) -> Result<Connected<'_>, EngineError> {
        let file = match (&self.connection, &self.place) {
            (Some(_), Place::File { file, .. }) => {
                file.check()?;
                Some(&**file)
            }
            (None, Place::File { file, busy_timeout }) => {
                file.check_before_opening()?;
                self.connection = Some(open_writer(file.path(), *busy_timeout)?);
                Some(&**file)
            }
            (Some(_), Place::Memory | Place::Closed) => None,
            (None, Place::Memory | Place::Closed) => return Err(closed()),
        };
        Ok((&mut self.connection, file, &mut self.signatures, &mut self.empty_handed))
    }

    /// Brings what the write-ahead log holds into the database file, once it is [`CHECKPOINT_PAGES`]. What readers still need stays. Noted
    /// in the lock file, so that a start can tell a file that somebody else wrote over.
    pub(crate) fn bring_over(&mut self) {
        let (Some(connection), Place::File { file, .. }) = (&self.connection, &self.place) else { return };
        let pages = |mode: &str| -> rusqlite::Result<i64> {
            connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], |row| {
                let (log, done): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(log.saturating_sub(done))
            })
        };
        let due = CHECKPOINT_PAGES.max(self.left.saturating_add(CHECKPOINT_AGAIN_PAGES));
        if !pages("NOOP").is_ok_and(|pages| pages >= due) {
            return;
        }
        file.will_change();
        match pages("PASSIVE") {
            Ok(left) => self.left = left,
            Err(error) => {
                tracing::debug!(error = describe(&error), "the write-ahead log was not brought into the database file");
            }
        }
        file.has_changed();
    }

    fn close(&mut self) {
        let place = std::mem::replace(&mut self.place, Place::Closed);
        let connection = self.connection.take();
        let Place::File { file, .. } = place else { return };
        if let Some(connection) = connection {
            file.will_change();
            if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                // Nothing is lost: the next start reads the write-ahead log.
                tracing::warn!(error = describe(&error), "the write-ahead log stays beside the database file");
            }
            drop(connection);
            file.has_changed();
        }
        file.unlock();
    }
}

fn closed() -> EngineError {
    EngineError::Unavailable("the database is closed".to_owned())
}

/// A connection that nobody else uses at the same time, so that SQLite need not lock it.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

fn open_writer(path: &Path, busy_timeout: Duration) -> Result<Connection, rusqlite::Error> {
    let connection = connect(path, busy_timeout)?;
    configure_writer(&connection)?;
    Ok(connection)
}

/// A connection that may write, and has changed nothing yet: not even when it is closed.
fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // A backup or a long query holds the log back; it shrinks to this afterwards.
    connection.pragma_update(None, "journal_size_limit", JOURNAL_MAX_BYTES)?;
    // The store does it itself, see `Writing::bring_over`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
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

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        if concerns_one_statement(&error) {
            Self::Statement(describe(&error))
        } else if is_damage(&error) {
            Self::Damaged(describe(&error))
        } else {
            Self::Unavailable(describe(&error))
        }
    }
}

/// Whether the error lies in what the statement carried, so that others may succeed. Everything else (full, locked,
/// read-only, I/O, no connection) concerns the whole database.
fn concerns_one_statement(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    /// Primary result codes of SQLite: ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE.
    const OF_THE_STATEMENT: [i32; 5] = [1, 18, 19, 20, 25];
    match error {
        // The low byte of an extended code is the primary one.
        Error::SqliteFailure(error, _) => OF_THE_STATEMENT.contains(&(error.extended_code & 0xff)),
        Error::SqlInputError { error, .. } => OF_THE_STATEMENT.contains(&(error.extended_code & 0xff)),
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::ToSqlConversionFailure(_)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// Whether SQLite found the file damaged: CORRUPT or NOTADB.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(error, _) if [11, 26].contains(&(error.extended_code & 0xff)))
}

/// The error without values: SQLite names tables and columns; what a conversion says may quote, so it is left out.
fn describe(error: &rusqlite::Error) -> String {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(error, message) => {
            let message = message.clone().unwrap_or_else(|| error.to_string());
            format!("{message} (SQLite code {})", error.extended_code)
        }
        Error::SqlInputError { error, msg, .. } => format!("{msg} (SQLite code {})", error.extended_code),
        Error::FromSqlConversionFailure(index, ..)
        | Error::IntegralValueOutOfRange(index, _)
        | Error::InvalidColumnType(index, ..) => format!("column {index} cannot be read"),
        Error::ToSqlConversionFailure(_) | Error::Utf8Error(..) => "a value cannot be converted".to_owned(),
        other => other.to_string(),
    }
}
