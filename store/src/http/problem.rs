//! What is answered when a request cannot be served (RFC 9457).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use privatenumber_contract::{PROBLEM_CONTENT_TYPE, Problem};

use crate::database::{ReadError, WriteError};
use crate::writer::QueueError;

/// Why a request is not served.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// A problem: nothing of the request was committed.
    Problem {
        /// What kind of problem.
        kind: Kind,
        /// What is wrong with this request and what to do; no values of the request.
        detail: String,
        /// A header that belongs to the kind.
        header: Option<(HeaderName, HeaderValue)>,
    },
    /// Nobody knows whether the request was committed. Answered with an empty 500 that is no problem document, upon which
    /// the filter asks again.
    Unknown,
}

/// The kinds of problem there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON.
    MalformedJson,
    /// A query parameter or a part of the path is not what it should be.
    InvalidParameter,
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// There is no such thing.
    NotFound,
    /// There is no such method here.
    MethodNotAllowed,
    /// The body took too long to arrive.
    RequestTimeout,
    /// The body is too large.
    TooLarge,
    /// The body is not declared to be JSON.
    UnsupportedMediaType,
    /// The body is JSON, but not what belongs here.
    InvalidBody,
    /// The callback of the call may have reached the business, or there is nothing to release.
    NotReleasable,
    /// The database refused what the request carried.
    Internal,
    /// The database cannot be used now.
    Unavailable,
    /// Too much waits already.
    Overloaded,
    /// The store is stopping.
    Stopping,
}

impl Kind {
    const fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedJson => {
                (StatusCode::BAD_REQUEST, "urn:privatenumber:problem:malformed-json", "The body is not JSON")
            }
            Self::InvalidParameter => (
                StatusCode::BAD_REQUEST,
                "urn:privatenumber:problem:invalid-parameter",
                "A parameter is not what it should be",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "urn:privatenumber:problem:unauthorized",
                "The bearer token is missing or wrong",
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "urn:privatenumber:problem:not-found", "There is no such thing here")
            }
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:privatenumber:problem:method-not-allowed",
                "The method is not served here",
            ),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "urn:privatenumber:problem:request-timeout",
                "The body took too long to arrive",
            ),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "urn:privatenumber:problem:too-large", "The body is too large")
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:privatenumber:problem:unsupported-media-type",
                "The body is not declared to be plain JSON",
            ),
            Self::InvalidBody => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:privatenumber:problem:invalid-body",
                "The body is not what belongs here",
            ),
            Self::NotReleasable => {
                (StatusCode::CONFLICT, "urn:privatenumber:problem:not-releasable", "This cannot be released")
            }
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:privatenumber:problem:internal",
                "The request cannot be stored",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:privatenumber:problem:unavailable",
                "The database cannot be used now",
            ),
            Self::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:privatenumber:problem:overloaded", "Too much waits already")
            }
            Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:privatenumber:problem:stopping", "The store is stopping")
            }
        }
    }
}

impl Refusal {
    /// A problem without a header of its own.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self::Problem { kind, detail: detail.into(), header: None }
    }

    /// A problem with a header that belongs to it.
    pub fn with_header(kind: Kind, detail: impl Into<String>, name: HeaderName, value: &'static str) -> Self {
        Self::Problem { kind, detail: detail.into(), header: Some((name, HeaderValue::from_static(value))) }
    }

    /// The problem document; `None` where nobody knows whether anything was committed.
    pub fn document(&self) -> Option<Problem<'_>> {
        let Self::Problem { kind, detail, .. } = self else { return None };
        let (status, name, title) = kind.describe();
        let (status, detail) = (status.as_u16(), Some(detail.as_str().into()));
        Some(Problem { kind: name.into(), title: title.into(), status, detail })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Some(problem) = self.document() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let header = match self {
            Self::Problem { header, .. } => header,
            Self::Unknown => None,
        };
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], body).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Full => Self::new(
                Kind::Overloaded,
                "the writer's queue is full; try again later, or raise --queue if this lasts",
            ),
            QueueError::Stopping => Self::new(Kind::Stopping, "try again in a moment, or another instance"),
            QueueError::Write(WriteError::Unavailable(_)) => Self::new(
                Kind::Unavailable,
                "nothing was committed; try again later. The store's log says what the database reports",
            ),
            QueueError::Write(WriteError::Refused(_)) => {
                Self::new(Kind::Internal, "the database refused what the request carries; the store's log says why")
            }
            QueueError::Write(WriteError::Unknown(_)) => Self::Unknown,
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a query was not answered");
        Self::new(Kind::Unavailable, "try again later. The store's log says what the database reports")
    }
}
