//! The connections that only read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::file::DataFile;
use super::{FLAGS, STATEMENTS, Writing, closed};
use crate::database::{EngineError, OpenOptions};

/// How long a query waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// What answers queries.
#[derive(Clone, Debug)]
pub(super) enum Readers {
    /// Read-only connections, each used on a thread that may wait for the disk.
    File(Arc<Pool>),
    /// In memory the database is the connection that writes, and nothing waits for a disk.
    Memory(Arc<Mutex<Writing>>),
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) file: Arc<DataFile>,
    busy_timeout: Duration,
    /// One permit for each connection that may be open.
    room: Arc<Semaphore>,
    connections: u32,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn of_file(file: Arc<DataFile>, options: &OpenOptions) -> Self {
        let connections = options.readers.max(1);
        let room = Arc::new(Semaphore::new(connections as usize));
        let busy_timeout = options.busy_timeout;
        Self::File(Arc::new(Pool { file, busy_timeout, room, connections, idle: Mutex::default() }))
    }

    pub(super) fn of_memory(writing: Arc<Mutex<Writing>>) -> Self {
        Self::Memory(writing)
    }

    /// Asks `query` of a connection.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let pool = match self {
            Self::File(pool) => Arc::clone(pool),
            Self::Memory(writing) => {
                let writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
                return query(writing.connection.as_ref().ok_or_else(closed)?);
            }
        };
        let permit = match tokio::time::timeout(PATIENCE, Arc::clone(&pool.room).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| closed())?,
            Err(_) => return Err(EngineError::Unavailable("all connections that read are busy".to_owned())),
        };
        let task = tokio::task::spawn_blocking(move || {
            pool.file.check()?;
            let connection = pool.take()?;
            let result = query(&connection);
            if let Err(EngineError::Damaged(reason)) = &result {
                pool.file.is_damaged(reason);
            }
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|_| Err(EngineError::Unavailable("a query ended in its middle".to_owned())))
    }

    /// Closes the connections once their queries have ended; further queries fail.
    pub(super) async fn close(&self) {
        let Self::File(pool) = self else { return };
        if let Ok(all) = pool.room.acquire_many(pool.connections).await {
            all.forget();
            pool.room.close();
        }
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Pool {
    fn take(&self) -> Result<Connection, EngineError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Ok(open(self.file.path(), self.busy_timeout)?),
        }
    }
}

fn open(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
