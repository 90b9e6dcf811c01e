//! What is remembered of signatures: a table for each day, to which each transaction appends one row, and which is dropped as a whole.
//!
//! A later form of these tables needs another name: a store reads all tables of this name when it starts to remember.
//!
//! Where a signature stands is found in memory. An index on disk would be written at a random page for every push, which costs a fifth of
//! all the CPU time that a push takes.

use std::collections::{BTreeMap, HashMap};

use privatenumber_contract::PushId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::database::EngineError;
use crate::database::transaction::{SignatureRow, StoredSignature};

const DAY_MS: i64 = 86_400_000;
const PREFIX: &str = "signatures_";
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'signatures_*'";

/// How many signatures are remembered at most; then the earliest day is forgotten early. Each takes up to 40 bytes of memory.
const SIGNATURES_MAX: usize = 4_000_000;

/// Bytes of an entry of a row: key, hash of the texts, push id, and when it was received, big-endian.
const ENTRY: usize = 16 + 16 + 16 + 8;

/// Where the signatures stand.
#[derive(Debug)]
pub(super) struct Signatures {
    /// `None` until the first is asked for.
    days: Option<BTreeMap<i64, Day>>,
    most: usize,
}

impl Default for Signatures {
    fn default() -> Self {
        Self { days: None, most: SIGNATURES_MAX }
    }
}

/// By the first half of its key, where each signature of the day stands.
type Day = HashMap<u64, Place>;

#[derive(Clone, Copy, Debug)]
struct Place {
    row: u32,
    entry: u32,
}

/// What a transaction changes of the tables; it counts once that is committed.
#[derive(Debug)]
pub(super) struct Change {
    today: i64,
    added: Vec<(u64, Place)>,
    dropped: Option<i64>,
}

