//! `POST /v1/push-batches`: several pushes at once, each committed and answered for itself.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use privatenumber_contract::{Problem, Push, PushId, PushResult, PushVerdict, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::App;
use super::body::{JsonBody, invalid, parse};
use super::problem::Refusal;
use super::pushes::{note_clock, results, work};
use crate::database::{NotKept, PushDone, PushWork, WriteError};
use crate::writer::QueueError;

/// A [`PushBatch`](privatenumber_contract::PushBatch) whose pushes are still to be read, each for itself.
#[derive(Deserialize)]
struct Unread<'a> {
    #[serde(borrow)]
    pushes: Vec<&'a RawValue>,
}

/// All that is read of a push that does not keep the contract.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    push_id: PushId,
}

/// A push that does not keep the contract, and why.
struct Refused {
    push_id: PushId,
    refusal: Refusal,
}

pub(super) async fn push_batch(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let Unread { pushes } = body.parse()?;
    if pushes.len() > limits::BATCH_PUSHES {
        let (length, most) = (pushes.len(), limits::BATCH_PUSHES);
        return Err(invalid(format!("`pushes`: has {length} entries, may have {most}; split the batch")));
    }
    let number = pushes.len();
    let (works, refused) = read(pushes);
    app.metrics.batch_came(number, number.saturating_sub(works.len()));
    // All pushes of a batch come from one gateway.
    if let Some(first) = works.first() {
        note_clock(&app, first);
    }
    let ids: Vec<PushId> = works.iter().map(|work| work.push_id).collect();
    let committed = if works.is_empty() { Vec::new() } else { app.writer.pushes(works, body.into_share()).await? };
    if let Some(refusal) = of_all(&committed) {
        return Err(refusal);
    }
    // Where nothing was committed, the last commit says it.
    let works_waiting = committed.iter().rev().find_map(|result| result.as_ref().ok().map(|done| done.works_waiting));
    let works_waiting = works_waiting.unwrap_or_else(|| app.metrics.works_waiting());
    answer(&ids, &committed, &refused, works_waiting)
}

/// Reads the pushes, each for itself. One whose id cannot be read is left out of the answer, for it has no name there; one whose id
/// stands twice is read once, for the answer has one verdict for each id.
fn read(pushes: Vec<&RawValue>) -> (Vec<PushWork>, Vec<Refused>) {
    let (mut works, mut refused) = (Vec::with_capacity(pushes.len()), Vec::new());
    let mut seen = HashSet::with_capacity(pushes.len());
    for text in pushes {
        let text = text.get().as_bytes();
        let push = parse::<Push<'_>>(text).and_then(|push| work(&push).map_err(|NotKept(detail)| invalid(detail)));
        match push {
            Ok(work) => {
                if seen.insert(work.push_id) {
                    works.push(work);
                }
            }
            Err(refusal) => {
                if let Ok(Identity { push_id }) = parse(text)
                    && seen.insert(push_id)
                {
                    refused.push(Refused { push_id, refusal });
                }
            }
        }
    }
    (works, refused)
}

/// The answer to the whole batch, where one thing befell all its pushes that were to be committed: so a client that looks at the status
/// alone sees that this store cannot commit.
fn of_all(committed: &[Result<PushDone, WriteError>]) -> Option<Refusal> {
    let Some(Err(first)) = committed.first() else { return None };
    let same = |result: &Result<PushDone, WriteError>| {
        matches!(
            (first, result),
            (WriteError::Unavailable(_), Err(WriteError::Unavailable(_)))
                | (WriteError::Unknown(_), Err(WriteError::Unknown(_)))
        )
    };
    committed.iter().all(same).then(|| QueueError::from(first.clone()).into())
}

/// Room in an answer for the verdict `retry` of one push, bytes.
const RETRY_BYTES: usize = 72;

/// Room for what ends an answer, bytes.
const END_BYTES: usize = 40;

/// The answer, written push by push until it is full; of those that have no room it says `retry`.
fn answer(
    ids: &[PushId],
    committed: &[Result<PushDone, WriteError>],
    refused: &[Refused],
    works_waiting: u64,
) -> Result<Response, Refusal> {
    let mut text =
        Answer { text: b"{\"pushes\":[".to_vec(), left: ids.len().saturating_add(refused.len()), useful: false };
    for (push_id, result) in ids.iter().zip(committed) {
        match result {
            Ok(done) => text.add(*push_id, PushVerdict::Committed, Some(done), None)?,
            Err(error) => {
                let refusal = Refusal::from(QueueError::from(error.clone()));
                text.add(*push_id, PushVerdict::Retry, None, refusal.document())?;
            }
        }
    }
    for Refused { push_id, refusal } in refused {
        text.add(*push_id, PushVerdict::Refused, None, refusal.document())?;
    }
    text.text.extend_from_slice(format!("],\"worksWaiting\":{works_waiting}}}").as_bytes());
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text.text).into_response())
}

struct Answer {
    text: Vec<u8>,
    /// How many pushes are not in it yet.
    left: usize,
    /// Whether a committed push is in it.
    useful: bool,
}

impl Answer {
    fn add(
        &mut self,
        push_id: PushId,
        verdict: PushVerdict,
        done: Option<&PushDone>,
        problem: Option<Problem<'_>>,
    ) -> Result<(), Refusal> {
        if self.text.last() != Some(&b'[') {
            self.text.push(b',');
        }
        self.left = self.left.saturating_sub(1);
        let before = self.text.len();
        let calls = done.map(|done| results(&done.calls)).unwrap_or_default();
        self.write(&PushResult { push_id, verdict, calls, problem })?;
        let whole = self.text.len().saturating_add(self.left.saturating_mul(RETRY_BYTES)).saturating_add(END_BYTES);
        let committed = verdict == PushVerdict::Committed;
        // One committed push is given whole whatever its size, so that asking again comes to an end.
        if whole > limits::ANSWER_BYTES && (self.useful || !committed) {
            self.text.truncate(before);
            self.write(&PushResult { push_id, verdict: PushVerdict::Retry, calls: Vec::new(), problem: None })?;
        } else if committed {
            self.useful = true;
        }
        Ok(())
    }

    fn write(&mut self, result: &PushResult<'_>) -> Result<(), Refusal> {
        // An answer that cannot be written says nothing of what was committed.
        serde_json::to_writer(&mut self.text, result).map_err(|_| Refusal::Unknown)
    }
}
