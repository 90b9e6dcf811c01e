//! Inspection and change of temper at run time, under `/__control/`.

use std::collections::BTreeMap;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use privatenumber_contract::{PROBLEM_CONTENT_TYPE, Problem};
use serde::Serialize;

use super::callback::Callback;
use super::state::State;
use super::temper::Temper;

/// No callback address may start with it.
pub const PREFIX: &str = "/__control/";

/// Answers one request below [`PREFIX`].
pub fn respond(state: &State, method: &Method, uri: &Uri, body: &[u8]) -> Response<Full<Bytes>> {
    let query = uri.query().unwrap_or_default();
    let Some(place) = uri.path().strip_prefix(PREFIX) else { return not_found() };
    match (place, method.as_str()) {
        ("callbacks", "GET") => callbacks(state, query),
        ("callbacks", "DELETE") => {
            state.forget();
            no_content()
        }
        ("callbacks", _) => not_allowed("GET, DELETE"),
        ("counts", "GET") => counts(state, query),
        ("counts", _) => not_allowed("GET"),
        ("temper", "GET") => tempers(state),
        ("temper", "PUT") => set_temper(state, None, body),
        ("temper", _) => not_allowed("GET, PUT"),
        (place, method) => match (place.strip_prefix("temper/"), method) {
            (Some(segment), _) if segment.is_empty() || segment.contains('/') => problem(
                StatusCode::BAD_REQUEST,
                "a temper belongs to the first segment of a path: /__control/temper/business-a",
            ),
            (Some(segment), "PUT") => set_temper(state, Some(segment), body),
            (Some(segment), "DELETE") => {
                if state.remove_temper(segment) {
                    no_content()
                } else {
                    not_found()
                }
            }
            (Some(_), _) => not_allowed("PUT, DELETE"),
            (None, _) => not_found(),
        },
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn callbacks(state: &State, query: &str) -> Response<Full<Bytes>> {
    let since = match parameter(query, "since").map(str::parse) {
        None => 0,
        Some(Ok(number)) => number,
        Some(Err(_)) => return problem(StatusCode::BAD_REQUEST, "since: the `number` of a callback belongs here"),
    };
    let callbacks = state.ledger().callbacks_since(since);
    json(&callbacks.iter().map(AsRef::as_ref).collect::<Vec<&Callback>>())
}

fn counts(state: &State, query: &str) -> Response<Full<Bytes>> {
    let counts = match parameter(query, "by_webhook_id") {
        None | Some("true") => state.ledger().counts(),
        Some("false") => state.ledger().totals(),
        Some(_) => return problem(StatusCode::BAD_REQUEST, "by_webhook_id: true or false belongs here"),
    };
    json(&counts)
}

fn tempers(state: &State) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Tempers {
        temper: Temper,
        by_segment: BTreeMap<String, Temper>,
    }
    let (temper, by_segment) = state.tempers();
    json(&Tempers { temper, by_segment })
}

fn set_temper(state: &State, segment: Option<&str>, body: &[u8]) -> Response<Full<Bytes>> {
    let set = serde_json::from_slice::<Temper>(body).map_err(|error| error.to_string()).and_then(|temper| {
        state.set_temper(segment, temper.clone()).map_err(|error| error.to_string())?;
        Ok(temper)
    });
    match set {
        Ok(temper) => json(&temper),
        Err(detail) => problem(StatusCode::BAD_REQUEST, &detail),
    }
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => with_body(StatusCode::OK, "application/json", body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let problem = Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or_default().into(),
        status: status.as_u16(),
        detail: Some(detail.into()),
    };
    with_body(status, PROBLEM_CONTENT_TYPE, serde_json::to_vec(&problem).unwrap_or_default())
}

fn not_found() -> Response<Full<Bytes>> {
    problem(
        StatusCode::NOT_FOUND,
        "there are /__control/callbacks, /__control/counts, /__control/temper and /__control/temper/{segment}",
    )
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("allowed here: {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn no_content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
