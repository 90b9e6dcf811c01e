//! One HTTP request on one connection: nothing is pooled, retried or redirected.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a whole exchange may take.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer, complete.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is not JSON of that kind.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("the answer ({}) is not the JSON expected", self.status))
    }

    /// The answer itself if its status is `status`.
    ///
    /// # Errors
    ///
    /// When it is another; the text holds the answer's body.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!("answered {} instead of {status}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

/// `GET`.
///
/// # Errors
///
/// When no complete answer came.
pub async fn get(url: &str) -> Result<Answer> {
    send(Method::GET, url, &[], Bytes::new()).await
}

/// `PUT` or `POST` of JSON.
///
/// # Errors
///
/// When no complete answer came.
pub async fn send_json(method: Method, url: &str, value: &impl serde::Serialize) -> Result<Answer> {
    let body = serde_json::to_vec(value).context("cannot write the request as JSON")?;
    send(method, url, &[("content-type".to_owned(), "application/json".to_owned())], body).await
}

/// Any request, with exactly these headers (and `host`, and `content-length` where there is a body).
///
/// # Errors
///
/// When no complete answer came.
pub async fn send(method: Method, url: &str, headers: &[(String, String)], body: impl Into<Bytes>) -> Result<Answer> {
    send_by(Version::HTTP_11, method, url, headers, body).await
}

/// The same by this version of HTTP; HTTP/2 without asking whether the server speaks it.
///
/// # Errors
///
/// When no complete answer came.
pub async fn send_by(
    version: Version,
    method: Method,
    url: &str,
    headers: &[(String, String)],
    body: impl Into<Bytes>,
) -> Result<Answer> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
    let authority = uri.authority().with_context(|| format!("{url} names no host"))?.clone();
    let mut request = Request::builder().method(method.clone());
    request = if version == Version::HTTP_2 {
        request.uri(uri)
    } else {
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        request.uri(target).header(HOST, authority.as_str())
    };
    for (name, value) in headers {
        request = request.header(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    let request = request.body(Full::new(body.into())).context("not a request")?;
    let exchange = exchange(version, authority.as_str(), request);
    let answer = tokio::time::timeout(LIMIT, exchange).await.map_err(|_| anyhow!("no answer within {LIMIT:?}"));
    answer.and_then(|answer| answer).with_context(|| format!("{method} {url}"))
}

async fn exchange(version: Version, authority: &str, request: Request<Full<Bytes>>) -> Result<Answer> {
    let stream = TcpStream::connect(authority).await.with_context(|| format!("cannot connect to {authority}"))?;
    // A connection ends with its task, which ends with this function.
    let mut connections = JoinSet::new();
    let answer = if version == Version::HTTP_2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await?;
        connections.spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        connections.spawn(connection);
        sender.send_request(request).await?
    };
    let (head, body) = answer.into_parts();
    let body = body.collect().await.context("the answer was cut off")?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
