//! The database: commits works, answers queries. Knows no clock, no HTTP and no metrics; all SQL is in [`sqlite`].

mod apply;
mod binding_rows;
mod group;
mod import;
mod keeping;
mod later_cdrs;
mod pause;
mod query;
mod release;
mod replays;
mod sqlite;
mod take;
mod transaction;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use privatenumber_contract::{
    BusinessView, CallDetail, CallPage, EventPage, ParkedPage, RegisteredBinding, ReplayPage,
};

use group::Upkeep;
pub use keeping::{Dropped, Keeping};
pub use query::{CallFilter, HISTORY_MAX, PAGE_BYTES, Page, ParkedText, Since, WaitingCalls};
use transaction::ReadEngine;
pub(crate) use work::SCHEMES;
pub use work::{
    BindingDone, BindingWork, CallDone, CallWork, ImportDone, ImportWork, NewCall, NotKept, NotReleasable,
    OutcomeResult, OutcomesDone, ParkedReleaseResult, ParkedReleaseWork, PauseWork, PushDone, PushWork, Readiness,
    Received, ReleaseResult, ReleaseWork, ReplayDone, Requester, SignatureWork, Slot, TextWork, Unit, Waiting, Work,
    WorksDone,
};

/// Why a work was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The database cannot be written now: full, locked, read-only, away. Nothing was committed; a later attempt may
    /// succeed.
    #[error("the database cannot be written: {0}")]
    Unavailable(String),
    /// This work cannot be stored, now or later. Nothing of it was committed.
    #[error("the database refused the work: {0}")]
    Refused(String),
    /// The commit itself failed: nobody knows whether it is durable.
    #[error("the commit failed, its result is unknown: {0}")]
    Unknown(String),
}

/// Why a query was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the database cannot be read: {0}")]
pub struct ReadError(String);

/// What an engine reports of a statement before the commit. Texts come from the engine and hold no values.
#[derive(Clone, Debug)]
pub(crate) enum EngineError {
    /// The database as a whole cannot be written or read now.
    Unavailable(String),
    /// The database is damaged: nothing that is read from it can be relied on.
    Damaged(String),
    /// This statement failed for what it carried.
    Statement(String),
    /// Another writer came in between. The transaction is to be tried again.
    Conflict,
}

/// The engine reported an error of COMMIT itself.
#[derive(Clone, Debug)]
pub(crate) struct CommitUnknown(String);

impl EngineError {
    /// A stored value that cannot be read back, or one that cannot be written as JSON.
    pub(crate) fn corrupt(error: serde_json::Error) -> Self {
        // Only where, not what: serde's own text may quote the value.
        Self::Statement(format!("a value is not the JSON it should be (column {})", error.column()))
    }
}

impl From<CommitUnknown> for WriteError {
    fn from(error: CommitUnknown) -> Self {
        Self::Unknown(error.0)
    }
}

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unavailable(reason) | EngineError::Damaged(reason) | EngineError::Statement(reason) => {
                Self(reason)
            }
            EngineError::Conflict => Self("another writer came in between".to_owned()),
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the file is not there and cannot be made.
    #[error("cannot create the directory {directory}: {source}; create it, or name another file with --data")]
    Directory {
        /// The directory.
        directory: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file cannot be opened or made.
    #[error("cannot open {file}: {source}; check its permissions, or name another file with --data")]
    File {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The engine cannot use the file.
    #[error(
        "cannot use {file} as a database: {reason}; check that it is a database of this store, that its disk has room and that no other process locks it; `privatenumber-store check` finds damage"
    )]
    Engine {
        /// The file.
        file: String,
        /// What the engine says.
        reason: String,
    },
    /// Another store has the file.
    #[error("{file} is used by {holder}; stop that store, or name another file with --data")]
    Held {
        /// The file.
        file: String,
        /// Who has it.
        holder: String,
    },
    /// The file is a database of another application.
    #[error("{file} is a database of another application, nothing in it was changed; name another file with --data")]
    Foreign {
        /// The file.
        file: String,
    },
    /// The write-ahead log belongs to another file than the one it is beside.
    #[error(
        "{file} is not the file that {log} belongs to, or somebody else wrote to it; using both would damage it. If {file} is a backup that was put in place, \
         remove {log} and the file ending in -shm, then start again. If both were moved here together, or another version of the store used both, remove {lock}, then start again"
    )]
    ForeignLog {
        /// The database file.
        file: String,
        /// Its write-ahead log.
        log: String,
        /// The lock file, which says which file the log belongs to.
        lock: String,
    },
    /// The tables cannot be brought up to date.
    #[error(
        "cannot bring the tables of {file} up to date: {reason}; was it written by a newer store, or is its disk full?"
    )]
    Migration {
        /// The file.
        file: String,
        /// What the migrator says.
        reason: String,
    },
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How long to wait for a lock that another process holds before the database counts as unavailable.
    pub busy_timeout: Duration,
    /// How many connections answer queries.
    pub readers: u32,
    /// How long to wait for another store to let go of the file.
    pub lock_wait: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), readers: 4, lock_wait: Duration::ZERO }
    }
}

/// How often a store that waits for the file of another one tries again.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// An open database.
#[derive(Clone, Debug)]
pub struct Database {
    engine: Engine,
    upkeep: Arc<Upkeep>,
}

/// The engines there are.
#[derive(Clone, Debug)]
enum Engine {
    Sqlite(sqlite::Sqlite),
}

