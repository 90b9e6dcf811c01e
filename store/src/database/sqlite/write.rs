//! The SQL that writes.

use std::collections::{HashMap, HashSet};

use privatenumber_contract::limits::{CDR_VERSIONS, LATER_CDR_BYTES};
use privatenumber_contract::{OutcomeReport, Private, PushId, ReportedOutcome, WaitFor};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::empty_handed::EmptyHanded;
use super::file::DataFile;
use super::signatures::{Change, Signatures};
use super::{Place, Writing, closed, describe, is_damage, read};
use crate::database::transaction::{
    BindingRow, CallRow, DueWork, Events, EventsDropped, GrantRow, LaterCdrDone, LaterCdrRow, NOBODY, Releasable,
    Renewal, ReplayRow, SignatureRow, Standing, StoredClaim, StoredSignature, TextRow, Transaction, WaitRow, WorksOf,
    WriteEngine,
};
use crate::database::work::Bindings;
use crate::database::{CommitUnknown, EngineError};

/// An open transaction on the writing connection.
///
/// BEGIN, COMMIT and ROLLBACK are ordinary statements here: SQLite rolls back by itself when the disk is full, and says whether a
/// transaction is open.
pub(crate) struct SqliteTransaction<'a> {
    connection: &'a mut Option<Connection>,
    /// `None` in memory.
    file: Option<&'a DataFile>,
    signatures: &'a mut Signatures,
    empty_handed: &'a mut EmptyHanded,
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
        let (connection, file, signatures, empty_handed) = self.connection()?;
        let begin = connection.as_ref().map(|connection| connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]));
        match begin {
            Some(Ok(_)) => Ok(SqliteTransaction { connection, file, signatures, empty_handed, change: None }),
            // Whatever is wrong with BEGIN is not the fault of a work.
            Some(Err(error)) => Err(match EngineError::from(error) {
                EngineError::Statement(reason) => EngineError::Unavailable(reason),
                other => other,
            }),
            None => Err(closed()),
        }
    }

    fn is_damaged(&mut self, reason: &str) {
        if let Place::File { file, .. } = &self.place {
            file.is_damaged(reason);
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
const CLAIM: &str = "SELECT push_id, outcome IS NOT NULL, ak, record, waits_for IS NOT NULL, \
                     CASE WHEN waits_for = 'binding' OR waits_for = 'paused' AND NOT EXISTS \
                     (SELECT 1 FROM releases WHERE call_number = number) THEN brought_by END FROM calls WHERE call_id = ?1";
const RENEW: &str = "UPDATE calls SET claim_deadline = ?1 \
                     WHERE call_id = ?2 AND push_id = ?3 AND outcome IS NULL AND waits_for IS NULL";
const COUNT_DUPLICATES: &str = "UPDATE calls SET duplicates = duplicates + ?1 WHERE call_id = ?2";
const PARK: &str = "INSERT INTO parked (digest, app_key, push_id, reason, raw, received_at, duplicates, raw_bytes, ak) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (digest) DO NOTHING";
const COUNT_PARKED: &str = "UPDATE parked SET duplicates = duplicates + ?1 + (push_id <> ?2), push_id = ?3 \
                            WHERE digest = ?4";
const KEEP_EVENT: &str = "INSERT INTO events (digest, app_key, push_id, event_type, raw, received_at, duplicates, \
                          raw_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (digest) DO NOTHING";
const COUNT_EVENT: &str = "UPDATE events SET duplicates = duplicates + ?1 + (push_id <> ?2), push_id = ?3 \
                           WHERE digest = ?4";
const WRITE_OUTCOME: &str = "UPDATE calls SET outcome_class = ?1, outcome = ?2, duration_ms = ?3, reported_at = ?4 \
                             WHERE call_id = ?5 AND push_id = ?6 AND outcome IS NULL AND waits_for IS NULL";
const WAIT: &str = "UPDATE calls SET waits_for = ?1, waits_since = ?2, due_at = ?3, brought_by = ?4 WHERE call_id = ?5";
pub(super) const BINDING_CAME: &str = "UPDATE calls SET due_at = ?1 \
                            WHERE subscription_id = ?2 AND waits_for = 'binding' AND due_at > ?1";
const RELEASABLE: &str = "SELECT waits_for, outcome, claim_deadline FROM calls WHERE call_id = ?1";
const KEEP_EARLIER_OUTCOME: &str = "\
INSERT INTO releases (call_number, release, released_at, push_id, outcome, duration_ms, reported_at) \
SELECT number, 1 + (SELECT count(*) FROM releases WHERE call_number = number), ?1, push_id, outcome, duration_ms, reported_at \
FROM calls WHERE call_id = ?2 AND outcome_class IN ('not_sent', 'skipped')";
const RELEASE: &str = "UPDATE calls SET waits_for = 'released', waits_since = ?1, due_at = ?1, push_id = ?2, \
                       ak = coalesce(ak, ?3), taken_at = NULL, outcome_class = NULL, outcome = NULL, duration_ms = NULL, \
                       reported_at = NULL WHERE call_id = ?4 AND outcome_class IN ('not_sent', 'skipped')";
const RELEASED_PARKED: &str = "SELECT call_id FROM parked WHERE number = ?1";
const NOTE_RELEASED_PARKED: &str = "UPDATE parked SET call_id = ?1 WHERE number = ?2";
pub(super) const WORKS_OF: &str = "SELECT call_id, ak, record FROM calls \
                        WHERE push_id = ?1 AND taken_at IS NOT NULL AND outcome IS NULL ORDER BY number";
pub(super) const EVER_TOOK: &str = "SELECT EXISTS (SELECT 1 FROM calls WHERE push_id = ?1 AND taken_at IS NOT NULL) \
                         OR EXISTS (SELECT 1 FROM releases WHERE push_id = ?1)";
pub(super) const DUE_WORKS: &str = "SELECT call_id, ak, record FROM calls INDEXED BY calls_due \
                                    WHERE due_at <= ?1 ORDER BY due_at, number LIMIT ?2";
/// Nothing of such a call is due, and it keeps since when it waits.
const WAIT_FOR_BUSINESS: &str =
    "UPDATE calls SET waits_for = 'paused', due_at = NULL, ak = ?1 WHERE call_id = ?2 AND due_at IS NOT NULL";
const PAUSED: &str = "SELECT ak FROM paused_businesses WHERE resumed_at IS NULL";
const RESUMING: &str = "SELECT ak FROM paused_businesses WHERE resumed_at IS NOT NULL";
const PAUSE: &str = "INSERT INTO paused_businesses (ak, paused_at) VALUES (?1, ?2) ON CONFLICT (ak) DO UPDATE \
                     SET paused_at = excluded.paused_at, resumed_at = NULL WHERE resumed_at IS NOT NULL";
const RESUME: &str = "UPDATE paused_businesses SET resumed_at = ?1 WHERE ak = ?2 AND resumed_at IS NULL";
pub(super) const MAKE_DUE: &str = "UPDATE calls SET due_at = ?1 WHERE number IN (SELECT number FROM calls INDEXED BY calls_paused \
                        WHERE ak = ?2 AND waits_for = 'paused' AND due_at IS NULL LIMIT ?3)";
const RESUMED: &str = "DELETE FROM paused_businesses WHERE ak = ?1 AND resumed_at IS NOT NULL";
/// `brought_by` stays: it tells whether a replay brought the call.
const GRANT_WORK: &str = "UPDATE calls SET push_id = ?1, claim_deadline = ?2, ak = ?3, record = ?4, taken_at = ?5, \
                          waits_for = NULL, waits_since = NULL, due_at = NULL \
                          WHERE call_id = ?6 AND waits_for IS NOT NULL";
/// Looks at the entries of the index alone, and at no more of them than are counted.
pub(super) const COUNT_DUE: &str = "SELECT count(*) FROM (SELECT 1 FROM calls INDEXED BY calls_due \
                                    WHERE due_at <= ?1 LIMIT ?2)";
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
    fn latest_time(&mut self) -> Result<i64, EngineError> {
        Ok(self.prepare(read::LATEST_TIME)?.query_row([], |row| row.get(0))?)
    }

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
            let claim =
                statement.query_row([call_id], |row| Ok((standing(row), row.get(2)?, row.get(3)?))).optional()?;
            if let Some((standing, ak, record)) = claim {
                claims.insert((*call_id).to_owned(), StoredClaim { standing: standing?, ak, record });
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
        let mut insert = self.prepare(PARK)?;
        self.keep(COUNT_PARKED, rows, |row| {
            let TextRow { text, app_key, ak, received_at, repetitions, .. } = row;
            let last = Hex::of(row.last_push);
            let (raw, bytes) = (text.raw.expose(), text.bytes.as_ref().map(Private::expose));
            let (digest, reason, last) = (&text.digest, &text.note, last.text());
            insert.execute(params![digest, app_key, last, reason, raw, received_at, repetitions, bytes, ak])
        })
    }

    fn keep_events(&mut self, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError> {
        let mut insert = self.prepare(KEEP_EVENT)?;
        self.keep(COUNT_EVENT, rows, |row| {
            let TextRow { text, app_key, received_at, repetitions, .. } = row;
            let last = Hex::of(row.last_push);
            let (raw, bytes) = (text.raw.expose(), text.bytes.as_ref().map(Private::expose));
            let (digest, event_type, last) = (&text.digest, &text.note, last.text());
            insert.execute(params![digest, app_key, last, event_type, raw, received_at, repetitions, bytes])
        })
    }

    fn write_outcomes(&mut self, reports: &[&OutcomeReport], now_ms: i64) -> Result<Vec<bool>, EngineError> {
        let mut statement = self.prepare(WRITE_OUTCOME)?;
        let mut written = Vec::with_capacity(reports.len());
        for report in reports {
            let text = read::outcome_text(&report.outcome)?;
            let outcome = ReportedOutcome::from(report.outcome);
            let changed = statement.execute(params![
                outcome_class(&outcome),
                text,
                report.duration_ms,
                now_ms,
                report.call_id,
                Hex::of(report.push_id).text(),
            ])?;
            written.push(changed > 0);
        }
        Ok(written)
    }

    fn wait(&mut self, rows: &[WaitRow<'_>], now_ms: i64) -> Result<(), EngineError> {
        let mut statement = self.prepare(WAIT)?;
        for row in rows {
            let brought_by = row.brought_by.map(Hex::of);
            let brought_by = brought_by.as_ref().map(Hex::text);
            statement.execute(params![waits_for(row.waits_for), now_ms, row.due_at, brought_by, row.call_id])?;
        }
        Ok(())
    }

    fn bindings_came(&mut self, subscription_ids: &[&str], now_ms: i64) -> Result<(), EngineError> {
        let mut statement = self.prepare(BINDING_CAME)?;
        for id in subscription_ids {
            statement.execute(params![now_ms, id])?;
        }
        Ok(())
    }

    fn releasable(&mut self, call_ids: &[&str]) -> Result<HashMap<String, Releasable>, EngineError> {
        let mut statement = self.prepare(RELEASABLE)?;
        let mut calls = HashMap::with_capacity(call_ids.len());
        for call_id in call_ids {
            let mut rows = statement.query([call_id])?;
            if let Some(row) = rows.next()? {
                let waits_for = read::waits_for(row.get_ref(0)?)?;
                let outcome = read::outcome(row.get_ref(1)?)?;
                let call = Releasable { waits_for, outcome, claim_deadline: row.get(2)? };
                calls.insert((*call_id).to_owned(), call);
            }
        }
        Ok(calls)
    }

    fn release(&mut self, call_ids: &[&str], ak: Option<&str>, now_ms: i64) -> Result<(), EngineError> {
        let (mut keep, mut release) = (self.prepare(KEEP_EARLIER_OUTCOME)?, self.prepare(RELEASE)?);
        let nobody = Hex::of(NOBODY);
        for call_id in call_ids {
            let kept = keep.execute(params![now_ms, call_id])?;
            if kept == 0 || release.execute(params![now_ms, nobody.text(), ak, call_id])? == 0 {
                return Err(EngineError::Conflict);
            }
        }
        Ok(())
    }

    fn released_parked(&mut self, numbers: &[i64]) -> Result<HashMap<i64, Option<String>>, EngineError> {
        let mut statement = self.prepare(RELEASED_PARKED)?;
        let mut found = HashMap::with_capacity(numbers.len());
        for number in numbers {
            if let Some(call_id) = statement.query_row([number], |row| row.get(0)).optional()? {
                found.insert(*number, call_id);
            }
        }
        Ok(found)
    }

    fn note_released_parked(&mut self, calls: &[(i64, &str)]) -> Result<(), EngineError> {
        let mut statement = self.prepare(NOTE_RELEASED_PARKED)?;
        for (number, call_id) in calls {
            statement.execute(params![call_id, number])?;
        }
        Ok(())
    }

    fn works_of(&mut self, push_ids: &[PushId]) -> Result<HashMap<PushId, WorksOf>, EngineError> {
        let (mut ever_took, mut works_of) = (self.prepare(EVER_TOOK)?, self.prepare(WORKS_OF)?);
        let mut found = HashMap::with_capacity(push_ids.len());
        for push_id in push_ids {
            let hex = Hex::of(*push_id);
            if ever_took.query_row([hex.text()], |row| row.get(0))? {
                let works = works_of.query_map([hex.text()], due_work)?.collect::<Result<_, _>>()?;
                found.insert(*push_id, WorksOf { ever_asked: true, works });
            } else if self.empty_handed.contains(*push_id) {
                found.insert(*push_id, WorksOf { ever_asked: true, works: Vec::new() });
            }
        }
        Ok(found)
    }

    fn note_empty_handed(&mut self, push_id: PushId) {
        self.empty_handed.note(push_id);
    }

    fn due_works(&mut self, most: usize, now_ms: i64) -> Result<Vec<DueWork>, EngineError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut statement = self.prepare(DUE_WORKS)?;
        let works = statement.query_map([now_ms, most], due_work)?.collect::<Result<_, _>>()?;
        Ok(works)
    }

    fn wait_for_businesses(&mut self, works: &[(&str, &str)]) -> Result<(), EngineError> {
        let mut statement = self.prepare(WAIT_FOR_BUSINESS)?;
        for (call_id, ak) in works {
            statement.execute(params![ak, call_id])?;
        }
        Ok(())
    }

    fn paused(&mut self) -> Result<HashSet<String>, EngineError> {
        Ok(self.prepare(PAUSED)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    fn resuming(&mut self) -> Result<Vec<String>, EngineError> {
        Ok(self.prepare(RESUMING)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    fn pause(&mut self, ak: &str, now_ms: i64) -> Result<(), EngineError> {
        self.prepare(PAUSE)?.execute(params![ak, now_ms])?;
        Ok(())
    }

    fn resume(&mut self, ak: &str, now_ms: i64) -> Result<bool, EngineError> {
        Ok(self.prepare(RESUME)?.execute(params![now_ms, ak])? > 0)
    }

    fn make_due(&mut self, ak: &str, most: usize, now_ms: i64) -> Result<usize, EngineError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Ok(self.prepare(MAKE_DUE)?.execute(params![now_ms, ak, most])?)
    }

    fn resumed(&mut self, ak: &str) -> Result<(), EngineError> {
        self.prepare(RESUMED)?.execute([ak])?;
        Ok(())
    }

    fn business(&mut self, ak: &str) -> Result<(Option<i64>, u64), EngineError> {
        read::business(self.connection()?, ak)
    }

    fn grant_works(&mut self, rows: &[GrantRow<'_>], now_ms: i64) -> Result<(), EngineError> {
        let mut statement = self.prepare(GRANT_WORK)?;
        for row in rows {
            let push_id = Hex::of(row.push_id);
            let granted = params![push_id.text(), row.claim_deadline, row.ak, row.record, now_ms, row.call_id];
            if statement.execute(granted)? == 0 {
                return Err(EngineError::Conflict);
            }
        }
        Ok(())
    }

    fn count_due(&mut self, most: u32, now_ms: i64) -> Result<u64, EngineError> {
        let due: i64 = self.prepare(COUNT_DUE)?.query_row([now_ms, i64::from(most)], |row| row.get(0))?;
        Ok(due.unsigned_abs())
    }

    fn write_readiness(&mut self, now_ms: i64) -> Result<(), EngineError> {
        self.prepare(WRITE_READINESS)?.execute([now_ms])?;
        Ok(())
    }

    fn commit(mut self) -> Result<(), CommitUnknown> {
        // After an error some or all of it may be in the write-ahead log; dropping `self` leaves nothing open.
        let commit = |connection: &Connection| connection.prepare_cached("COMMIT")?.execute([]);
        let error = match self.connection.as_ref().map(commit) {
            // The file may have gone since the transaction began: then the next start does not find what was committed.
            Some(Ok(_)) => match self.file.map_or(Ok(()), DataFile::check) {
                Err(EngineError::Unavailable(reason)) => reason,
                _ => {
                    if let Some(change) = self.change.take() {
                        self.signatures.committed(change);
                    }
                    return Ok(());
                }
            },
            Some(Err(error)) => {
                if let (Some(file), true) = (self.file, is_damage(&error)) {
                    file.is_damaged(&describe(&error));
                }
                describe(&error)
            }
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

    /// Keeps texts by `insert` and counts, by `count`, those that were there already.
    fn keep(
        &self,
        count: &str,
        rows: &[TextRow<'_>],
        mut insert: impl FnMut(&TextRow<'_>) -> rusqlite::Result<usize>,
    ) -> Result<Vec<bool>, EngineError> {
        let mut count = self.prepare(count)?;
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let (first, last) = (Hex::of(row.first_push), Hex::of(row.last_push));
            let new = insert(row)? > 0;
            if !new {
                count.execute(params![row.repetitions, first.text(), last.text(), row.text.digest])?;
            }
            kept.push(new);
        }
        Ok(kept)
    }
}

/// How the call of a row of [`CLAIM`] stands.
fn standing(row: &Row<'_>) -> Result<Standing, EngineError> {
    let waits: bool = row.get(4)?;
    if !waits {
        let push_id = read::push_id(row.get_ref(0)?)?;
        return Ok(Standing::Granted { push_id, has_outcome: row.get(1)? });
    }
    match row.get_ref(5)? {
        ValueRef::Null => Ok(Standing::Released),
        brought_by => Ok(Standing::Held { brought_by: read::push_id(brought_by)? }),
    }
}

fn due_work(row: &Row<'_>) -> rusqlite::Result<DueWork> {
    Ok(DueWork { call_id: row.get(0)?, ak: row.get(1)?, record: row.get(2)? })
}

/// What a call waits for, as it stands in the tables.
pub(super) const fn waits_for(what: WaitFor) -> &'static str {
    match what {
        WaitFor::Binding => "binding",
        WaitFor::Released => "released",
        WaitFor::Paused => "paused",
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

/// The class as it is on the wire, and as a store of 0.1.0 knows it.
const fn outcome_class(outcome: &ReportedOutcome) -> &'static str {
    match outcome {
        ReportedOutcome::Answered { .. } => "answered",
        ReportedOutcome::NotSent { .. } => "not_sent",
        ReportedOutcome::MaybeSent { .. } => "maybe_sent",
        ReportedOutcome::Skipped { .. } => "skipped",
    }
}
