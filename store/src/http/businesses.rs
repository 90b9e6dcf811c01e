//! `GET /v1/businesses/{ak}`, `POST /v1/businesses/{ak}:pause` and `:resume`: for operators.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_contract::limits;

use super::problem::{Kind, Refusal};
use super::query::{Parameters, invalid};
use super::{App, json};
use crate::database::PauseWork;

/// How the last part of the path ends.
pub(super) const PAUSE: &str = ":pause";
/// Likewise.
pub(super) const RESUME: &str = ":resume";

pub(super) async fn get(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    Parameters::read(query.as_deref(), &[])?;
    let ak = checked(&read(path)?)?;
    json(StatusCode::OK, &app.database.business(&ak).await?)
}

pub(super) async fn pause_or_resume(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    Parameters::read(query.as_deref(), &[])?;
    let last = read(path)?;
    let (ak, pause) = match (last.strip_suffix(PAUSE), last.strip_suffix(RESUME)) {
        (Some(ak), _) => (ak, true),
        (None, Some(ak)) => (ak, false),
        (None, None) => return Err(Refusal::new(Kind::NotFound, "a path of POST here ends with :pause or :resume")),
    };
    let work = PauseWork { ak: checked(ak)?, pause };
    json(StatusCode::OK, &app.writer.pause(work).await?)
}

fn read(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    path.map(|Path(last)| last).map_err(|_| invalid("ak", "not UTF-8 when percent-decoded"))
}

fn checked(ak: &str) -> Result<String, Refusal> {
    if ak.is_empty() || ak.len() > limits::KEY_PART_BYTES || ak.contains('\0') {
        let most = limits::KEY_PART_BYTES;
        return Err(invalid("ak", &format!("has to have 1 to {most} bytes, without U+0000")));
    }
    Ok(ak.to_owned())
}
