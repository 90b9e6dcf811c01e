//! The SQL that reads.

use std::borrow::Cow;

use privatenumber_contract::{
    BusinessView, CallDetail, CallPage, CallState, CallView, EarlierOutcome, EventPage, EventView, KeptCdr, LaterCdr,
    NotSent, Outcome, ParkedPage, ParkedView, Private, PushId, RegisteredBinding, ReplayPage, ReplayView,
    ReportedOutcome, Skipped, Wait, WaitFor, Warning,
};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::Sqlite;
use super::write::{cdr_text_id, waits_for as waits_for_text};
use crate::cursor;
use crate::database::EngineError;
use crate::database::query::{CallFilter, HISTORY_MAX, Page, Pager, ParkedText, Since, WaitingCalls};
use crate::database::transaction::ReadEngine;

const CALL: &str = "SELECT number, call_id, app_key, session_id, icid, push_id, received_at, recorded_at, claim_deadline, \
                    record, duplicates, outcome, duration_ms, reported_at, waits_for, waits_since, due_at FROM calls";
const ONE_CALL: &str = "SELECT number, call_id, app_key, session_id, icid, push_id, received_at, recorded_at, \
                        claim_deadline, record, duplicates, outcome, duration_ms, reported_at, waits_for, waits_since, \
                        due_at, warnings, \
                        (SELECT times FROM cdrs_not_kept WHERE call_number = number) AS not_kept, \
                        EXISTS (SELECT 1 FROM replays WHERE replays.push_id IN (calls.push_id, calls.brought_by, \
                        (SELECT releases.push_id FROM releases WHERE call_number = calls.number AND release = 1))) \
                        AS replayed FROM calls WHERE call_id = ?1";
const HISTORY: &str = "SELECT released_at, push_id, outcome, duration_ms, reported_at FROM releases \
                       WHERE call_number = ?1 ORDER BY release LIMIT ?2";
/// When a binding was registered first.
const FIRST_REGISTERED: &str = "SELECT registered_at FROM bindings WHERE subscription_id = ?1 AND version = 1";
/// What [`select_calls`] reads of calls to be released.
const TO_RELEASE: &str = "SELECT number, call_id, outcome FROM calls";
pub(super) const WAITING: &str = "SELECT count(*), coalesce(sum(waits_for = 'binding'), 0), coalesce(sum(waits_for = 'paused'), 0) FROM calls INDEXED BY calls_waiting \
                       WHERE waits_for IS NOT NULL";
pub(super) const OLDEST_DUE: &str = "SELECT min(due_at) FROM calls INDEXED BY calls_due WHERE due_at IS NOT NULL";
const PAUSED_BUSINESSES: &str = "SELECT count(*) FROM paused_businesses WHERE resumed_at IS NULL";
const PAUSED_SINCE: &str = "SELECT paused_at FROM paused_businesses WHERE ak = ?1 AND resumed_at IS NULL";
pub(super) const WAITING_FOR: &str = "SELECT count(*) FROM calls INDEXED BY calls_paused \
                                      WHERE ak = ?1 AND waits_for = 'paused' AND due_at IS NULL";
const CDR_TEXTS: &str = "SELECT id, text, push_id, received_at FROM cdr_texts WHERE id BETWEEN ?1 AND ?1 + 7";
pub(super) const BINDING: &str = "SELECT version, registered_at, binding FROM bindings WHERE subscription_id = ?1 \
                                  ORDER BY version DESC LIMIT ?2";
const PARKED: &str = "SELECT number, app_key, reason, raw, received_at, duplicates, call_id FROM parked \
                      WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
const PARKED_TEXT: &str = "SELECT app_key, ak, received_at, coalesce(raw_bytes, CAST(raw AS BLOB)), call_id FROM parked \
                           WHERE number = ?1";
