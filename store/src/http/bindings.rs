//! `PUT|GET /v1/bindings/{subscriptionId}`: the binding service's side of the contract.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_contract::{Binding, limits};
use serde::de::IgnoredAny;

use super::body::{BodyLimits, JsonBody};
use super::problem::{Kind, Refusal};
use super::query::{Parameters, invalid, seconds_taken_for_milliseconds};
use super::registration::Registration;
use super::{App, json};
use crate::database::BindingWork;

pub(super) async fn put(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let subscription_id = id(path)?;
    Parameters::read(query.as_deref(), &[])?;
    let body_limits = BodyLimits { bytes: limits::BINDING_BYTES.min(app.body_limits.bytes), ..app.body_limits.clone() };
    let body = JsonBody::read(request, &body_limits).await?;
    let Registration(binding) = body.parse()?;
    check(&subscription_id, &binding)?;
    let done = app.writer.binding(BindingWork { subscription_id, binding }, body.into_share()).await?;
    let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &done.registered)
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let subscription_id = id(path)?;
    let parameters = Parameters::read(query.as_deref(), &["history"])?;
    let history = parameters.one_of("history", &[("true", true), ("false", false)])?.unwrap_or(false);
    match app.database.binding(&subscription_id, history).await? {
        Some(registered) => json(StatusCode::OK, &registered),
        None => {
            Err(Refusal::new(Kind::NotFound, "no binding is registered under this `subscriptionId`; PUT registers it"))
        }
    }
}

fn id(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    let Path(id) = path.map_err(|_| invalid("subscriptionId", "not UTF-8 when percent-decoded"))?;
    // Tools that read the database end a text at the first NUL, so they would show another id.
    if id.contains('\0') {
        return Err(invalid("subscriptionId", "contains a NUL character (%00); give the id as Huawei returned it"));
    }
    if (1..=limits::SUBSCRIPTION_ID_CHARS).contains(&id.chars().count()) {
        Ok(id)
    } else {
        Err(invalid("subscriptionId", &format!("has to have 1 to {} characters", limits::SUBSCRIPTION_ID_CHARS)))
    }
}

fn check(subscription_id: &str, binding: &Binding) -> Result<(), Refusal> {
    if binding.subscription_id.as_deref().is_some_and(|given| given != subscription_id) {
        let detail = "`subscriptionId`: differs from the one in the path; make them equal or leave it out of the body";
        return Err(Refusal::new(Kind::InvalidBody, detail));
    }
    let ranges = [
        ("maxDuration", binding.max_duration, 0, 1440, "minutes"),
        ("callDirection", binding.call_direction, 0, 2, "0 both ways, 1 only A calls X, 2 only others call X"),
        ("status", binding.status, -1, 1, "-1 binding failed, 0 unbound, 1 bound"),
    ];
    for (name, value, least, most, meaning) in ranges {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            let detail = format!("`{name}`: has to be from {least} to {most} ({meaning})");
            return Err(Refusal::new(Kind::InvalidBody, detail));
        }
    }
    let times =
        [("bindTime", binding.bind_time), ("unbindTime", binding.unbind_time), ("createdAt", binding.created_at)];
    for (name, time) in times {
        if let Some(hint) = time.and_then(seconds_taken_for_milliseconds) {
            return Err(Refusal::new(Kind::InvalidBody, format!("`{name}`: {hint}")));
        }
    }
    let texts = [("bindResponse", &binding.bind_response), ("unbindResponse", &binding.unbind_response)];
    for (name, value) in texts {
        let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
        if value.as_ref().is_some_and(|value| !is_json(value.expose())) {
            let detail =
                format!("`{name}`: has to be a string that holds JSON; give Huawei's answer as it came, or null");
            return Err(Refusal::new(Kind::InvalidBody, detail));
        }
    }
    Ok(())
}
