//! `GET /v1/calls`, `/v1/parked`, `/v1/events`, `/v1/replays`: for operators, and for businesses that must reconcile.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_contract::CallState;

use super::problem::{Kind, Refusal};
use super::query::{Parameters, invalid};
use super::{App, json};
use crate::database::CallFilter;

/// What `answered` meant before there were `delivered` and `rejected`; understood for one version.
const ANSWERED: (&str, &[CallState]) = ("answered", &[CallState::Delivered, CallState::Rejected]);

/// The words of `outcome`.
const OUTCOMES: [(&str, &[CallState]); 1] = [("undelivered", &CallState::UNDELIVERED)];

/// The states that a request asks for, each once; none where it does not ask.
fn states(parameters: &Parameters<'_>) -> Result<Vec<CallState>, Refusal> {
    let single: Vec<_> = CallState::ALL.iter().map(|state| (state.as_str(), std::slice::from_ref(state))).collect();
    let by_state = parameters.all_of("state", &single, &[ANSWERED])?;
    let by_outcome = parameters.one_of("outcome", &OUTCOMES)?;
    if by_outcome.is_some() && !by_state.is_empty() {
        return Err(invalid("outcome", "there beside `state`; leave one out"));
    }
    let asked = by_state.into_iter().chain(by_outcome).flatten();
    Ok(asked.fold(Vec::new(), |mut states, state| {
        if !states.contains(state) {
            states.push(*state);
        }
        states
    }))
}

pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let known = ["state", "outcome", "ak", "subscriptionId", "appKey", "from", "to", "limit", "cursor"];
    let parameters = Parameters::read(query.as_deref(), &known)?;
    let filter = CallFilter {
        states: states(&parameters)?,
        ak: parameters.text("ak")?,
        subscription_id: parameters.text("subscriptionId")?,
        app_key: parameters.text("appKey")?,
        from: parameters.moment("from")?,
        to: parameters.moment("to")?,
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(invalid("to", "not after `from`; calls are given from `from` up to but without `to`"));
    }
    json(StatusCode::OK, &app.database.calls(&filter, &parameters.page()?, app.clock.now_ms()).await?)
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let Path(id) = path.map_err(|_| invalid("callId", "not UTF-8 when percent-decoded"))?;
    Parameters::read(query.as_deref(), &[])?;
    match app.database.call(&id, app.clock.now_ms()).await? {
        Some(call) => json(StatusCode::OK, &call),
        None => Err(Refusal::new(Kind::NotFound, "there is no call of this id; GET /v1/calls lists those there are")),
    }
}

pub(super) async fn parked(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let page = Parameters::read(query.as_deref(), &["limit", "cursor"])?.page()?;
    json(StatusCode::OK, &app.database.parked(&page).await?)
}

pub(super) async fn events(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let page = Parameters::read(query.as_deref(), &["limit", "cursor"])?.page()?;
    json(StatusCode::OK, &app.database.events(&page).await?)
}

pub(super) async fn replays(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let page = Parameters::read(query.as_deref(), &["limit", "cursor"])?.page()?;
    json(StatusCode::OK, &app.database.replays(&page).await?)
}
