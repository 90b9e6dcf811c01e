//! `POST /v1/pushes` and `POST /v1/outcomes`: the filter's side of the contract.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use privatenumber_contract::paths::COMMITTED_HEADER;
use privatenumber_contract::{
    Application, CallResult, Outcomes, Private, Push, PushAnswer, Signature, WithoutBinding, is_hex, limits,
};

use super::body::{JsonBody, invalid};
use super::problem::Refusal;
use super::{App, json};
use crate::database::{CallDone, NotKept, PushWork, SCHEMES};

/// How long a call may wait for its binding: up to a week.
const HOLD_SECONDS: RangeInclusive<u32> = 1..=604_800;

pub(super) async fn push(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let push: Push<'_> = body.parse()?;
    let work = work(&push).map_err(|NotKept(detail)| invalid(detail))?;
    note_clock(&app, &work);
    let push_id = work.push_id;
    let done = app.writer.push(work, body.into_share()).await?;
    let mut response =
        json(StatusCode::OK, &PushAnswer { calls: results(&done.calls), works_waiting: done.works_waiting })?;
    // The filter tells by this that the 200 is ours and speaks of this very push.
    if let Ok(committed) = HeaderValue::from_str(&push_id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(COMMITTED_HEADER), committed);
    }
    Ok(response)
}

/// Measures the clock of the gateway that has just sent the push.
pub(super) fn note_clock(app: &App, work: &PushWork) {
    if let Some(gateway_now_ms) = work.gateway_now_ms {
        app.metrics.gateway_clock(gateway_now_ms.saturating_sub(app.clock.read().wall_ms));
    }
}

/// What the contract says of each call that was committed.
pub(super) fn results(calls: &[CallDone]) -> Vec<CallResult<'_>> {
    let results = calls.iter().map(|call| CallResult {
        verdict: call.verdict,
        call_id: call.call_id.as_str().into(),
        ak: call.ak.as_deref().map(Into::into),
        record: call.record.as_ref().map(|record| Private::expose(record).as_ref()),
    });
    results.collect()
}

/// What is to be committed of a push that keeps the contract.
pub(super) fn work(push: &Push<'_>) -> Result<PushWork, NotKept> {
    if push.app_key.len() > limits::KEY_PART_BYTES {
        return Err(NotKept(format!("`appKey`: longer than {} bytes", limits::KEY_PART_BYTES)));
    }
    for (name, length) in [("calls", push.calls.len()), ("parked", push.parked.len())] {
        if length > limits::PUSH_CDRS {
            let most = limits::PUSH_CDRS;
            return Err(NotKept(format!("`{name}`: has {length} entries, may have {most}; split the push")));
        }
    }
    if let Some(Signature { scheme, hash }) = &push.signature {
        if !SCHEMES.contains(&scheme.as_ref()) {
            return Err(NotKept("`signature.scheme`: has to be aksk or wsse".to_owned()));
        }
        if !is_hex(hash) {
            return Err(NotKept("`signature.hash`: has to be 32 lower-case hex digits".to_owned()));
        }
    }
    if let Some(Application { without_binding: WithoutBinding::Hold(seconds), .. }) = &push.application
        && !HOLD_SECONDS.contains(seconds)
    {
        let (least, most) = (HOLD_SECONDS.start(), HOLD_SECONDS.end());
        return Err(NotKept(format!("`application.withoutBinding.hold`: has to be from {least} to {most} (seconds)")));
    }
    PushWork::new(push)
}

pub(super) async fn outcomes(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let Outcomes { outcomes } = body.parse()?;
    if outcomes.len() > limits::OUTCOMES {
        let (length, most) = (outcomes.len(), limits::OUTCOMES);
        return Err(invalid(format!("`outcomes`: has {length} entries, may have {most}; split the batch")));
    }
    let done = app.writer.outcomes(outcomes, body.into_share()).await?;
    json(StatusCode::OK, &done.answer)
}