/// The plus signs keep SQLite from walking the table, where the entries of an index are enough.
const SPAN: &str = "SELECT min(+number), max(+number) FROM calls WHERE recorded_at >= ?1 AND recorded_at < ?2";
/// Every commit that records a call, and the readiness check, write the time; the entries of an index tell the latest.
pub(super) const LATEST_TIME: &str = "SELECT max(\
     coalesce((SELECT max(recorded_at) FROM calls), -9223372036854775808), \
     coalesce((SELECT checked_at FROM readiness), -9223372036854775808))";
/// The earliest call that has yet to come to its end, of those among the numbers.
pub(super) const UNSETTLED: &str = "SELECT min(recorded_at) FROM calls INDEXED BY calls_by_outcome_class WHERE outcome_class IS NULL AND number >= ?1 AND number <= ?2 \
                         AND (claim_deadline >= ?3 AND (?4 IS NULL OR ak = ?4) OR waits_for IS NOT NULL) AND +recorded_at >= ?5";
const EVENTS: &str = "SELECT number, app_key, event_type, raw, received_at, duplicates FROM events \
                      WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
const REPLAYS: &str = "SELECT number, app_key, scheme, push_id, received_at, first_push_id, first_received_at, parked, \
                       call_ids FROM replays WHERE number < ?1 ORDER BY number DESC LIMIT ?2";

/// How the outcome of an imported call stands in the tables. A store of 0.1.0, which knows no such reason, reads another one in it.
const IMPORTED: &str = r#"{"class":"skipped","reason":"no_callback","imported":true}"#;

impl ReadEngine for Sqlite {
    async fn latest_time(&self) -> Result<i64, EngineError> {
        self.readers.ask(latest_time).await
    }

    async fn calls(&self, filter: &CallFilter, page: &Page, now_ms: i64) -> Result<CallPage, EngineError> {
        let (filter, page) = (filter.clone(), *page);
        self.readers.ask(move |connection| calls(connection, &filter, &page, now_ms)).await
    }

    async fn call(&self, call_id: &str, now_ms: i64) -> Result<Option<CallDetail>, EngineError> {
        let call_id = call_id.to_owned();
        self.readers.ask(move |connection| call(connection, &call_id, now_ms)).await
    }

    async fn binding(&self, subscription_id: &str, history: bool) -> Result<Option<RegisteredBinding>, EngineError> {
        let subscription_id = subscription_id.to_owned();
        let earlier = if history { HISTORY_MAX } else { 0 };
        self.readers.ask(move |connection| versions(connection, &subscription_id, earlier)).await
    }

    async fn parked(&self, page: &Page) -> Result<ParkedPage, EngineError> {
        let page = *page;
        self.readers.ask(move |connection| parked(connection, &page)).await
    }

    async fn parked_text(&self, number: i64) -> Result<Option<ParkedText>, EngineError> {
        let read = |row: &Row<'_>| {
            Ok(ParkedText {
                app_key: row.get(0)?,
                ak: row.get(1)?,
                received_at: row.get(2)?,
                bytes: Private::new(row.get(3)?),
                call_id: row.get(4)?,
            })
        };
        let ask = move |connection: &Connection| {
            Ok(connection.prepare_cached(PARKED_TEXT)?.query_row([number], read).optional()?)
        };
        self.readers.ask(ask).await
    }

    async fn releasable(&self, filter: &CallFilter, most: u32, now_ms: i64) -> Result<Vec<String>, EngineError> {
        let filter = filter.clone();
        self.readers.ask(move |connection| releasable(connection, &filter, most, now_ms)).await
    }

    async fn waiting(&self, now_ms: i64) -> Result<WaitingCalls, EngineError> {
        self.readers.ask(move |connection| waiting(connection, now_ms)).await
    }

    async fn business(&self, ak: &str) -> Result<BusinessView, EngineError> {
        let ak = ak.to_owned();
        let ask = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let (paused_since, calls_waiting) = business(&transaction, &ak)?;
            Ok(BusinessView { ak, paused_since, calls_waiting })
        };
        self.readers.ask(ask).await
    }

    async fn events(&self, page: &Page) -> Result<EventPage, EngineError> {
        let page = *page;
        self.readers.ask(move |connection| events(connection, &page)).await
    }

    async fn replays(&self, page: &Page) -> Result<ReplayPage, EngineError> {
        let page = *page;
        self.readers.ask(move |connection| replays(connection, &page)).await
    }
}

