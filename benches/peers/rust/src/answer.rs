//! What Huawei is answered when a push is not recorded.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The body of a success, as Huawei documents it.
pub const SUCCESS: &str = r#"{"resultcode":"0","resultdesc":"Success"}"#;

/// Why a push is not recorded. Shows no value of it.
#[derive(Debug)]
pub enum Refusal {
    /// Not a JSON content type.
    UnsupportedMediaType,
    /// Not signed by the application.
    Unauthorized(&'static str),
    /// The body is not a push; what is wrong and where.
    Invalid(String),
    /// The store did not say that it has the push.
    StoreUnavailable,
    /// As many callbacks are under way as may be.
    Busy,
}

#[derive(Serialize)]
struct Body<'a> {
    resultcode: &'a str,
    resultdesc: &'a str,
    reason: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason) = match &self {
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json")
            }
            Self::Unauthorized(reason) => (StatusCode::UNAUTHORIZED, *reason),
            Self::Invalid(reason) => (StatusCode::BAD_REQUEST, reason.as_str()),
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the push could not be recorded; push it again")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many callbacks are in flight; push it again"),
        };
        let body =
            Body { resultcode: status.as_str(), resultdesc: status.canonical_reason().unwrap_or_default(), reason };
        let mut response = (status, Json(body)).into_response();
        if let Self::Unauthorized(_) = self {
            let challenge = HeaderValue::from_static(r#"AKSK realm="SDP",profile="UsernameToken",type="Appkey""#);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}