impl Database {
    /// Opens the SQLite file at `path`, makes it (readable by its owner only) and its directory if need be, and brings its
    /// tables up to date. Waits for another store that has the file.
    ///
    /// # Errors
    /// When the file cannot be made, is not a database of this store, or was written by a newer store; when another store still has it.
    pub async fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let deadline = Instant::now() + options.lock_wait;
        let mut said = false;
        loop {
            match sqlite::Sqlite::open(path, options) {
                Err(OpenError::Held { file, holder }) if Instant::now() < deadline => {
                    if !said {
                        said = true;
                        tracing::info!(file, holder, "waiting for another store to let go of the database file");
                    }
                    tokio::time::sleep(LOCK_INTERVAL).await;
                }
                opened => return opened.map(|sqlite| Self::over(Engine::Sqlite(sqlite))),
            }
        }
    }

    /// Reads the whole SQLite file at `path`, also while a store uses it, and changes nothing in it. Passes to `progress` what it does;
    /// returns what is wrong, in sentences without values: nothing where all is well. Blocks the thread.
    pub fn check(path: &Path, progress: &mut dyn FnMut(&str)) -> Vec<String> {
        sqlite::check(path, progress)
    }

    /// Whether the database can be used as it is: its file is in its place, and was not found damaged.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_file(&self) -> Result<(), ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.check_file()?),
        }
    }

    /// Opens a database that lives as long as the value: for tests and simulations.
    ///
    /// # Errors
    /// When SQLite cannot be initialised.
    pub async fn open_in_memory() -> Result<Self, OpenError> {
        sqlite::Sqlite::open_in_memory().map(|sqlite| Self::over(Engine::Sqlite(sqlite)))
    }

    fn over(engine: Engine) -> Self {
        Self { engine, upkeep: Arc::new(Upkeep::new(Keeping::default())) }
    }

    /// The same database, which keeps what it may forget as `keeping` says.
    #[must_use]
    pub fn keeping(self, keeping: Keeping) -> Self {
        Self { upkeep: Arc::new(Upkeep::new(keeping)), ..self }
    }

    /// Commits `works` durably, in one transaction if it can, and fills in what each came to; one that cannot be stored does not harm
    /// the others. The result of a work that nobody waits for any more stays empty: it is not committed.
    ///
    /// `now_after` is given the latest time that is recorded and returns the time, which is never before it; both epoch milliseconds. It
    /// is asked once the transaction is open. Blocks the thread until the disk has it all. Returns what was dropped to keep within
    /// [`Keeping`].
    pub fn commit(&self, works: &mut [Waiting<'_>], now_after: &dyn Fn(i64) -> i64) -> Dropped {
        match &self.engine {
            Engine::Sqlite(sqlite) => {
                let mut writing = sqlite.writing();
                let dropped = group::commit(&mut *writing, works, now_after, &self.upkeep);
                writing.bring_over();
                dropped
            }
        }
    }

    /// The latest time that is recorded, epoch milliseconds; the earliest there is where none is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latest_time(&self) -> Result<i64, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.latest_time().await?),
        }
    }

    /// Whether a commit waits for a disk or a network, so that it needs a thread of its own.
    pub fn commits_wait(&self) -> bool {
        match &self.engine {
            Engine::Sqlite(sqlite) => !sqlite.is_in_memory(),
        }
    }

    /// The calls that pass `filter`, newest first, as they stand at `now_ms` (epoch milliseconds).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn calls(&self, filter: &CallFilter, page: &Page, now_ms: i64) -> Result<CallPage, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.calls(filter, page, now_ms).await?),
        }
    }

    /// One call as it stands at `now_ms` (epoch milliseconds).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn call(&self, call_id: &str, now_ms: i64) -> Result<Option<CallDetail>, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.call(call_id, now_ms).await?),
        }
    }

    /// The latest version of a binding; with `history` also those before it, [`HISTORY_MAX`] or about [`PAGE_BYTES`] at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn binding(&self, subscription_id: &str, history: bool) -> Result<Option<RegisteredBinding>, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.binding(subscription_id, history).await?),
        }
    }

    /// Parked CDRs, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn parked(&self, page: &Page) -> Result<ParkedPage, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.parked(page).await?),
        }
    }

    /// One parked CDR, to be read again.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn parked_text(&self, number: i64) -> Result<Option<ParkedText>, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.parked_text(number).await?),
        }
    }

    /// The ids of the newest calls that pass `filter`, but for those whose data was erased; at most `most`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn releasable(&self, filter: &CallFilter, most: u32, now_ms: i64) -> Result<Vec<String>, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.releasable(filter, most, now_ms).await?),
        }
    }

    /// How many calls wait at `now_ms` (epoch milliseconds).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn waiting(&self, now_ms: i64) -> Result<WaitingCalls, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.waiting(now_ms).await?),
        }
    }

    /// How a business stands.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn business(&self, ak: &str) -> Result<BusinessView, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.business(ak).await?),
        }
    }

    /// Status events, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, page: &Page) -> Result<EventPage, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.events(page).await?),
        }
    }

    /// Pushes whose signature came with other texts before, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn replays(&self, page: &Page) -> Result<ReplayPage, ReadError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(sqlite.replays(page).await?),
        }
    }

    /// Brings everything into the database file and closes it.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.close().await,
        }
    }
}