/// One call, with the texts of its CDRs and the warnings.
fn call(connection: &Connection, call_id: &str, now_ms: i64) -> Result<Option<CallDetail>, EngineError> {
    // All statements see the same state.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(ONE_CALL)?;
    let mut rows = statement.query([call_id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let warnings: Option<String> = row.get("warnings")?;
    let number = row.get("number")?;
    let (cdr, later_cdrs) = cdr_texts(&transaction, number)?;
    let call = read_call(row, now_ms)?;
    let mut warnings = warnings.as_deref().map(read_warnings).transpose()?.unwrap_or_default();
    warnings.extend(late_binding(&transaction, &call)?);
    Ok(Some(CallDetail {
        call,
        cdr,
        warnings,
        later_cdrs,
        later_cdrs_not_kept: row.get::<_, Option<i64>>("not_kept")?.unwrap_or_default(),
        replayed: row.get("replayed")?,
        history: history(&transaction, number)?,
    }))
}

/// How long after a call its binding is looked for to warn of it, milliseconds.
const LATE_BINDING_MS: i64 = 3_600_000;

/// Says that the binding of a call came soon after the call's record was made without it.
fn late_binding(connection: &Connection, call: &CallView) -> Result<Option<Warning<'static>>, EngineError> {
    let (Some(id), Some(made_at)) = (&call.record.subscription_id, call.record.updated_at) else { return Ok(None) };
    if call.state == CallState::Waiting {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(FIRST_REGISTERED)?;
    let registered_at: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
    let late_by = registered_at.map(|registered_at| registered_at.saturating_sub(made_at));
    // A binding that was there before is in the record.
    Ok(late_by.filter(|late_by| (1..=LATE_BINDING_MS).contains(late_by)).map(|late_by| {
        let seconds = late_by.saturating_add(999) / 1000;
        let reason = format!(
            "the binding was registered {seconds} s after this record was made without it; register bindings earlier, or \
             set `without_binding: hold` for the application"
        );
        Warning { field: "subscriptionId".into(), reason: reason.into() }
    }))
}

/// The first CDR of a call, if it was sent, and the later ones.
fn cdr_texts(connection: &Connection, call_number: i64) -> Result<(Option<KeptCdr>, Vec<LaterCdr>), EngineError> {
    let first = cdr_text_id(call_number);
    let mut statement = connection.prepare_cached(CDR_TEXTS)?;
    let mut rows = statement.query([first])?;
    let (mut cdr, mut later_cdrs) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        let text = KeptCdr::new(row.get("text")?);
        if row.get::<_, i64>("id")? == first {
            cdr = Some(text);
        } else {
            let push_id = push_id(row.get_ref("push_id")?)?;
            later_cdrs.push(LaterCdr { push_id, received_at: row.get("received_at")?, cdr: text });
        }
    }
    Ok((cdr, later_cdrs))
}

/// What became of a call before it was released.
fn history(connection: &Connection, number: i64) -> Result<Vec<EarlierOutcome>, EngineError> {
    let mut statement = connection.prepare_cached(HISTORY)?;
    let mut rows = statement.query([number, i64::from(HISTORY_MAX)])?;
    let mut history = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(outcome) = outcome(row.get_ref("outcome")?)? else { continue };
        history.push(EarlierOutcome {
            released_at: row.get("released_at")?,
            push_id: push_id(row.get_ref("push_id")?)?,
            outcome,
            duration_ms: row.get("duration_ms")?,
            reported_at: row.get("reported_at")?,
        });
    }
    Ok(history)
}

