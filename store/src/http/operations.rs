//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: for whoever runs the store.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Refusal};
use super::{App, json};

/// The contract as it is served, described for people and generators.
pub const OPENAPI: &str = include_str!("../../openapi.json");

#[derive(serde::Serialize)]
struct Status {
    status: &'static str,
}

pub(super) async fn health() -> Result<Response, Refusal> {
    json(StatusCode::OK, &Status { status: "up" })
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    if app.is_stopping() {
        return Err(Refusal::new(Kind::Stopping, "no further requests should be sent here"));
    }
    match tokio::time::timeout(app.ready_timeout, app.writer.readiness()).await {
        Ok(Ok(())) => json(StatusCode::OK, &Status { status: "ready" }),
        Ok(Err(error)) => Err(match Refusal::from(error) {
            // Nobody depends on this commit, so that its result is unknown is simply a failure.
            Refusal::Unknown => Refusal::new(Kind::Unavailable, "a commit failed; the store's log says why"),
            problem => problem,
        }),
        Err(_) => {
            let seconds = app.ready_timeout.as_secs_f64();
            Err(Refusal::new(Kind::Unavailable, format!("a trivial write was not committed within {seconds} s")))
        }
    }
}

/// How long the metrics wait for the number of calls that wait; then they say the last one.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    if let Ok(Ok(waiting)) = tokio::time::timeout(COUNT_TIMEOUT, app.database.waiting(app.clock.now_ms())).await {
        app.metrics.set_waiting(&waiting);
    }
    match app.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => Refusal::new(Kind::Internal, "the metrics cannot be written").into_response(),
    }
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
