//! Somebody who plays Huawei: signed pushes, one at a time, exactly as its platform sends them.

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use privatenumber_contract::Private;
use privatenumber_sim::huawei::{CallGenerator, CallSettings, Cdr, Scheme, Signer, Stamp, push_body};
use tokio::net::TcpStream;

use crate::demo;
use crate::http::{self, Answer};
use crate::raw::Head;

/// The push path of `envoy.yaml`.
pub const PUSH_PATH: &str = "/huawei/fee";

/// An application at Huawei with its credentials.
pub struct Huawei {
    signer: Signer,
}

impl Huawei {
    /// The demonstration's application, with the current scheme.
    ///
    /// # Errors
    ///
    /// Never for these credentials.
    pub fn demo() -> Result<Self> {
        Self::new(Scheme::Aksk, demo::APP_KEY, demo::SECRET)
    }

    /// Any application.
    ///
    /// # Errors
    ///
    /// When the credentials can not stand in a header.
    pub fn new(scheme: Scheme, app_key: &str, secret: &str) -> Result<Self> {
        Ok(Self { signer: Signer::new(scheme, app_key, &Private::from(secret))? })
    }

    /// Huawei's headers, signed with a fresh nonce: content type, authorization, digest.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn headers(&self) -> Result<Vec<(String, String)>> {
        let stamp = Stamp::fresh().context("no randomness for a nonce")?;
        Ok(self.signer.headers(&stamp).into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The head of a push to `envoy.yaml`'s push path, signed afresh, which says nothing of its body yet.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn head(&self) -> Result<Head> {
        Ok(Head::post(PUSH_PATH).header("host", "gateway.example.com").headers(self.headers()?))
    }

    /// A whole push as it goes over the wire in HTTP/1.1, signed afresh.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn request(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut request = self.head()?.header("content-length", body.len().to_string()).end();
        request.extend_from_slice(body);
        Ok(request)
    }

    /// Pushes `body` to `url`.
    ///
    /// # Errors
    ///
    /// When no complete answer came.
    pub async fn push(&self, url: &str, body: impl Into<Bytes>) -> Result<Answer> {
        http::send(Method::POST, url, &self.headers()?, body).await
    }

    /// Pushes these CDRs to `url`.
    ///
    /// # Errors
    ///
    /// When no complete answer came.
    pub async fn push_cdrs(&self, url: &str, cdrs: &[Cdr]) -> Result<Answer> {
        self.push(url, push_body(cdrs)?).await
    }

    /// Pushes `body` to `http://address/path` over HTTP/2, which ends with these trailers. The answer's trailers stand among
    /// its headers.
    ///
    /// # Errors
    ///
    /// When no complete answer came.
    pub async fn push_http2_with_trailers(&self, url: &str, body: Bytes, trailers: HeaderMap) -> Result<Answer> {
        let uri: hyper::Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        let Some(authority) = uri.authority().cloned() else { bail!("{url} names no host") };
        let mut request = Request::builder().method(Method::POST).uri(uri);
        for (name, value) in self.headers()? {
            request = request.header(name, value);
        }
        let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) });
        let request = request.body(Box::pin(body)).context("not a request")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await.context("the answer was cut off")?;
        connection.abort();
        head.headers.extend(body.trailers().cloned().unwrap_or_default());
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// Answered calls of the demonstration's binding, one after the other, no two alike. The same seed makes the same calls.
pub fn calls(seed: u64) -> CallGenerator {
    CallGenerator::new(CallSettings { seed, answered_share: 1.0, ..CallSettings::default() })
}