/// The newest calls that pass `filter` and can be released.
fn releasable(
    connection: &Connection,
    filter: &CallFilter,
    most: u32,
    now_ms: i64,
) -> Result<Vec<String>, EngineError> {
    let page = Page::first(u32::MAX);
    let Some(span) = span(connection, filter, &page)? else { return Ok(Vec::new()) };
    let query = select_calls(filter, &page, &span, now_ms, TO_RELEASE);
    let mut statement = connection.prepare_cached(&query.sql)?;
    let mut rows = statement.query(params_from_iter(&query.values))?;
    let mut ids = Vec::new();
    while ids.len() < most as usize
        && let Some(row) = rows.next()?
    {
        // These can never be released and would stand in the way of those that can.
        if outcome(row.get_ref("outcome")?)? != Some(Outcome::NotSent { reason: NotSent::Erased }) {
            ids.push(row.get("call_id")?);
        }
    }
    Ok(ids)
}

fn waiting(connection: &Connection, now_ms: i64) -> Result<WaitingCalls, EngineError> {
    let transaction = connection.unchecked_transaction()?;
    let (all, binding, paused): (i64, i64, i64) =
        transaction.prepare_cached(WAITING)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let businesses: i64 = transaction.prepare_cached(PAUSED_BUSINESSES)?.query_row([], |row| row.get(0))?;
    let oldest: Option<i64> = transaction.prepare_cached(OLDEST_DUE)?.query_row([], |row| row.get(0))?;
    let oldest_due_ms = oldest.map_or(0, |due_at| u64::try_from(now_ms.saturating_sub(due_at)).unwrap_or_default());
    Ok(WaitingCalls {
        binding: binding.unsigned_abs(),
        released: all.saturating_sub(binding).saturating_sub(paused).unsigned_abs(),
        paused: paused.unsigned_abs(),
        paused_businesses: businesses.unsigned_abs(),
        oldest_due_ms,
    })
}

/// Since when a business is paused, if it is, and how many calls wait for it.
pub(super) fn business(connection: &Connection, ak: &str) -> Result<(Option<i64>, u64), EngineError> {
    let since = connection.prepare_cached(PAUSED_SINCE)?.query_row([ak], |row| row.get(0)).optional()?;
    let waiting: i64 = connection.prepare_cached(WAITING_FOR)?.query_row([ak], |row| row.get(0))?;
    Ok((since, waiting.unsigned_abs()))
}

fn read_warnings(text: &str) -> Result<Vec<Warning<'static>>, EngineError> {
    let warnings: Vec<Warning<'_>> = serde_json::from_str(text).map_err(EngineError::corrupt)?;
    let owned = |Warning { field, reason }: Warning<'_>| Warning {
        field: field.into_owned().into(),
        reason: reason.into_owned().into(),
    };
    Ok(warnings.into_iter().map(owned).collect())
}

fn latest_time(connection: &Connection) -> Result<i64, EngineError> {
    Ok(connection.prepare_cached(LATEST_TIME)?.query_row([], |row| row.get(0))?)
}

fn calls(connection: &Connection, filter: &CallFilter, page: &Page, now_ms: i64) -> Result<CallPage, EngineError> {
    // All statements see the same state.
    let transaction = connection.unchecked_transaction()?;
    let span = span(&transaction, filter, page)?;
    let next_from = match (filter.from, page.before) {
        (Some(from), None) => Some(next_from(&transaction, filter, from, span, now_ms)?),
        _ => None,
    };
    let Some(span) = span else { return Ok(CallPage { calls: Vec::new(), next_cursor: None, next_from }) };
    let query = select_calls(filter, page, &span, now_ms, CALL);
    let mut pager = Pager::new(page);
    let mut statement = transaction.prepare_cached(&query.sql)?;
    let mut rows = statement.query(params_from_iter(&query.values))?;
    while let Some(row) = rows.next()? {
        let bytes = text(row, "record")?.len();
        if !pager.take(row.get("number")?, bytes, read_call(row, now_ms)?) {
            break;
        }
    }
    let (calls, next) = pager.finish();
    let since = (span != Span::ALL).then(|| Since { times: times(filter), number: span.first });
    Ok(CallPage { calls, next_cursor: next.map(|number| cursor::write(number, since)), next_from })
}

