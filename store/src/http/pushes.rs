//! `POST /v1/pushes` and `POST /v1/outcomes`: the filter's side of the contract.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use privatenumber_contract::paths::COMMITTED_HEADER;
use privatenumber_contract::{CallResult, Outcomes, Private, Push, PushAnswer};

use super::body::JsonBody;
use super::problem::{Kind, Refusal};
use super::{App, json};
use crate::database::{KEY_PART_MAX_BYTES, PushWork};

/// Most CDRs of a push: Huawei's `feeLst` has at most 50.
const CDRS_MAX: usize = 50;
/// Most outcomes of a batch.
const OUTCOMES_MAX: usize = 1000;

pub(super) async fn push(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let push: Push<'_> = body.parse()?;
    check(&push)?;
    let work = PushWork::new(&push);
    let push_id = work.push_id;
    let done = app.writer.push(work, body.into_share()).await?;
    let calls = done.calls.iter().map(|call| CallResult {
        verdict: call.verdict,
        call_id: call.call_id.as_str().into(),
        ak: call.ak.as_deref().map(Into::into),
        record: call.record.as_ref().map(|record| Private::expose(record).as_ref()),
    });
    let mut response = json(StatusCode::OK, &PushAnswer { calls: calls.collect(), works_waiting: 0 })?;
    // The filter tells by this that the 200 is ours and speaks of this very push.
    if let Ok(committed) = HeaderValue::from_str(&push_id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(COMMITTED_HEADER), committed);
    }
    Ok(response)
}

fn check(push: &Push<'_>) -> Result<(), Refusal> {
    if push.app_key.len() > KEY_PART_MAX_BYTES {
        return Err(invalid(format!("`appKey`: longer than {KEY_PART_MAX_BYTES} bytes")));
    }
    for (name, length) in [("calls", push.calls.len()), ("parked", push.parked.len())] {
        if length > CDRS_MAX {
            return Err(invalid(format!("`{name}`: has {length} entries, may have {CDRS_MAX}; split the push")));
        }
    }
    Ok(())
}

pub(super) async fn outcomes(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let Outcomes { outcomes } = body.parse()?;
    if outcomes.len() > OUTCOMES_MAX {
        let length = outcomes.len();
        return Err(invalid(format!("`outcomes`: has {length} entries, may have {OUTCOMES_MAX}; split the batch")));
    }
    let done = app.writer.outcomes(outcomes, body.into_share()).await?;
    json(StatusCode::OK, &done.answer)
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Kind::InvalidBody, detail)
}
