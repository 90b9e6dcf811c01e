//! What is remembered of signatures: a table for each day, dropped as a whole. Rows are never deleted one by one, and what is looked
//! for is in few tables.

use privatenumber_contract::PushId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::database::EngineError;
use crate::database::transaction::{SignatureRow, StoredSignature};

const DAY_MS: i64 = 86_400_000;
const PREFIX: &str = "signatures_";
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'signatures_*'";

/// The tables of one day, and the statements about them.
#[derive(Debug)]
pub(super) struct SignatureTables {
    today: i64,
    days: u32,
    /// The statements; `None` where nothing is remembered.
    sql: Option<Sql>,
}

#[derive(Debug)]
struct Sql {
    insert: String,
    find: String,
}

/// Remembers `rows`, see [`Transaction`](crate::database::transaction::Transaction). `tables` holds from one transaction to the next
/// what was found; it is to be `None` again once a transaction was rolled back.
pub(super) fn remember(
    connection: &Connection,
    tables: &mut Option<SignatureTables>,
    rows: &[SignatureRow<'_>],
    now_ms: i64,
    days: u32,
) -> Result<Vec<Option<StoredSignature>>, EngineError> {
    let today = now_ms.div_euclid(DAY_MS).max(0);
    let current = tables.take().filter(|tables| tables.today == today && tables.days == days);
    let (current, old) = match current {
        Some(current) => (current, 0),
        None => prepare(connection, today, days)?,
    };
    let found = match &current.sql {
        Some(sql) => insert(connection, sql, rows)?,
        None => vec![None; rows.len()],
    };
    // The next transaction drops the next of the old tables.
    *tables = (old == 0).then_some(current);
    Ok(found)
}

fn insert(
    connection: &Connection,
    sql: &Sql,
    rows: &[SignatureRow<'_>],
) -> Result<Vec<Option<StoredSignature>>, EngineError> {
    let mut insert = connection.prepare_cached(&sql.insert)?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let new = insert.execute(params![row.key, row.texts, row.push_id.as_bytes(), row.received_at])? > 0;
        let found = if new {
            None
        } else {
            let mut find = connection.prepare_cached(&sql.find)?;
            find.query_row([row.key], |row| {
                let push_id = PushId::from_bytes(row.get(1)?);
                Ok(StoredSignature { texts: row.get(0)?, push_id, received_at: row.get(2)? })
            })
            .optional()?
        };
        all.push(found);
    }
    Ok(all)
}

/// Makes today's table, drops the oldest of those that are too old, and says how many such are left.
fn prepare(connection: &Connection, today: i64, days: u32) -> Result<(SignatureTables, usize), EngineError> {
    let mut there: Vec<i64> = Vec::new();
    {
        let mut statement = connection.prepare(TABLES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            there.extend(name.strip_prefix(PREFIX).and_then(|day| day.parse::<i64>().ok()));
        }
    }
    there.sort_unstable();
    let kept_from = if days == 0 { i64::MAX } else { today.saturating_sub(i64::from(days)) };
    let old = there.iter().take_while(|day| **day < kept_from).count();
    if let Some(oldest) = there.first().filter(|_| old > 0) {
        connection.execute_batch(&format!("DROP TABLE {PREFIX}{oldest}"))?;
    }
    if days == 0 {
        return Ok((SignatureTables { today, days, sql: None }, old.saturating_sub(1)));
    }
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {PREFIX}{today} (key BLOB PRIMARY KEY, texts BLOB NOT NULL, \
         push_id BLOB NOT NULL, received_at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    ))?;
    let others = there.iter().filter(|day| **day >= kept_from && **day != today);
    let (mut absent, mut elsewhere) = (String::new(), String::new());
    for day in others {
        let join = if absent.is_empty() { "WHERE" } else { "AND" };
        absent.push_str(&format!(" {join} NOT EXISTS (SELECT 1 FROM {PREFIX}{day} WHERE key = ?1)"));
        elsewhere.push_str(&format!(" UNION ALL SELECT texts, push_id, received_at FROM {PREFIX}{day} WHERE key = ?1"));
    }
    if absent.is_empty() {
        // Without a condition ON CONFLICT would be read as part of the SELECT.
        absent.push_str(" WHERE true");
    }
    let sql = Sql {
        insert: format!(
            "INSERT INTO {PREFIX}{today} (key, texts, push_id, received_at) SELECT ?1, ?2, ?3, ?4{absent} \
             ON CONFLICT (key) DO NOTHING"
        ),
        find: format!("SELECT texts, push_id, received_at FROM {PREFIX}{today} WHERE key = ?1{elsewhere} LIMIT 1"),
    };
    Ok((SignatureTables { today, days, sql: Some(sql) }, old.saturating_sub(1)))
}
