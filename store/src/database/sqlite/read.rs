//! The SQL that reads.

use futures_util::TryStreamExt;
use privatenumber_contract::{
    CallPage, CallState, CallView, EventPage, EventView, Outcome, ParkedPage, ParkedView, Private, RegisteredBinding,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteExecutor};

use super::Sqlite;
use crate::cursor;
use crate::database::EngineError;
use crate::database::query::{CallFilter, HISTORY_MAX, Page, Pager, Since};

pub(super) const CALL: &str = "SELECT number, call_id, app_key, session_id, icid, push_id, received_at, recorded_at, \
                    claim_deadline, record, duplicates, outcome, duration_ms, reported_at FROM calls WHERE ";
const BINDING: &str = "SELECT version, registered_at, binding FROM bindings WHERE subscription_id = $1 \
                       ORDER BY version DESC LIMIT $2";
const PARKED: &str = "SELECT number, app_key, reason, raw, received_at, duplicates FROM parked WHERE number < $1 \
                      ORDER BY number DESC LIMIT $2";
/// The plus signs keep SQLite from walking the table, where the entries of an index are enough.
const SPAN: &str = "SELECT min(+number), max(+number) FROM calls WHERE recorded_at >= $1 AND recorded_at < $2";
const EVENTS: &str = "SELECT number, app_key, event_type, raw, received_at, duplicates FROM events WHERE number < $1 \
                      ORDER BY number DESC LIMIT $2";

/// The latest version of a binding.
pub(super) async fn binding(
    executor: impl SqliteExecutor<'_>,
    subscription_id: &str,
) -> Result<Option<RegisteredBinding>, EngineError> {
    let row = sqlx::query(BINDING).bind(subscription_id).bind(1).fetch_optional(executor).await?;
    row.as_ref().map(read_binding).transpose()
}

impl Sqlite {
    pub(crate) async fn call(&self, call_id: &str, now_ms: i64) -> Result<Option<CallView>, EngineError> {
        let mut query = QueryBuilder::new(CALL);
        query.push("call_id = ").push_bind(call_id);
        let row = query.build().fetch_optional(&self.readers).await?;
        row.as_ref().map(|row| read_call(row, now_ms)).transpose()
    }

    pub(crate) async fn calls(&self, filter: &CallFilter, page: &Page, now_ms: i64) -> Result<CallPage, EngineError> {
        let Some(span) = self.span(filter, page).await? else {
            return Ok(CallPage { calls: Vec::new(), next_cursor: None });
        };
        let mut query = select_calls(filter, page, &span, now_ms, CALL);
        let mut pager = Pager::new(page);
        let mut rows = query.build().fetch(&self.readers);
        while let Some(row) = rows.try_next().await? {
            let text: &str = row.try_get("record")?;
            if !pager.take(row.try_get("number")?, text.len(), read_call(&row, now_ms)?) {
                break;
            }
        }
        let (calls, next) = pager.finish();
        let since = (span != Span::ALL).then(|| Since { times: times(filter), number: span.first });
        Ok(CallPage { calls, next_cursor: next.map(|number| cursor::write(number, since)) })
    }

    /// The numbers among which the calls of the filter's times are; `None` if there are none.
    ///
    /// Times rise with numbers but for steps of the clock, so nothing less than all entries of the span tells them. That is
    /// done for the first page only, and not for a binding, which has few calls anyway.
    async fn span(&self, filter: &CallFilter, page: &Page) -> Result<Option<Span>, EngineError> {
        if (filter.from.is_none() && filter.to.is_none()) || driver(filter) == Driver::SubscriptionId {
            return Ok(Some(Span::ALL));
        }
        let (from, to) = times(filter);
        if let Some(since) = page.since.filter(|since| since.times == (from, to)) {
            return Ok(Some(Span { first: since.number, last: i64::MAX }));
        }
        let row = sqlx::query(SPAN).bind(from).bind(to).fetch_one(&self.readers).await?;
        let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(first.zip(last).map(|(first, last)| Span { first, last }))
    }

