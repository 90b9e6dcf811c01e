//! The database file on its disk: one store at a time uses it, nobody else may read it, and it has to stay where it is.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::database::{EngineError, OpenError};

/// What the owner of a file may do with it, and nobody else.
const OWNER_ONLY: u32 = 0o600;
/// What anybody else may do.
const OTHERS: u32 = 0o077;

/// The file of an open database. Holds its lock, which the system gives back when the process ends, however that ends.
///
/// The lock is on a file of its own: a lock on the database file would be lost with any handle that SQLite closes, or would lock SQLite
/// out. The lock file stays when the store stops, because removing it would let two stores lock two files of the same name.
#[derive(Debug)]
pub(super) struct DataFile {
    path: PathBuf,
    /// `None` once the database is closed.
    lock: Mutex<Option<File>>,
    known: Mutex<Known>,
    /// What the lock file says of how the database file looks.
    noted: Mutex<Option<Stamp>>,
    /// What SQLite reported when it found the file damaged.
    damage: OnceLock<String>,
}

/// Which files the store has open.
#[derive(Clone, Copy, Debug)]
struct Known {
    data: FileId,
    /// `None` while there is no write-ahead log.
    log: Option<FileId>,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// What the lock file says: who holds the lock, and which file the write-ahead log belongs to.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    pid: u32,
    host: String,
    /// The device is left out: its number may be another one after the machine was started again.
    inode: u64,
    /// How the file looked when the store wrote to it last. `None` while it writes: then nobody can tell.
    #[serde(default)]
    stamp: Option<Stamp>,
}

/// What changes when somebody writes to a file. Of use until the machine is started again: whether a time outlives that is up to the
/// file system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Stamp {
    boot: String,
    bytes: u64,
    modified: (i64, i64),
}

/// A record is written in one piece of so many bytes, so that it is whole also where the process is killed.
const RECORD_BYTES: usize = 512;

