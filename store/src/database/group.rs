//! A group: works that wait together are committed together.

use super::apply::apply;
use super::transaction::{Engine, Transaction};
use super::work::{Done, Work};
use super::{EngineError, WriteError};

/// Commits `works` in one transaction and says for each what it came to, in their order.
///
/// If one of them cannot be stored, nothing of that transaction is kept and each is tried in a transaction of its own, so
/// that it alone fails. If the database as a whole cannot be written, all of them fail and nothing is kept.
pub(crate) async fn commit<E: Engine>(engine: &E, works: &[&Work], now_ms: i64) -> Vec<Result<Done, WriteError>> {
    match attempt(engine, works, now_ms).await {
        Ok(done) => done.into_iter().map(Ok).collect(),
        Err(WriteError::Refused(reason)) if works.len() > 1 => {
            tracing::warn!(works = works.len(), reason, "a group cannot be committed together, trying each alone");
            one_by_one(engine, works, now_ms).await
        }
        Err(error) => works.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn one_by_one<E: Engine>(engine: &E, works: &[&Work], now_ms: i64) -> Vec<Result<Done, WriteError>> {
    let mut results = Vec::with_capacity(works.len());
    let mut unavailable = None;
    for work in works {
        if let Some(error) = &unavailable {
            results.push(Err(WriteError::clone(error)));
            continue;
        }
        let result = attempt(engine, std::slice::from_ref(work), now_ms).await;
        match result {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            Err(error) => {
                if matches!(error, WriteError::Unavailable(_)) {
                    unavailable = Some(error.clone());
                }
                results.push(Err(error));
            }
        }
    }
    results
}

async fn attempt<E: Engine>(engine: &E, works: &[&Work], now_ms: i64) -> Result<Vec<Done>, WriteError> {
    let mut transaction = engine.begin().await?;
    match apply_all(&mut transaction, works, now_ms).await {
        Ok(done) => {
            transaction.commit().await?;
            Ok(done)
        }
        Err(error) => {
            transaction.rollback().await;
            Err(error.into())
        }
    }
}

async fn apply_all<T: Transaction>(
    transaction: &mut T,
    works: &[&Work],
    now_ms: i64,
) -> Result<Vec<Done>, EngineError> {
    let mut done = Vec::with_capacity(works.len());
    for work in works {
        done.push(apply(transaction, work, now_ms).await?);
    }
    Ok(done)
}