    pub(crate) async fn binding(
        &self,
        subscription_id: &str,
        history: bool,
    ) -> Result<Option<RegisteredBinding>, EngineError> {
        if !history {
            return binding(&self.readers, subscription_id).await;
        }
        let mut pager = Pager::new(&Page::first(HISTORY_MAX + 1));
        let mut rows = sqlx::query(BINDING).bind(subscription_id).bind(HISTORY_MAX + 1).fetch(&self.readers);
        while let Some(row) = rows.try_next().await? {
            let text: &str = row.try_get(2)?;
            if !pager.take(row.try_get(0)?, text.len(), read_binding(&row)?) {
                break;
            }
        }
        let mut versions = pager.finish().0.into_iter();
        let Some(latest) = versions.next() else { return Ok(None) };
        Ok(Some(RegisteredBinding { history: versions.collect(), ..latest }))
    }

    pub(crate) async fn parked(&self, page: &Page) -> Result<ParkedPage, EngineError> {
        let mut pager = Pager::new(page);
        let mut rows = sqlx::query(PARKED).bind(before(page)).bind(one_more(page)).fetch(&self.readers);
        while let Some(row) = rows.try_next().await? {
            let entry = ParkedView {
                number: row.try_get(0)?,
                app_key: row.try_get(1)?,
                reason: row.try_get(2)?,
                raw: Private::new(row.try_get(3)?),
                received_at: row.try_get(4)?,
                duplicates: row.try_get(5)?,
            };
            if !pager.take(entry.number, entry.raw.expose().len(), entry) {
                break;
            }
        }
        let (parked, next) = pager.finish();
        Ok(ParkedPage { parked, next_cursor: next.map(|number| cursor::write(number, None)) })
    }

    pub(crate) async fn events(&self, page: &Page) -> Result<EventPage, EngineError> {
        let mut pager = Pager::new(page);
        let mut rows = sqlx::query(EVENTS).bind(before(page)).bind(one_more(page)).fetch(&self.readers);
        while let Some(row) = rows.try_next().await? {
            let entry = EventView {
                number: row.try_get(0)?,
                app_key: row.try_get(1)?,
                event_type: row.try_get(2)?,
                raw: Private::new(row.try_get(3)?),
                received_at: row.try_get(4)?,
                duplicates: row.try_get(5)?,
            };
            if !pager.take(entry.number, entry.raw.expose().len(), entry) {
                break;
            }
        }
        let (events, next) = pager.finish();
        Ok(EventPage { events, next_cursor: next.map(|number| cursor::write(number, None)) })
    }
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

/// The one filter whose index a page is read by; the others are looked at in each row.
///
/// SQLite would guess, without knowing that most calls are `answered` and most of the rest belong to nobody in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    SubscriptionId,
    /// Of the states that business and gateway do not get into as long as all is well.
    RareState,
    Ak,
    AppKey,
    /// `answered` or `skipped`, which may be most calls there are.
    OrdinaryState,
    /// Nothing: by number.
    All,
}

fn driver(filter: &CallFilter) -> Driver {
    match filter {
        CallFilter { subscription_id: Some(_), .. } => Driver::SubscriptionId,
        CallFilter { state: Some(state), .. } if !matches!(state, CallState::Answered | CallState::Skipped) => {
            Driver::RareState
        }
        CallFilter { ak: Some(_), .. } => Driver::Ak,
        CallFilter { app_key: Some(_), .. } => Driver::AppKey,
        CallFilter { state: Some(_), .. } => Driver::OrdinaryState,
        _ => Driver::All,
    }
}

/// From, and up to but without.
fn times(filter: &CallFilter) -> (i64, i64) {
    (filter.from.unwrap_or(i64::MIN), filter.to.unwrap_or(i64::MAX))
}

