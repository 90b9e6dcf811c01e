//! Pushes whose signature came with other texts before.
//!
//! Huawei's digest covers nonce and time of creation only, so whoever has seen one push's headers can put them on other CDRs. A retry
//! brings the same texts. Other texts are a replay, or two pushes that Huawei signed alike.

use std::collections::HashMap;

use privatenumber_contract::{OnReplay, PushId};

use super::EngineError;
use super::transaction::{ReplayRow, SignatureRow, StoredSignature, Transaction};
use super::work::{CallWork, PushWork, ReplayDone, SignatureWork};

/// Which works of a group are replays.
pub(super) struct Replays(HashMap<usize, ReplayDone>);

impl Replays {
    /// Remembers the signatures of `works`, for `days` whole days, and lists those that came with other texts before. A push that asks
    /// again with its own id is never a replay of itself.
    pub(super) fn find<T: Transaction>(
        transaction: &mut T,
        works: &[&PushWork],
        now_ms: i64,
        days: u32,
    ) -> Result<Self, EngineError> {
        // The first mention of each signature in the group is looked up, and remembered if it is new. The others are compared with it.
        let mut rows: Vec<SignatureRow<'_>> = Vec::with_capacity(works.len());
        let mut places: HashMap<&[u8; 16], usize> = HashMap::with_capacity(works.len());
        let mut mentions: Vec<(usize, &PushWork, &SignatureWork, usize)> = Vec::with_capacity(works.len());
        for (index, work) in works.iter().enumerate() {
            let Some(signature) = &work.signature else { continue };
            let place = *places.entry(&signature.key).or_insert(rows.len());
            mentions.push((index, work, signature, place));
            if place == rows.len() {
                rows.push(SignatureRow {
                    key: &signature.key,
                    texts: &signature.texts,
                    push_id: work.push_id,
                    received_at: work.received.at(now_ms),
                });
            }
        }
        let mut replays = Self(HashMap::new());
        if rows.is_empty() {
            return Ok(replays);
        }
        let stored = transaction.remember_signatures(&rows, now_ms, days)?;
        if days == 0 {
            return Ok(replays);
        }
        let mut listed: Vec<(usize, ReplayRow<'_>)> = Vec::new();
        for (index, work, signature, place) in mentions {
            let (Some(row), Some(stored)) = (rows.get(place), stored.get(place)) else { continue };
            let first = match stored {
                Some(stored) => stored.clone(),
                None => StoredSignature { texts: *row.texts, push_id: row.push_id, received_at: row.received_at },
            };
            if first.texts != signature.texts && first.push_id != work.push_id {
                listed.push((index, row_of(work, signature, &first, now_ms)));
            }
        }
        replays.list(transaction, listed)?;
        Ok(replays)
    }

    fn list<T: Transaction>(
        &mut self,
        transaction: &mut T,
        listed: Vec<(usize, ReplayRow<'_>)>,
    ) -> Result<(), EngineError> {
        if listed.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<ReplayRow<'_>> = Vec::with_capacity(listed.len());
        let mut places: HashMap<PushId, usize> = HashMap::with_capacity(listed.len());
        let mut mentions = Vec::with_capacity(listed.len());
        for (index, row) in listed {
            let (first_push_id, parked) = (row.first_push_id, row.parked);
            let place = *places.entry(row.push_id).or_insert(rows.len());
            let first_mention = place == rows.len();
            if first_mention {
                rows.push(row);
            }
            mentions.push((index, place, first_mention, first_push_id, parked));
        }
        let new = transaction.list_replays(&rows)?;
        for (index, place, first_mention, first_push_id, parked) in mentions {
            let new = first_mention && new.get(place).copied().unwrap_or_default();
            self.0.insert(index, ReplayDone { first_push_id, parked, new });
        }
        Ok(())
    }

    /// What is to be said of the `index`th work, if it is a replay.
    pub(super) fn of(&self, index: usize) -> Option<ReplayDone> {
        self.0.get(&index).copied()
    }

    /// The push that the signature of the `index`th work came with first, if its CDRs are to be parked.
    pub(super) fn parked(&self, index: usize) -> Option<PushId> {
        self.of(index).filter(|replay| replay.parked).map(|replay| replay.first_push_id)
    }
}

fn row_of<'w>(work: &'w PushWork, signature: &SignatureWork, first: &StoredSignature, now_ms: i64) -> ReplayRow<'w> {
    let call_id = |call: &'w CallWork| match call {
        CallWork::Usable(call) => call.call_id.as_str(),
        CallWork::Unusable { call_id, .. } => call_id.as_str(),
    };
    ReplayRow {
        push_id: work.push_id,
        app_key: &work.app_key,
        scheme: signature.scheme,
        received_at: work.received.at(now_ms),
        first_push_id: first.push_id,
        first_received_at: first.received_at,
        parked: work.on_replay == OnReplay::Park,
        call_ids: work.calls.iter().map(call_id).collect(),
    }
}