/// Where the calls begin, from `from` on, that the next reconciliation has to look at: no call that was recorded before is still to
/// come to its end, and none will be recorded before. `span` has the numbers of the calls of the filter's times.
fn next_from(
    connection: &Connection,
    filter: &CallFilter,
    from: i64,
    span: Option<Span>,
    now_ms: i64,
) -> Result<i64, EngineError> {
    let unsettled: Option<i64> = match span {
        Some(Span { first, last }) => connection
            .prepare_cached(UNSETTLED)?
            .query_row(params![first, last, now_ms, filter.ak, from], |row| row.get(0))?,
        None => None,
    };
    // A store in which nothing was recorded yet does not know where it will begin.
    let latest = latest_time(connection)?;
    if latest == i64::MIN {
        return Ok(from);
    }
    Ok([filter.to, unsettled].into_iter().flatten().fold(latest, i64::min))
}

/// The numbers among which the calls of the filter's times are; `None` if there are none.
///
/// Times rise with numbers but for steps of the clock, so nothing less than all entries of the span tells them. That is
/// done for the first page only, and not for a binding, which has few calls anyway.
fn span(connection: &Connection, filter: &CallFilter, page: &Page) -> Result<Option<Span>, EngineError> {
    if (filter.from.is_none() && filter.to.is_none()) || filter.subscription_id.is_some() {
        return Ok(Some(Span::ALL));
    }
    let (from, to) = times(filter);
    if let Some(since) = page.since.filter(|since| since.times == (from, to)) {
        return Ok(Some(Span { first: since.number, last: i64::MAX }));
    }
    let mut statement = connection.prepare_cached(SPAN)?;
    let (first, last): (Option<i64>, Option<i64>) =
        statement.query_row([from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first.zip(last).map(|(first, last)| Span { first, last }))
}

/// The latest version of a binding, and so many earlier ones.
fn versions(
    connection: &Connection,
    subscription_id: &str,
    earlier: u32,
) -> Result<Option<RegisteredBinding>, EngineError> {
    let limit = earlier.saturating_add(1);
    let mut pager = Pager::new(&Page::first(limit));
    let mut statement = connection.prepare_cached(BINDING)?;
    let mut rows = statement.query(params![subscription_id, limit])?;
    while let Some(row) = rows.next()? {
        let bytes = text(row, "binding")?.len();
        if !pager.take(row.get("version")?, bytes, binding(row)?) {
            break;
        }
    }
    let mut versions = pager.finish().0.into_iter();
    let Some(latest) = versions.next() else { return Ok(None) };
    Ok(Some(RegisteredBinding { history: versions.collect(), ..latest }))
}

fn parked(connection: &Connection, page: &Page) -> Result<ParkedPage, EngineError> {
    let read = |row: &Row<'_>| {
        Ok(ParkedView {
            number: row.get(0)?,
            app_key: row.get(1)?,
            reason: row.get(2)?,
            raw: Private::new(row.get(3)?),
            received_at: row.get(4)?,
            duplicates: row.get(5)?,
            call_id: row.get(6)?,
        })
    };
    let (parked, next) = list(connection, PARKED, page, read)?;
    Ok(ParkedPage { parked, next_cursor: next.map(|number| cursor::write(number, None)) })
}

fn events(connection: &Connection, page: &Page) -> Result<EventPage, EngineError> {
    let read = |row: &Row<'_>| {
        Ok(EventView {
            number: row.get(0)?,
            app_key: row.get(1)?,
            event_type: row.get(2)?,
            raw: Private::new(row.get(3)?),
            received_at: row.get(4)?,
            duplicates: row.get(5)?,
        })
    };
    let (events, next) = list(connection, EVENTS, page, read)?;
    Ok(EventPage { events, next_cursor: next.map(|number| cursor::write(number, None)) })
}