/// The query for a page of calls; `select` is its beginning.
///
/// Rows are read in the order of an index, newest first, until the page is full: never sorted, whatever the filter. A plus sign
/// before a column keeps SQLite from its index.
pub(super) fn select_calls(
    filter: &CallFilter,
    page: &Page,
    span: &Span,
    now_ms: i64,
    select: &'static str,
) -> QueryBuilder<sqlx::Sqlite> {
    let driver = driver(filter);
    let mut query = QueryBuilder::new(select);
    query.push("number < ").push_bind(before(page));
    if *span != Span::ALL {
        query.push(" AND number >= ").push_bind(span.first).push(" AND number <= ").push_bind(span.last);
    }
    let texts = [
        ("subscription_id = ", &filter.subscription_id, Driver::SubscriptionId),
        ("ak = ", &filter.ak, Driver::Ak),
        ("app_key = ", &filter.app_key, Driver::AppKey),
    ];
    for (condition, value, by) in texts {
        if let Some(value) = value {
            query.push(if driver == by { " AND " } else { " AND +" }).push(condition).push_bind(value);
        }
    }
    if let Some(state) = filter.state {
        let by_state = matches!(driver, Driver::RareState | Driver::OrdinaryState);
        query.push(if by_state { " AND outcome_class" } else { " AND +outcome_class" });
        match state {
            CallState::Pending => query.push(" IS NULL AND claim_deadline >= ").push_bind(now_ms),
            CallState::Unknown => query.push(" IS NULL AND claim_deadline < ").push_bind(now_ms),
            CallState::Answered => query.push(" = 'answered'"),
            CallState::NotSent => query.push(" = 'not_sent'"),
            CallState::MaybeSent => query.push(" = 'maybe_sent'"),
            CallState::Skipped => query.push(" = 'skipped'"),
        };
    }
    if filter.from.is_some() || filter.to.is_some() {
        let (from, to) = times(filter);
        query.push(" AND +recorded_at >= ").push_bind(from).push(" AND +recorded_at < ").push_bind(to);
    }
    query.push(" ORDER BY number DESC LIMIT ").push_bind(one_more(page));
    query
}

fn before(page: &Page) -> i64 {
    page.before.unwrap_or(i64::MAX)
}

fn one_more(page: &Page) -> i64 {
    i64::from(page.limit) + 1
}

fn read_binding(row: &SqliteRow) -> Result<RegisteredBinding, EngineError> {
    let binding: &str = row.try_get(2)?;
    Ok(RegisteredBinding {
        version: row.try_get(0)?,
        registered_at: row.try_get(1)?,
        binding: serde_json::from_str(binding).map_err(EngineError::corrupt)?,
        history: Vec::new(),
    })
}

fn read_call(row: &SqliteRow, now_ms: i64) -> Result<CallView, EngineError> {
    let record: &str = row.try_get("record")?;
    let push_id: &str = row.try_get("push_id")?;
    let outcome: Option<&str> = row.try_get("outcome")?;
    let outcome: Option<Outcome> = outcome.map(serde_json::from_str).transpose().map_err(EngineError::corrupt)?;
    let claim_deadline = row.try_get("claim_deadline")?;
    Ok(CallView {
        call_id: row.try_get("call_id")?,
        app_key: row.try_get("app_key")?,
        session_id: Private::new(row.try_get("session_id")?),
        icid: row.try_get("icid")?,
        state: state(outcome.as_ref(), claim_deadline, now_ms),
        outcome,
        push_id: push_id.parse().map_err(|_| EngineError::Statement("column push_id cannot be read".to_owned()))?,
        received_at: row.try_get("received_at")?,
        recorded_at: row.try_get("recorded_at")?,
        claim_deadline,
        duration_ms: row.try_get("duration_ms")?,
        reported_at: row.try_get("reported_at")?,
        duplicates: row.try_get("duplicates")?,
        record: serde_json::from_str(record).map_err(EngineError::corrupt)?,
    })
}

/// Where a call stands: P3, nothing is pending for ever.
fn state(outcome: Option<&Outcome>, claim_deadline: i64, now_ms: i64) -> CallState {
    match outcome {
        Some(Outcome::Answered { .. }) => CallState::Answered,
        Some(Outcome::NotSent { .. }) => CallState::NotSent,
        Some(Outcome::MaybeSent { .. }) => CallState::MaybeSent,
        Some(Outcome::Skipped { .. }) => CallState::Skipped,
        None if now_ms > claim_deadline => CallState::Unknown,
        None => CallState::Pending,
    }
}
