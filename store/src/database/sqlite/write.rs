//! The SQL that writes.

use std::collections::HashMap;

use privatenumber_contract::limits::{CDR_VERSIONS, LATER_CDR_BYTES};
use privatenumber_contract::{Outcome, OutcomeReport, Private, PushId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::signatures::{Change, Signatures};
use super::{Writing, closed, describe, read};
use crate::database::transaction::{
    BindingRow, CallRow, Events, EventsDropped, LaterCdrDone, LaterCdrRow, Renewal, ReplayRow, SignatureRow,
    StoredClaim, StoredSignature, TextRow, Transaction, WriteEngine,
};
use crate::database::work::Bindings;
use crate::database::{CommitUnknown, EngineError};

/// An open transaction on the writing connection.
///
/// BEGIN, COMMIT and ROLLBACK are ordinary statements here: SQLite rolls back by itself when the disk is full, and says whether a
/// transaction is open.
pub(crate) struct SqliteTransaction<'a> {
    connection: &'a mut Option<Connection>,
    signatures: &'a mut Signatures,
    /// What the transaction changes of the signatures.
    change: Option<Change>,
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
        self.connect()?;
        let Self { connection, signatures, .. } = self;
        let begin = connection.as_ref().map(|connection| connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]));
        match begin {
            Some(Ok(_)) => Ok(SqliteTransaction { connection, signatures, change: None }),
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
/// The call's number with each text that is kept of it, if any is.
const CDR_TEXTS: &str = "SELECT calls.number, cdr_texts.id, cdr_texts.text FROM calls LEFT JOIN cdr_texts \
                         ON cdr_texts.id BETWEEN calls.number * 8 AND calls.number * 8 + 7 WHERE calls.call_id = ?1";
const KEEP_LATER_CDR: &str = "INSERT INTO cdr_texts (id, text, push_id, received_at) VALUES (?1, ?2, ?3, ?4)";
const COUNT_NOT_KEPT: &str = "INSERT INTO cdrs_not_kept (call_number, times, push_id) VALUES (?1, ?2 + 1, ?4) \
                              ON CONFLICT (call_number) DO UPDATE \
                              SET times = times + ?2 + (push_id <> ?3), push_id = excluded.push_id";
const LIST_REPLAY: &str = "INSERT INTO replays (push_id, app_key, scheme, received_at, first_push_id, \
                           first_received_at, parked, call_ids) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                           ON CONFLICT (push_id) DO NOTHING";
const SHORTEN_REPLAYS: &str = "DELETE FROM replays WHERE number <= (SELECT max(number) FROM replays) - ?1";
const EVENT_BYTES: &str = "SELECT bytes FROM event_bytes WHERE id = 1";
/// What each event takes, as the triggers count it.
const OLDEST_EVENTS: &str = "SELECT number, octet_length(raw) + coalesce(length(raw_bytes), 0) + 256 \
                             FROM events ORDER BY number LIMIT ?1";
const DROP_EVENTS: &str = "DELETE FROM events WHERE number <= ?1";
const WRITE_READINESS: &str = "INSERT INTO readiness (id, checked_at) VALUES (1, ?1) \
                               ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at";

/// How many replays are listed: the latest. Each has up to some 2 KB.
const REPLAYS_MAX: i64 = 10_000;

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

    fn keep_later_cdrs(&mut self, rows: &[LaterCdrRow<'_>]) -> Result<Vec<LaterCdrDone>, EngineError> {
        rows.iter().map(|row| self.keep_later_cdr(row)).collect()
    }

    fn remember_signatures(
        &mut self,
        rows: &[SignatureRow<'_>],
        now_ms: i64,
        days: u32,
    ) -> Result<Vec<Option<StoredSignature>>, EngineError> {
        let connection = self.connection.as_ref().ok_or_else(closed)?;
        let (found, change) = self.signatures.remember(connection, rows, now_ms, days)?;
        self.change = Some(change);
        Ok(found)
    }

    fn list_replays(&mut self, rows: &[ReplayRow<'_>]) -> Result<Vec<bool>, EngineError> {
        let mut statement = self.prepare(LIST_REPLAY)?;
        let mut new = Vec::with_capacity(rows.len());
        for row in rows {
            let call_ids = serde_json::to_string(&row.call_ids).map_err(EngineError::corrupt)?;
            let inserted = statement.execute(params![
                Hex::of(row.push_id).text(),
                row.app_key,
                row.scheme,
                row.received_at,
                Hex::of(row.first_push_id).text(),
                row.first_received_at,
                row.parked,
                call_ids,
            ])?;
            new.push(inserted > 0);
        }
        self.prepare(SHORTEN_REPLAYS)?.execute([REPLAYS_MAX])?;
        Ok(new)
    }

    fn drop_events(&mut self, budget: u64, most: Events) -> Result<EventsDropped, EngineError> {
        let budget = i64::try_from(budget).unwrap_or(i64::MAX);
        let mut bytes: i64 = self.prepare(EVENT_BYTES)?.query_row([], |row| row.get(0))?;
        if bytes <= budget {
            return Ok(EventsDropped { events: 0, more: false });
        }
        let (mut last, mut dropped) = (None, 0_i64);
        let most_bytes = i64::try_from(most.bytes).unwrap_or(i64::MAX);
        {
            let mut statement = self.prepare(OLDEST_EVENTS)?;
            let mut rows = statement.query([i64::try_from(most.events).unwrap_or(i64::MAX)])?;
            while bytes > budget
                && dropped < most_bytes
                && let Some(row) = rows.next()?
            {
                last = Some(row.get::<_, i64>(0)?);
                let size: i64 = row.get(1)?;
                (bytes, dropped) = (bytes.saturating_sub(size), dropped.saturating_add(size));
            }
        }
        let events = match last {
            Some(last) => self.prepare(DROP_EVENTS)?.execute([last])?,
            None => 0,
        };
        Ok(EventsDropped { events: events as u64, more: events > 0 && bytes > budget })
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

    fn commit(mut self) -> Result<(), CommitUnknown> {
        // After an error some or all of it may be in the write-ahead log; dropping `self` leaves nothing open.
        let commit = |connection: &Connection| connection.prepare_cached("COMMIT")?.execute([]);
        let error = match self.connection.as_ref().map(commit) {
            Some(Ok(_)) => {
                if let Some(change) = self.change.take() {
                    self.signatures.committed(change);
                }
                return Ok(());
            }
            Some(Err(error)) => describe(&error),
            None => "the connection is gone".to_owned(),
        };
        self.signatures.forget();
        Err(CommitUnknown(error))
    }
}

impl SqliteTransaction<'_> {
    fn connection(&self) -> Result<&Connection, EngineError> {
        self.connection.as_ref().ok_or_else(closed)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, EngineError> {
        Ok(self.connection()?.prepare_cached(sql)?)
    }

    fn keep_later_cdr(&self, row: &LaterCdrRow<'_>) -> Result<LaterCdrDone, EngineError> {
        let mut statement = self.prepare(CDR_TEXTS)?;
        let mut rows = statement.query([row.call_id])?;
        let (mut call, mut free) = (None, None);
        while let Some(kept) = rows.next()? {
            let number: i64 = kept.get(0)?;
            let id: Option<i64> = kept.get(1)?;
            if id.is_some() && kept.get_ref(2)?.as_blob().is_ok_and(|text| text == row.text) {
                return Ok(LaterCdrDone::Known);
            }
            call = Some(number);
            // Version 0 is what the record was made of. Where that is not known, it stays so.
            let next = id.unwrap_or_else(|| cdr_text_id(number)).saturating_add(1);
            free = free.max(Some(next));
        }
        drop(rows);
        let (Some(call), Some(free)) = (call, free) else { return Err(EngineError::Conflict) };
        let room = free < cdr_text_id(call).saturating_add(CDR_VERSIONS as i64);
        let (first, last) = (Hex::of(row.first_push), Hex::of(row.last_push));
        if room && row.text.len() <= LATER_CDR_BYTES {
            self.prepare(KEEP_LATER_CDR)?.execute(params![free, row.text, first.text(), row.received_at])?;
            return Ok(LaterCdrDone::Kept);
        }
        self.prepare(COUNT_NOT_KEPT)?.execute(params![call, row.repetitions, first.text(), last.text()])?;
        Ok(LaterCdrDone::NotKept)
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
