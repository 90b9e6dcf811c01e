//! The SQL that writes.

use privatenumber_contract::{Outcome, OutcomeReport, RegisteredBinding};
use sqlx::pool::PoolConnection;
use sqlx::{Row, Sqlite as SqliteDriver};

use super::{Sqlite, describe};
use crate::database::transaction::{Engine, StoredClaim, Transaction};
use crate::database::work::{BindingWork, EventWork, NewCall, ParkedWork, PushWork};
use crate::database::{CommitUnknown, EngineError};

/// An open transaction on the writing connection.
///
/// BEGIN, COMMIT and ROLLBACK are ordinary statements here. SQLite rolls back by itself when the disk is full, and a
/// driver that counts transaction depth would then believe that one is still open.
pub(crate) struct SqliteTransaction {
    connection: PoolConnection<SqliteDriver>,
    in_memory: bool,
    ended: bool,
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if !self.ended && !self.in_memory {
            // A connection in an unknown state is not used again; the pool opens another.
            self.connection.close_on_drop();
        }
    }
}

impl Engine for Sqlite {
    type Transaction = SqliteTransaction;

    async fn begin(&self) -> Result<SqliteTransaction, EngineError> {
        let connection = self.writer.acquire().await?;
        let mut transaction = SqliteTransaction { connection, in_memory: self.in_memory, ended: false };
        match sqlx::query("BEGIN IMMEDIATE").execute(&mut *transaction.connection).await {
            Ok(_) => Ok(transaction),
            // Whatever is wrong with BEGIN is not the fault of a work.
            Err(error) => Err(EngineError::Unavailable(describe(&error))),
        }
    }
}