impl DataFile {
    /// Locks the database file at `path`, which exists, and sees that it can be used.
    ///
    /// # Errors
    /// [`OpenError::Held`] where another store has it, [`OpenError::ForeignLog`] where the write-ahead log beside it belongs to another
    /// file.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |file: &Path| {
            let file = file.display().to_string();
            move |source| OpenError::File { file, source }
        };
        // Whatever links lead here, there is one lock.
        let path = fs::canonicalize(path).map_err(failed(path))?;
        let lock_path = beside(&path, ".lock");
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY);
        let mut lock = options.open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = match read(&mut lock) {
                    Some(Record { pid, host, .. }) => format!("process {pid} on {host}"),
                    None => "another process".to_owned(),
                };
                return Err(OpenError::Held { file: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let data = id(&path).map_err(failed(&path))?;
        if let Some(error) = foreign_log_of(&path, &lock_path, &mut lock) {
            return Err(error);
        }
        for suffix in ["", "-wal", "-shm", ".lock"] {
            mend_mode(&beside(&path, suffix));
        }
        let known = Mutex::new(Known { data, log: None });
        Ok(Self { path, lock: Mutex::new(Some(lock)), known, noted: Mutex::default(), damage: OnceLock::new() })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes which files are used, in the lock file too. SQLite has them open by now.
    pub(super) fn record(&self) -> io::Result<()> {
        let known = Known { data: id(&self.path)?, log: id(&beside(&self.path, "-wal")).ok() };
        *lock(&self.known) = known;
        let mut noted = lock(&self.noted);
        *noted = stamp(&self.path);
        self.write_record(noted.clone())
    }

    /// Notes in the lock file that the database file is about to change: SQLite is to move there what the write-ahead log holds.
    pub(super) fn will_change(&self) {
        self.note(lock(&self.noted), None);
    }

    /// Notes in the lock file how the database file looks after a change.
    pub(super) fn has_changed(&self) {
        self.note(lock(&self.noted), stamp(&self.path));
    }

    /// As [`DataFile::has_changed`], if another program has changed the file: one that writes to the database may move there what the log
    /// holds.
    pub(super) fn may_have_changed(&self) {
        let noted = lock(&self.noted);
        if noted.is_some() && *noted != stamp(&self.path) {
            self.note(noted, stamp(&self.path));
        }
    }

    fn note(&self, mut noted: MutexGuard<'_, Option<Stamp>>, stamp: Option<Stamp>) {
        noted.clone_from(&stamp);
        if let Err(error) = self.write_record(stamp) {
            tracing::warn!(%error, "the lock file beside the database cannot be written");
        }
    }

    fn write_record(&self, stamp: Option<Stamp>) -> io::Result<()> {
        let Some(file) = &mut *lock(&self.lock) else { return Ok(()) };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let inode = lock(&self.known).data.inode;
        let mut record = serde_json::to_vec(&Record { pid: std::process::id(), host, inode, stamp })?;
        record.resize(RECORD_BYTES - 1, b' ');
        record.push(b'\n');
        file.rewind()?;
        file.write_all(&record)?;
        file.sync_data()
    }

    /// Notes that SQLite found the file damaged. From now on [`DataFile::check`] fails.
    pub(super) fn is_damaged(&self, reason: &str) {
        if self.damage.set(reason.to_owned()).is_ok() {
            tracing::error!(
                reason,
                "the database file is damaged: nothing is served until the store is restarted; stop it and run `privatenumber-store check`"
            );
        }
    }

    /// Whether what is committed goes into the file that the next start opens.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        self.check_data()?;
        let log = id(&beside(&self.path, "-wal")).ok();
        let mut known = lock(&self.known);
        match known.log {
            None => known.log = log,
            known if known == log => {}
            Some(_) => return Err(away(&self.path, "-wal", log.is_some())),
        }
        Ok(())
    }

    /// As [`DataFile::check`], where no connection is open and SQLite may have removed its write-ahead log.
    pub(super) fn check_before_opening(&self) -> Result<(), EngineError> {
        self.check_data()?;
        lock(&self.known).log = None;
        Ok(())
    }

    fn check_data(&self) -> Result<(), EngineError> {
        if let Some(reason) = self.damage.get() {
            return Err(EngineError::Unavailable(format!(
                "the database file was found damaged ({reason}); stop the store and run `privatenumber-store check`"
            )));
        }
        let data = id(&self.path).ok();
        if data == Some(lock(&self.known).data) { Ok(()) } else { Err(away(&self.path, "", data.is_some())) }
    }

    /// Lets another store have the file.
    pub(super) fn unlock(&self) {
        *lock(&self.lock) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn away(path: &Path, suffix: &str, replaced: bool) -> EngineError {
    let (file, what) = (beside(path, suffix), if replaced { "was replaced by another file" } else { "was removed" });
    let file = file.display();
    EngineError::Unavailable(format!(
        "{file} {what} while the store runs; put the same file back, or restart the store to use what is there now"
    ))
}

/// The file that is called as `path` with `suffix` behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}

fn read(lock: &mut File) -> Option<Record> {
    let mut text = Vec::new();
    lock.rewind().ok()?;
    lock.take(RECORD_BYTES as u64).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// That the write-ahead log beside `path` belongs to another file, if so. Also says so while a store uses the file.
pub(super) fn foreign_log(path: &Path) -> Option<OpenError> {
    let path = fs::canonicalize(path).ok()?;
    let lock_path = beside(&path, ".lock");
    let mut lock = File::open(&lock_path).ok()?;
    foreign_log_of(&path, &lock_path, &mut lock)
}

fn foreign_log_of(path: &Path, lock_path: &Path, lock: &mut File) -> Option<OpenError> {
    let log = beside(path, "-wal");
    let log_is_empty = fs::metadata(&log).map_or(true, |log| log.len() == 0);
    let last = read(lock)?;
    let is_the_same = id(path).is_ok_and(|now| now.inode == last.inode);
    // Somebody may have written over the file: a copy keeps what it is copied to.
    let is_unchanged = match (last.stamp, stamp(path)) {
        (Some(last), Some(now)) => last == now || last.boot != now.boot,
        _ => true,
    };
    if log_is_empty || (is_the_same && is_unchanged) {
        return None;
    }
    let [file, log, lock] = [path, &log, lock_path].map(|path| path.display().to_string());
    Some(OpenError::ForeignLog { file, log, lock })
}

fn stamp(path: &Path) -> Option<Stamp> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp { boot, bytes: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
}

/// Whether somebody other than the owner may do something with the file: its mode.
pub(super) fn open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

/// Lets only the owner read and write the file, which holds personal data.
fn mend_mode(path: &Path) {
    let Some(mode) = open_to_others(path) else { return };
    let file = path.display();
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => tracing::warn!(
            %file,
            was = format_args!("{mode:o}"),
            "others could use a file with personal data: now only its owner can"
        ),
        Err(error) => tracing::warn!(
            %file,
            mode = format_args!("{mode:o}"),
            %error,
            "others can use a file with personal data, and its mode cannot be changed: let the store's user own it"
        ),
    }
}
