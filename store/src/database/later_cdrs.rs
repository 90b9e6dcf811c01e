//! CDRs of calls that are recorded already: what says something else is kept as a further version.

use std::collections::HashMap;

use privatenumber_contract::Private;

use super::EngineError;
use super::transaction::{LaterCdrDone, LaterCdrRow, Transaction};
use super::work::{NewCall, PushDone, PushWork};

/// The CDRs of a group whose calls are recorded already.
#[derive(Default)]
pub(super) struct LaterCdrs<'w> {
    rows: Vec<LaterCdrRow<'w>>,
    /// The row of each text, and of each row the work that brings it first.
    places: HashMap<(&'w str, &'w [u8]), usize>,
    firsts: Vec<usize>,
}

impl<'w> LaterCdrs<'w> {
    /// Notes that `work`, the `index`th of the group, brings `call`. Where the group itself recorded the call, `recorded` is what it
    /// recorded.
    pub(super) fn note(
        &mut self,
        index: usize,
        work: &'w PushWork,
        call: &'w NewCall,
        recorded: Option<&NewCall>,
        now_ms: i64,
    ) {
        let Some(text) = call.cdr.as_ref().map(Private::expose) else { return };
        if recorded.and_then(|first| first.cdr.as_ref()).is_some_and(|first| first.expose() == text) {
            return;
        }
        let place = *self.places.entry((&call.call_id, text)).or_insert(self.rows.len());
        match self.rows.get_mut(place) {
            Some(row) => {
                // Asked again by the same push: not a further push.
                row.repetitions += i64::from(row.last_push != work.push_id);
                row.last_push = work.push_id;
            }
            None => {
                self.rows.push(LaterCdrRow {
                    call_id: &call.call_id,
                    text,
                    received_at: work.received.at(now_ms),
                    first_push: work.push_id,
                    last_push: work.push_id,
                    repetitions: 0,
                });
                self.firsts.push(index);
            }
        }
    }

    /// Keeps what says something else, and counts it for the works that bring it.
    pub(super) fn keep<T: Transaction>(self, transaction: &mut T, done: &mut [PushDone]) -> Result<(), EngineError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let results = transaction.keep_later_cdrs(&self.rows)?;
        for (index, result) in self.firsts.into_iter().zip(results) {
            let Some(done) = done.get_mut(index) else { continue };
            match result {
                LaterCdrDone::Known => {}
                LaterCdrDone::Kept => done.later_cdrs_kept += 1,
                LaterCdrDone::NotKept => done.later_cdrs_not_kept += 1,
            }
        }
        Ok(())
    }
}