fn replays(connection: &Connection, page: &Page) -> Result<ReplayPage, EngineError> {
    let mut pager = Pager::new(page);
    let mut statement = connection.prepare_cached(REPLAYS)?;
    let mut rows = statement.query([before(page), one_more(page)])?;
    while let Some(row) = rows.next()? {
        let call_ids = text(row, "call_ids")?;
        let replay = ReplayView {
            number: row.get("number")?,
            app_key: row.get("app_key")?,
            scheme: row.get("scheme")?,
            push_id: push_id(row.get_ref("push_id")?)?,
            received_at: row.get("received_at")?,
            first_push_id: push_id(row.get_ref("first_push_id")?)?,
            first_received_at: row.get("first_received_at")?,
            parked: row.get("parked")?,
            call_ids: serde_json::from_str(call_ids).map_err(EngineError::corrupt)?,
        };
        if !pager.take(replay.number, call_ids.len(), replay) {
            break;
        }
    }
    let (replays, next) = pager.finish();
    Ok(ReplayPage { replays, next_cursor: next.map(|number| cursor::write(number, None)) })
}

/// A page of kept texts, and the number to continue before.
fn list<T>(
    connection: &Connection,
    sql: &str,
    page: &Page,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<(Vec<T>, Option<i64>), EngineError> {
    let mut pager = Pager::new(page);
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([before(page), one_more(page)])?;
    while let Some(row) = rows.next()? {
        let bytes = text(row, "raw")?.len();
        if !pager.take(row.get("number")?, bytes, read(row)?) {
            break;
        }
    }
    Ok(pager.finish())
}

/// The text of a column, without a copy.
fn text<'a>(row: &'a Row<'_>, column: &str) -> Result<&'a str, EngineError> {
    let unreadable = |_| EngineError::Statement(format!("column {column} cannot be read"));
    row.get_ref(column)?.as_str().map_err(unreadable)
}

/// Numbers from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Span {
    pub(super) const ALL: Self = Self { first: i64::MIN, last: i64::MAX };
}

/// The one filter whose index the calls of a state are read by; the others are looked at in each row.
///
/// SQLite would guess, without knowing that most calls are `delivered` and most of the rest belong to nobody in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    SubscriptionId,
    /// Of the calls that ended and were not delivered, by their own index, of one business.
    UndeliveredByAk,
    /// Of all calls that ended and were not delivered, by their own index.
    Undelivered,
    Ak,
    AppKey,
    /// `delivered`, which may be most calls there are, or without an outcome.
    OutcomeClass,
    /// Of the calls that wait, by their own index.
    Waiting,
    /// Nothing: by number.
    All,
}

fn driver(filter: &CallFilter, state: Option<CallState>) -> Driver {
    use CallState::{Delivered, MaybeSent, NotSent, Pending, Rejected, Skipped, Unknown, Waiting};
    let (by_ak, by_app_key) = (filter.ak.is_some(), filter.app_key.is_some());
    match state {
        _ if filter.subscription_id.is_some() => Driver::SubscriptionId,
        Some(Waiting) => Driver::Waiting,
        Some(Pending | Unknown) => Driver::OutcomeClass,
        Some(Rejected | NotSent | MaybeSent | Skipped) if by_ak => Driver::UndeliveredByAk,
        // An application may have all its calls skipped.
        Some(Skipped) if by_app_key => Driver::AppKey,
        Some(Rejected | NotSent | MaybeSent | Skipped) => Driver::Undelivered,
        Some(Delivered) | None if by_ak => Driver::Ak,
        Some(Delivered) | None if by_app_key => Driver::AppKey,
        Some(Delivered) => Driver::OutcomeClass,
        None => Driver::All,
    }
}

/// From, and up to but without.
fn times(filter: &CallFilter) -> (i64, i64) {
    (filter.from.unwrap_or(i64::MIN), filter.to.unwrap_or(i64::MAX))
}