impl Transaction for SqliteTransaction {
    async fn claim(&mut self, call_id: &str) -> Result<Option<StoredClaim>, EngineError> {
        let row =
            sqlx::query("SELECT push_id, outcome IS NOT NULL AS has_outcome, ak, record FROM calls WHERE call_id = $1")
                .bind(call_id)
                .fetch_optional(&mut *self.connection)
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StoredClaim {
            push_id: row.try_get(0)?,
            has_outcome: row.try_get(1)?,
            ak: row.try_get(2)?,
            record: row.try_get(3)?,
        }))
    }

    async fn binding(&mut self, subscription_id: &str) -> Result<Option<RegisteredBinding>, EngineError> {
        super::read::binding(&mut *self.connection, subscription_id).await
    }

    async fn insert_call(
        &mut self,
        push: &PushWork,
        call: &NewCall,
        ak: Option<&str>,
        record: &str,
        now_ms: i64,
    ) -> Result<(), EngineError> {
        sqlx::query(
            "INSERT INTO calls (call_id, app_key, session_id, icid, push_id, received_at, recorded_at, claim_deadline, \
             ak, subscription_id, record) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&call.call_id)
        .bind(&call.app_key)
        .bind(call.session_id.expose())
        .bind(&call.icid)
        .bind(push.push_id.to_string())
        .bind(push.received_at)
        .bind(now_ms)
        .bind(call.claim_deadline)
        .bind(ak)
        .bind(&call.record.subscription_id)
        .bind(record)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn count_duplicate(&mut self, call_id: &str) -> Result<(), EngineError> {
        sqlx::query("UPDATE calls SET duplicates = duplicates + 1 WHERE call_id = $1")
            .bind(call_id)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn park(&mut self, push: &PushWork, parked: &ParkedWork) -> Result<bool, EngineError> {
        let push_id = push.push_id.to_string();
        if self.count_repeat(COUNT_PARKED, &parked.digest, &push_id).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO parked (digest, app_key, push_id, reason, raw, received_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&parked.digest)
        .bind(&push.app_key)
        .bind(push_id)
        .bind(&parked.reason)
        .bind(parked.raw.expose())
        .bind(push.received_at)
        .execute(&mut *self.connection)
        .await?;
        Ok(true)
    }

    async fn keep_event(&mut self, push: &PushWork, event: &EventWork) -> Result<bool, EngineError> {
        let push_id = push.push_id.to_string();
        if self.count_repeat(COUNT_EVENT, &event.digest, &push_id).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO events (digest, app_key, push_id, event_type, raw, received_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&event.digest)
        .bind(&push.app_key)
        .bind(push_id)
        .bind(&event.event_type)
        .bind(event.raw.expose())
        .bind(push.received_at)
        .execute(&mut *self.connection)
        .await?;
        Ok(true)
    }

    async fn write_outcome(&mut self, report: &OutcomeReport, now_ms: i64) -> Result<bool, EngineError> {
        let outcome = serde_json::to_string(&report.outcome).map_err(EngineError::corrupt)?;
        let result = sqlx::query(
            "UPDATE calls SET outcome_class = $1, outcome = $2, duration_ms = $3, reported_at = $4 \
             WHERE call_id = $5 AND push_id = $6 AND outcome IS NULL",
        )
        .bind(outcome_class(&report.outcome))
        .bind(outcome)
        .bind(report.duration_ms)
        .bind(now_ms)
        .bind(&report.call_id)
        .bind(report.push_id.to_string())
        .execute(&mut *self.connection)
        .await?;
        Ok(result.rows_affected() > 0)
    }

    async fn insert_binding(&mut self, work: &BindingWork, version: i64, now_ms: i64) -> Result<(), EngineError> {
        let binding = serde_json::to_string(&work.binding).map_err(EngineError::corrupt)?;
        sqlx::query("INSERT INTO bindings (subscription_id, version, registered_at, binding) VALUES ($1, $2, $3, $4)")
            .bind(&work.subscription_id)
            .bind(version)
            .bind(now_ms)
            .bind(binding)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn write_readiness(&mut self, now_ms: i64) -> Result<(), EngineError> {
        sqlx::query(
            "INSERT INTO readiness (id, checked_at) VALUES (1, $1) \
             ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at",
        )
        .bind(now_ms)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn commit(mut self) -> Result<(), CommitUnknown> {
        match sqlx::query("COMMIT").execute(&mut *self.connection).await {
            Ok(_) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => {
                // Some or all of it may be in the write-ahead log. Leave nothing open for the next transaction.
                self.rollback().await;
                Err(CommitUnknown(describe(&error)))
            }
        }
    }

    async fn rollback(mut self) {
        // After some errors SQLite has rolled back already and says so. After any other failure the connection is given
        // up, see `drop`.
        self.ended = match sqlx::query("ROLLBACK").execute(&mut *self.connection).await {
            Ok(_) => true,
            Err(sqlx::Error::Database(error)) => error.message().contains("no transaction is active"),
            Err(_) => false,
        };
    }
}

const COUNT_PARKED: &str = "UPDATE parked SET duplicates = duplicates + CASE WHEN push_id = $1 THEN 0 ELSE 1 END, \
                            push_id = $1 WHERE digest = $2";
const COUNT_EVENT: &str = "UPDATE events SET duplicates = duplicates + CASE WHEN push_id = $1 THEN 0 ELSE 1 END, \
                           push_id = $1 WHERE digest = $2";

impl SqliteTransaction {
    /// Counts a further push of a text that is kept; false if it is not kept yet.
    async fn count_repeat(
        &mut self,
        statement: &'static str,
        digest: &str,
        push_id: &str,
    ) -> Result<bool, EngineError> {
        let result = sqlx::query(statement).bind(push_id).bind(digest).execute(&mut *self.connection).await?;
        Ok(result.rows_affected() > 0)
    }
}

/// The class as it is on the wire.
pub(super) fn outcome_class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { .. } => "answered",
        Outcome::NotSent { .. } => "not_sent",
        Outcome::MaybeSent { .. } => "maybe_sent",
        Outcome::Skipped { .. } => "skipped",
    }
}
