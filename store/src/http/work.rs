//! `POST /v1/work:take`: a worker takes calls that wait in the store.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_contract::{WorkAnswer, WorkRequest, limits};

use super::body::{JsonBody, invalid};
use super::problem::Refusal;
use super::pushes::results;
use super::{App, json};

pub(super) async fn take(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let body = JsonBody::read(request, &app.body_limits).await?;
    let request: WorkRequest = body.parse()?;
    if !(1..=limits::WORKS).contains(&(request.most as usize)) {
        return Err(invalid(format!("`most`: has to be from 1 to {}", limits::WORKS)));
    }
    let done = app.writer.works(request).await?;
    let answer =
        WorkAnswer { push_id: request.push_id, calls: results(&done.calls), works_waiting: done.works_waiting };
    json(StatusCode::OK, &answer)
}