/// A statement and its parameters.
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Query {
    fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push_str(&format!("?{}", self.values.len()));
        self
    }
}

/// The query for a page of calls; `select` is its beginning and has `number` among its columns.
///
/// Rows are read in the order of an index, newest first, until the page is full: never sorted, whatever the filter. Calls of several
/// states are read by an index for each, and merged.
pub(super) fn select_calls(filter: &CallFilter, page: &Page, span: &Span, now_ms: i64, select: &str) -> Query {
    let mut query = Query { sql: String::new(), values: Vec::new() };
    let select_arm = |query: &mut Query, state| {
        query.push(select);
        push_conditions(query, filter, state, page, span, now_ms);
    };
    match &filter.states[..] {
        [] => select_arm(&mut query, None),
        [first, others @ ..] => {
            select_arm(&mut query, Some(*first));
            for state in others {
                query.push(" UNION ALL ");
                select_arm(&mut query, Some(*state));
            }
        }
    }
    query.push(" ORDER BY number DESC LIMIT ").push_bind(one_more(page));
    query
}

/// What follows `FROM calls` for the calls of one state, or of any. A plus sign before a column keeps SQLite from its index.
fn push_conditions(
    query: &mut Query,
    filter: &CallFilter,
    state: Option<CallState>,
    page: &Page,
    span: &Span,
    now_ms: i64,
) {
    let driver = driver(filter, state);
    match driver {
        Driver::Waiting => query.push(" INDEXED BY calls_waiting"),
        Driver::Undelivered => query.push(" INDEXED BY calls_undelivered"),
        Driver::UndeliveredByAk => query.push(" INDEXED BY calls_undelivered_by_ak"),
        _ => query,
    };
    query.push(" WHERE number < ").push_bind(before(page));
    if *span != Span::ALL {
        query.push(" AND number >= ").push_bind(span.first).push(" AND number <= ").push_bind(span.last);
    }
    let texts = [
        ("subscription_id = ", &filter.subscription_id, &[Driver::SubscriptionId][..]),
        ("ak = ", &filter.ak, &[Driver::Ak, Driver::UndeliveredByAk]),
        ("app_key = ", &filter.app_key, &[Driver::AppKey]),
    ];
    for (condition, value, by) in texts {
        if let Some(value) = value {
            query.push(if by.contains(&driver) { " AND " } else { " AND +" }).push(condition).push_bind(value.clone());
        }
    }
    if let Some(state) = state {
        push_state(query, state, driver, now_ms);
    }
    if filter.from.is_some() || filter.to.is_some() {
        let (from, to) = times(filter);
        query.push(" AND +recorded_at >= ").push_bind(from).push(" AND +recorded_at < ").push_bind(to);
    }
}

fn push_state(query: &mut Query, state: CallState, driver: Driver, now_ms: i64) {
    let class = if driver == Driver::OutcomeClass { " AND outcome_class" } else { " AND +outcome_class" };
    let undelivered = match driver {
        Driver::Undelivered | Driver::UndeliveredByAk => " AND undelivered",
        _ => " AND +undelivered",
    };
    match state {
        CallState::Waiting => query.push(" AND waits_for IS NOT NULL"),
        CallState::Pending => {
            query.push(class).push(" IS NULL AND +waits_for IS NULL AND claim_deadline >= ").push_bind(now_ms)
        }
        CallState::Unknown => {
            query.push(class).push(" IS NULL AND +waits_for IS NULL AND claim_deadline < ").push_bind(now_ms)
        }
        CallState::Delivered => query.push(class).push(" = 'answered' AND +undelivered IS NULL"),
        CallState::Rejected => query.push(undelivered).push(" = 'rejected'"),
        CallState::NotSent => query.push(undelivered).push(" = 'not_sent'"),
        CallState::MaybeSent => query.push(undelivered).push(" = 'maybe_sent'"),
        CallState::Skipped => query.push(undelivered).push(" = 'skipped'"),
    };
}

