//! The SQL that writes.

use std::collections::HashMap;

use privatenumber_contract::{Outcome, OutcomeReport, Private, PushId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{Writing, closed, describe, read};
use crate::database::transaction::{BindingRow, CallRow, Renewal, StoredClaim, TextRow, Transaction, WriteEngine};
use crate::database::work::Bindings;
use crate::database::{CommitUnknown, EngineError};

/// An open transaction on the writing connection.
///
/// BEGIN, COMMIT and ROLLBACK are ordinary statements here: SQLite rolls back by itself when the disk is full, and says whether a
/// transaction is open.
pub(crate) struct SqliteTransaction<'a> {
    connection: &'a mut Option<Connection>,
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.as_ref() else { return };
        if connection.is_autocommit() {
            return;
        }
        // A connection whose transaction cannot be ended is not used again; the next transaction opens another.
        if connection.execute_batch("ROLLBACK").is_err() && !connection.is_autocommit() {
            *self.connection = None;
        }
    }
}

impl WriteEngine for Writing {
    type Transaction<'a> = SqliteTransaction<'a>;

    fn begin(&mut self) -> Result<SqliteTransaction<'_>, EngineError> {
        let connection = self.connection()?;
        let begin = connection.as_ref().map(|connection| connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]));
        match begin {
            Some(Ok(_)) => Ok(SqliteTransaction { connection }),
            // Whatever is wrong with BEGIN is not the fault of a work.
            Some(Err(error)) => Err(EngineError::Unavailable(describe(&error))),
            None => Err(closed()),
        }
    }
}

const INSERT_BINDING: &str = "INSERT INTO bindings (subscription_id, version, registered_at, binding) \
                              VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const INSERT_CALL: &str = "INSERT INTO calls (call_id, app_key, session_id, icid, push_id, received_at, recorded_at, \
                           claim_deadline, ak, subscription_id, record, warnings) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
                           ON CONFLICT (call_id) DO NOTHING";
const INSERT_CDR_TEXT: &str = "INSERT INTO cdr_texts (id, text) VALUES (?1, ?2)";
const CLAIM: &str = "SELECT push_id, outcome IS NOT NULL, ak, record FROM calls WHERE call_id = ?1";
const RENEW: &str = "UPDATE calls SET claim_deadline = ?1 WHERE call_id = ?2 AND push_id = ?3 AND outcome IS NULL";
const COUNT_DUPLICATES: &str = "UPDATE calls SET duplicates = duplicates + ?1 WHERE call_id = ?2";
const PARK: &str = "INSERT INTO parked (digest, app_key, push_id, reason, raw, received_at, duplicates, raw_bytes) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (digest) DO NOTHING";
const COUNT_PARKED: &str = "UPDATE parked SET duplicates = duplicates + ?1 + (push_id <> ?2), push_id = ?3 \
                            WHERE digest = ?4";
const KEEP_EVENT: &str = "INSERT INTO events (digest, app_key, push_id, event_type, raw, received_at, duplicates, \
                          raw_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (digest) DO NOTHING";
const COUNT_EVENT: &str = "UPDATE events SET duplicates = duplicates + ?1 + (push_id <> ?2), push_id = ?3 \
                           WHERE digest = ?4";
const WRITE_OUTCOME: &str = "UPDATE calls SET outcome_class = ?1, outcome = ?2, duration_ms = ?3, reported_at = ?4 \
                             WHERE call_id = ?5 AND push_id = ?6 AND outcome IS NULL";
const WRITE_READINESS: &str = "INSERT INTO readiness (id, checked_at) VALUES (1, ?1) \
                               ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at";

/// The id of the first version of a CDR's text, see the table.
pub(super) fn cdr_text_id(call_number: i64) -> i64 {
    call_number.saturating_mul(8)
}

