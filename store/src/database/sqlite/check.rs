//! Reads a whole database file and says what is wrong with it.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::de::IgnoredAny;

use super::file::{self, beside, open_to_others};
use super::{FLAGS, describe, migrate};

/// How often long work says how far it is.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the check waits for a lock that the store holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Findings of one kind that are told; more of them help nobody.
const TOLD: usize = 20;

/// Columns that hold JSON.
const JSON: [(&str, &str); 4] =
    [("calls", "record"), ("calls", "outcome"), ("bindings", "binding"), ("releases", "outcome")];

/// Reads the file at `path`, also while a store uses it, and changes nothing in it. Passes to `progress` what it does; returns what is
/// wrong, in sentences without values.
pub(crate) fn check(path: &Path, progress: &mut dyn FnMut(&str)) -> Vec<String> {
    let mut findings = Vec::new();
    let file = path.display();
    let Ok(bytes) = fs::metadata(path).map(|file| file.len()) else {
        return vec![format!("{file} cannot be found; name the database file with --data")];
    };
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let part = beside(path, suffix);
        if let Some(mode) = open_to_others(&part) {
            let part = part.display();
            findings.push(format!("{part} has mode {mode:o}, so others can use it; run `chmod 600 {part}`"));
        }
    }
    if let Some(finding) = file::foreign_log(path) {
        // SQLite would read the log together with the file.
        findings.push(finding.to_string());
        return findings;
    }
    let connection = match Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Ok(connection) => connection,
        Err(error) => {
            findings.push(format!("{file} cannot be opened: {}", describe(&error)));
            return findings;
        }
    };
    match read(connection, bytes, progress) {
        Ok(more) => findings.extend(more),
        Err(error) => findings.push(format!("{file} cannot be read to its end: {}", describe(&error))),
    }
    findings
}

fn read(connection: Connection, bytes: u64, progress: &mut dyn FnMut(&str)) -> rusqlite::Result<Vec<String>> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if !migrate::is_ours(&connection)? {
        return Ok(vec!["the file is a database of another application".to_owned()]);
    }
    let mut findings = Vec::new();
    if let Err(reason) = migrate::version(&connection) {
        findings.push(reason);
    }
    progress(&format!("checking the structure of all {} MiB", bytes.div_ceil(1 << 20)));
    // SQLite does not say how far it is, so a thread checks and this one says how long it has taken.
    let checking = thread::spawn(move || structure(&connection).map(|found| (connection, found)));
    let begun = Instant::now();
    let mut said = begun;
    while !checking.is_finished() {
        thread::sleep(Duration::from_millis(20));
        if said.elapsed() >= INTERVAL {
            said = Instant::now();
            progress(&format!("still checking the structure, for {} s now", begun.elapsed().as_secs()));
        }
    }
    let Ok(checked) = checking.join() else {
        findings.push("the check of the structure ended in its middle".to_owned());
        return Ok(findings);
    };
    let (connection, found) = checked?;
    findings.extend(found);
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in &tables {
        if let Err(error) = rows(&connection, table, &mut findings, progress) {
            findings.push(format!("the table {table} cannot be read to its end: {}", describe(&error)));
        }
    }
    Ok(findings)
}

/// What SQLite finds wrong with pages, indexes, constraints and references.
fn structure(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = format!("PRAGMA integrity_check({TOLD})");
    let mut findings: Vec<String> =
        connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    findings.retain(|finding| finding != "ok");
    let mut references = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = references.query([])?;
    while let Some(row) = rows.next()?
        && findings.len() < TOLD
    {
        findings.push(format!("a row of {} refers to a row that does not exist", row.get::<_, String>(0)?));
    }
    Ok(findings)
}

/// Reads every value of `table`, and parses what is to be JSON.
fn rows(
    connection: &Connection,
    table: &str,
    findings: &mut Vec<String>,
    progress: &mut dyn FnMut(&str),
) -> rusqlite::Result<()> {
    let all: i64 = connection.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
    progress(&format!("reading {all} rows of {table}"));
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\""))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let (mut number, mut malformed, mut said) = (0_u64, 0_u64, Instant::now());
    while let Some(row) = rows.next()? {
        number += 1;
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            if let ValueRef::Text(text) = value
                && JSON.contains(&(table, column))
                && serde_json::from_slice::<IgnoredAny>(text).is_err()
            {
                malformed += 1;
            }
        }
        if said.elapsed() >= INTERVAL {
            said = Instant::now();
            progress(&format!("read {number} of {all} rows of {table}"));
        }
    }
    if malformed > 0 {
        findings.push(format!("{malformed} values in {table} are not the JSON they should be"));
    }
    Ok(())
}