fn before(page: &Page) -> i64 {
    page.before.unwrap_or(i64::MAX)
}

fn one_more(page: &Page) -> i64 {
    i64::from(page.limit) + 1
}

/// A row of [`BINDING`].
pub(super) fn binding(row: &Row<'_>) -> Result<RegisteredBinding, EngineError> {
    Ok(RegisteredBinding {
        version: row.get("version")?,
        registered_at: row.get("registered_at")?,
        binding: serde_json::from_str(text(row, "binding")?).map_err(EngineError::corrupt)?,
        history: Vec::new(),
    })
}

/// A push id as it stands in the tables.
pub(super) fn push_id(value: ValueRef<'_>) -> Result<PushId, EngineError> {
    let unreadable = || EngineError::Statement("column push_id cannot be read".to_owned());
    value.as_str().ok().and_then(|text| text.parse().ok()).ok_or_else(unreadable)
}

/// An outcome as it stands in the tables.
pub(super) fn outcome(value: ValueRef<'_>) -> Result<Option<Outcome>, EngineError> {
    let unreadable = |_| EngineError::Statement("column outcome cannot be read".to_owned());
    match value.as_str_or_null().map_err(unreadable)? {
        Some(IMPORTED) => Ok(Some(Outcome::Skipped { reason: Skipped::Imported })),
        text => text.map(serde_json::from_str).transpose().map_err(EngineError::corrupt),
    }
}

/// An outcome, as it stands in the tables.
pub(super) fn outcome_text(outcome: &Outcome) -> Result<Cow<'static, str>, EngineError> {
    match outcome {
        Outcome::Skipped { reason: Skipped::Imported } => Ok(IMPORTED.into()),
        outcome => {
            serde_json::to_string(&ReportedOutcome::from(*outcome)).map(Cow::Owned).map_err(EngineError::corrupt)
        }
    }
}

/// What a call waits for, as it stands in the tables.
pub(super) fn waits_for(value: ValueRef<'_>) -> Result<Option<WaitFor>, EngineError> {
    let unreadable = || EngineError::Statement("column waits_for cannot be read".to_owned());
    let Some(text) = value.as_str_or_null().map_err(|_| unreadable())? else { return Ok(None) };
    let known =
        [WaitFor::Binding, WaitFor::Released, WaitFor::Paused].into_iter().find(|known| waits_for_text(*known) == text);
    known.map(Some).ok_or_else(unreadable)
}

fn read_call(row: &Row<'_>, now_ms: i64) -> Result<CallView, EngineError> {
    let outcome = outcome(row.get_ref("outcome")?)?;
    let claim_deadline = row.get("claim_deadline")?;
    let wait = match waits_for(row.get_ref("waits_for")?)? {
        Some(waits_for) => Some(Wait { waits_for, since: row.get("waits_since")?, due: row.get("due_at")? }),
        None => None,
    };
    Ok(CallView {
        call_id: row.get("call_id")?,
        app_key: row.get("app_key")?,
        session_id: Private::new(row.get("session_id")?),
        icid: row.get("icid")?,
        state: if wait.is_some() { CallState::Waiting } else { state(outcome.as_ref(), claim_deadline, now_ms) },
        outcome,
        wait,
        push_id: push_id(row.get_ref("push_id")?)?,
        received_at: row.get("received_at")?,
        recorded_at: row.get("recorded_at")?,
        claim_deadline,
        duration_ms: row.get("duration_ms")?,
        reported_at: row.get("reported_at")?,
        duplicates: row.get("duplicates")?,
        record: serde_json::from_str(text(row, "record")?).map_err(EngineError::corrupt)?,
    })
}

/// Where a call stands that does not wait: P3, nothing is pending for ever.
fn state(outcome: Option<&Outcome>, claim_deadline: i64, now_ms: i64) -> CallState {
    match outcome {
        Some(outcome) => outcome.state(),
        None if now_ms > claim_deadline => CallState::Unknown,
        None => CallState::Pending,
    }
}