impl Transaction for SqliteTransaction<'_> {
    fn bindings(&mut self, subscription_ids: &[&str]) -> Result<Bindings, EngineError> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(read::BINDING)?;
        let mut found = Bindings::with_capacity(subscription_ids.len());
        for id in subscription_ids {
            let binding = statement.query_row(params![id, 1], |row| Ok(read::binding(row))).optional()?;
            if let Some(binding) = binding {
                found.insert((*id).to_owned(), binding?);
            }
        }
        Ok(found)
    }

    fn insert_bindings(&mut self, rows: &[BindingRow<'_>], now_ms: i64) -> Result<(), EngineError> {
        let mut statement = self.prepare(INSERT_BINDING)?;
        for row in rows {
            if statement.execute(params![row.subscription_id, row.version, now_ms, row.binding])? == 0 {
                return Err(EngineError::Conflict);
            }
        }
        Ok(())
    }

    fn insert_calls(&mut self, rows: &[CallRow<'_>], now_ms: i64) -> Result<Vec<bool>, EngineError> {
        let connection = self.connection()?;
        let mut insert = connection.prepare_cached(INSERT_CALL)?;
        let mut insert_text = connection.prepare_cached(INSERT_CDR_TEXT)?;
        let mut inserted = Vec::with_capacity(rows.len());
        for row in rows {
            let CallRow { call, .. } = row;
            let new = insert.execute(params![
                call.call_id,
                call.app_key,
                call.record.session_id.as_ref().map(|id| id.expose().as_str()).unwrap_or_default(),
                call.icid,
                Hex::of(row.push_id).text(),
                row.received_at,
                now_ms,
                row.claim_deadline,
                row.ak,
                call.record.subscription_id,
                row.record,
                call.warnings,
            ])? > 0;
            if new && let Some(text) = &call.cdr {
                insert_text.execute(params![cdr_text_id(connection.last_insert_rowid()), text.expose()])?;
            }
            inserted.push(new);
        }
        Ok(inserted)
    }

    fn claims(&mut self, call_ids: &[&str]) -> Result<HashMap<String, StoredClaim>, EngineError> {
        let mut statement = self.prepare(CLAIM)?;
        let mut claims = HashMap::with_capacity(call_ids.len());
        for call_id in call_ids {
            let claim = statement
                .query_row([call_id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .optional()?;
            if let Some((push_id, has_outcome, ak, record)) = claim {
                let push_id = read::push_id(&push_id)?;
                claims.insert((*call_id).to_owned(), StoredClaim { push_id, has_outcome, ak, record });
            }
        }
        Ok(claims)
    }

    fn renew(&mut self, renewals: &[Renewal<'_>]) -> Result<(), EngineError> {
        let mut statement = self.prepare(RENEW)?;
        for renewal in renewals {
            let push_id = Hex::of(renewal.push_id);
            statement.execute(params![renewal.claim_deadline, renewal.call_id, push_id.text()])?;
        }
        Ok(())
    }

    fn count_duplicates(&mut self, counts: &[(&str, i64)]) -> Result<(), EngineError> {
        let mut statement = self.prepare(COUNT_DUPLICATES)?;
        for (call_id, count) in counts {
            statement.execute(params![count, call_id])?;
        }
        Ok(())
    }

    fn park(&mut self, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError> {
        self.keep(PARK, COUNT_PARKED, rows)
    }

    fn keep_events(&mut self, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError> {
        self.keep(KEEP_EVENT, COUNT_EVENT, rows)
    }

    fn write_outcomes(&mut self, reports: &[&OutcomeReport], now_ms: i64) -> Result<Vec<bool>, EngineError> {
        let mut statement = self.prepare(WRITE_OUTCOME)?;
        let mut written = Vec::with_capacity(reports.len());
        for report in reports {
            let outcome = serde_json::to_string(&report.outcome).map_err(EngineError::corrupt)?;
            let changed = statement.execute(params![
                outcome_class(&report.outcome),
                outcome,
                report.duration_ms,
                now_ms,
                report.call_id,
                Hex::of(report.push_id).text(),
            ])?;
            written.push(changed > 0);
        }
        Ok(written)
    }

    fn write_readiness(&mut self, now_ms: i64) -> Result<(), EngineError> {
        self.prepare(WRITE_READINESS)?.execute([now_ms])?;
        Ok(())
    }

    fn commit(self) -> Result<(), CommitUnknown> {
        // After an error some or all of it may be in the write-ahead log; dropping `self` leaves nothing open.
        let commit = |connection: &Connection| connection.prepare_cached("COMMIT")?.execute([]);
        match self.connection.as_ref().map(commit) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(CommitUnknown(describe(&error))),
            None => Err(CommitUnknown("the connection is gone".to_owned())),
        }
    }
}

impl SqliteTransaction<'_> {
    fn connection(&self) -> Result<&Connection, EngineError> {
        self.connection.as_ref().ok_or_else(closed)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, EngineError> {
        Ok(self.connection()?.prepare_cached(sql)?)
    }

    fn keep(&self, insert: &str, count: &str, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError> {
        let (mut insert, mut count) = (self.prepare(insert)?, self.prepare(count)?);
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let (first, last) = (Hex::of(row.first_push), Hex::of(row.last_push));
            let new = insert.execute(params![
                row.text.digest,
                row.app_key,
                last.text(),
                row.text.note,
                row.text.raw.expose(),
                row.received_at,
                row.repetitions,
                row.text.bytes.as_ref().map(Private::expose),
            ])? > 0;
            if !new {
                count.execute(params![row.repetitions, first.text(), last.text(), row.text.digest])?;
            }
            kept.push(new);
        }
        Ok(kept)
    }
}

/// A push id as it stands in the tables.
struct Hex([u8; 32]);

impl Hex {
    fn of(push_id: PushId) -> Self {
        Self(push_id.to_hex())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The class as it is on the wire.
fn outcome_class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { .. } => "answered",
        Outcome::NotSent { .. } => "not_sent",
        Outcome::MaybeSent { .. } => "maybe_sent",
        Outcome::Skipped { .. } => "skipped",
    }
}