impl Signatures {
    /// Remembers `rows`, see [`Transaction`](crate::database::transaction::Transaction).
    pub(super) fn remember(
        &mut self,
        connection: &Connection,
        rows: &[SignatureRow<'_>],
        now_ms: i64,
        kept_days: u32,
    ) -> Result<(Vec<Option<StoredSignature>>, Change), EngineError> {
        let days = match &mut self.days {
            Some(days) => days,
            days => days.insert(load(connection)?),
        };
        let today = now_ms.div_euclid(DAY_MS).max(0);
        let kept_from = if kept_days == 0 { i64::MAX } else { today.saturating_sub(i64::from(kept_days)) };
        let mut change = Change { today, added: Vec::new(), dropped: None };
        // One table in a transaction, because the writer waits for it.
        let full = days.values().map(Day::len).sum::<usize>() >= self.most;
        if let Some((earliest, _)) = days.first_key_value()
            && (*earliest < kept_from || (full && *earliest < today))
        {
            connection.execute_batch(&format!("DROP TABLE {PREFIX}{earliest}"))?;
            change.dropped = Some(*earliest);
        }
        let kept_from = change.dropped.map_or(kept_from, |dropped| kept_from.max(dropped.saturating_add(1)));
        let mut found = Vec::with_capacity(rows.len());
        let mut entries = Vec::new();
        for row in rows {
            let fingerprint = fingerprint(row.key);
            let place = days.range(kept_from..).find_map(|(day, places)| Some((*day, *places.get(&fingerprint)?)));
            found.push(match place {
                Some((day, place)) => read(connection, day, place)?.filter(|(key, _)| key == row.key).map(|(_, of)| of),
                None => {
                    entries.push((fingerprint, row));
                    None
                }
            });
        }
        // Of two keys of one transaction with the same first half only the second is found again.
        if kept_days > 0 && !full && !entries.is_empty() {
            change.added = append(connection, today, !days.contains_key(&today), &entries)?;
        }
        Ok((found, change))
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self, change: Change) {
        let Some(days) = &mut self.days else { return };
        if let Some(day) = change.dropped {
            days.remove(&day);
        }
        if !change.added.is_empty() {
            days.entry(change.today).or_default().extend(change.added);
        }
    }

    /// Nobody knows whether the transaction was committed: the tables tell.
    pub(super) fn forget(&mut self) {
        self.days = None;
    }
}

fn fingerprint(key: &[u8; 16]) -> u64 {
    key.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}

/// Appends a row with all `entries` to today's table, which it makes if need be.
fn append(
    connection: &Connection,
    today: i64,
    new_day: bool,
    entries: &[(u64, &SignatureRow<'_>)],
) -> Result<Vec<(u64, Place)>, EngineError> {
    if new_day {
        let create = "(id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT";
        connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {PREFIX}{today} {create}"))?;
    }
    let mut bytes = Vec::with_capacity(entries.len().saturating_mul(ENTRY));
    for (_, row) in entries {
        bytes.extend_from_slice(row.key);
        bytes.extend_from_slice(row.texts);
        bytes.extend_from_slice(row.push_id.as_bytes());
        bytes.extend_from_slice(&row.received_at.to_be_bytes());
    }
    connection.prepare_cached(&format!("INSERT INTO {PREFIX}{today} (entries) VALUES (?1)"))?.execute([bytes])?;
    // A day with more rows than that has long been full.
    let row = u32::try_from(connection.last_insert_rowid()).unwrap_or(u32::MAX);
    Ok(entries.iter().zip(0_u32..).map(|((fingerprint, _), entry)| (*fingerprint, Place { row, entry })).collect())
}

/// An entry: its key and the rest. `None` if it is not there.
fn read(connection: &Connection, day: i64, place: Place) -> Result<Option<([u8; 16], StoredSignature)>, EngineError> {
    let sql = format!("SELECT substr(entries, ?2, {ENTRY}) FROM {PREFIX}{day} WHERE id = ?1");
    let first = i64::from(place.entry).saturating_mul(ENTRY as i64).saturating_add(1);
    let entry: Option<[u8; ENTRY]> =
        connection.prepare_cached(&sql)?.query_row(params![place.row, first], |row| row.get(0)).optional()?;
    Ok(entry.map(|entry| parse(&entry)))
}

fn parse(entry: &[u8; ENTRY]) -> ([u8; 16], StoredSignature) {
    let part = |from: usize| entry.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    let received_at = entry.last_chunk().copied().map(i64::from_be_bytes).unwrap_or_default();
    (part(0), StoredSignature { texts: part(16), push_id: PushId::from_bytes(part(32)), received_at })
}

/// Reads where everything stands.
fn load(connection: &Connection) -> Result<BTreeMap<i64, Day>, EngineError> {
    let mut names: Vec<String> = Vec::new();
    {
        let mut statement = connection.prepare(TABLES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names.push(row.get(0)?);
        }
    }
    let mut days = BTreeMap::new();
    for name in names {
        let Some(day) = name.strip_prefix(PREFIX).and_then(|day| day.parse::<i64>().ok()) else { continue };
        let mut places = Day::new();
        let mut statement = connection.prepare(&format!("SELECT id, entries FROM {PREFIX}{day} ORDER BY id"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: u32 = row.get(0)?;
            let entries = row
                .get_ref(1)?
                .as_blob()
                .map_err(|_| EngineError::Statement("column entries of the signatures cannot be read".to_owned()))?;
            let fingerprints = entries.chunks_exact(ENTRY).filter_map(<[u8]>::first_chunk).map(fingerprint);
            places.extend(fingerprints.zip(0..).map(|(fingerprint, entry)| (fingerprint, Place { row: id, entry })));
        }
        days.insert(day, places);
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::PushId;
    use rusqlite::Connection;

    use super::{DAY_MS, Signatures};
    use crate::database::transaction::{SignatureRow, StoredSignature};

    /// Remembers these keys on that day, in a transaction of its own. Says for each with what texts it came first.
    fn remember(
        signatures: &mut Signatures,
        connection: &Connection,
        day: i64,
        keys: &[[u8; 16]],
    ) -> Vec<Option<[u8; 16]>> {
        let push_id = PushId::from_bytes([9; 16]);
        let rows: Vec<_> = keys.iter().map(|key| SignatureRow { key, texts: key, push_id, received_at: -7 }).collect();
        let (found, change) = signatures.remember(connection, &rows, day * DAY_MS, 3).unwrap();
        signatures.committed(change);
        let texts = |found: StoredSignature| {
            assert_eq!((found.push_id, found.received_at), (push_id, -7));
            found.texts
        };
        found.into_iter().map(|found| found.map(texts)).collect()
    }

    fn key(first_half: u8, second_half: u8) -> [u8; 16] {
        let mut key = [first_half; 16];
        key[8..].fill(second_half);
        key
    }

    #[test]
    fn keys_with_the_same_first_half_are_never_taken_for_each_other() {
        let (mut signatures, connection) = (Signatures::default(), Connection::open_in_memory().unwrap());
        assert_eq!(remember(&mut signatures, &connection, 1, &[key(1, 1), key(2, 2)]), [None, None]);
        for _ in 0..2 {
            let found = remember(&mut signatures, &connection, 1, &[key(1, 2), key(2, 2), key(1, 1)]);
            assert_eq!(found, [None, Some(key(2, 2)), Some(key(1, 1))]);
            // What the tables say is the same.
            signatures.forget();
        }
    }

    #[test]
    fn p6_beyond_so_many_signatures_the_earliest_day_is_forgotten_early() {
        let mut signatures = Signatures { most: 4, ..Signatures::default() };
        let connection = Connection::open_in_memory().unwrap();
        let mut on = |day, keys: &[[u8; 16]]| remember(&mut signatures, &connection, day, keys);
        on(1, &[key(1, 0), key(2, 0), key(3, 0)]);
        on(2, &[key(4, 0), key(5, 0)]);
        // Too many: the first day goes, and from the next transaction on there is room.
        assert_eq!(on(2, &[key(6, 0), key(1, 0), key(4, 0)]), [None, None, Some(key(4, 0))]);
        assert_eq!(on(2, &[key(6, 0), key(7, 0)]), [None, None]);
        assert_eq!(on(2, &[key(8, 0)]), [None]);
        // All are of today: what is there stays, nothing more is remembered.
        assert_eq!(on(2, &[key(8, 0), key(6, 0)]), [None, Some(key(6, 0))]);
    }
}
