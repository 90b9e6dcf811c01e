//! The HTTP client that store and business are asked with: HTTP/1.1, connections kept and shared.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// How long one request may take, its answer included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The `user-agent` of every request.
pub const USER_AGENT: &str = concat!("peer-service/", env!("CARGO_PKG_VERSION"));

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, so nothing was sent.
    #[error("no connection")]
    NotConnected,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended before an answer.
    #[error("the connection ended before an answer")]
    Reset,
    /// The connection ended within the answer.
    #[error("the answer was cut off")]
    Truncated,
}

/// See the [module](self).
#[derive(Clone)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

impl Client {
    /// A client without connections, which closes them when they were idle for `idle`: before the other side does.
    pub fn new(idle: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .build(connector);
        Self(client)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        timeout(TIMEOUT, self.exchange(request)).await.map_err(|_| Failure::Timeout)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let answer = self.0.request(request).await.map_err(|error| Failure::of(&error))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Failure::Truncated)?.to_bytes();
        Ok((head.status, head.headers, body))
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        if error.is_connect() { Self::NotConnected } else { Self::Reset }
    }
}
