//! Where Huawei pushes.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::answer::{Refusal, SUCCESS};
use crate::cdr;
use crate::credentials::SignedHash;
use crate::service::{Received, Service};

/// Largest body, bytes.
const MAX_BODY: usize = 1024 * 1024;

/// The one route there is. Another method is answered 405, a larger body 413.
pub fn router(service: Arc<Service>) -> Router {
    Router::new().route("/huawei/fee", post(push)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(service)
}

/// The headers of a push are good. Comes before the body, which is not read otherwise.
struct Signed {
    received: Received,
    hash: SignedHash,
}

impl FromRequestParts<Arc<Service>> for Signed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Refusal> {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::UnsupportedMediaType);
        }
        let received = Received::now();
        let hash = service.authenticator.check(&parts.headers, received.at_ms).map_err(Refusal::Unauthorized)?;
        Ok(Self { received, hash })
    }
}

async fn push(State(service): State<Arc<Service>>, signed: Signed, body: Bytes) -> Result<Response, Refusal> {
    let Signed { received, hash } = signed;
    let calls = cdr::read(&body, service.authenticator.app_key(), &service.ak, received.at_ms)?;
    service.record(calls, received, hash).await?;
    Ok(([(CONTENT_TYPE, "application/json")], SUCCESS).into_response())
}
