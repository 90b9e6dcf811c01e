//! Asks a running store.

use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use privatenumber_contract::{ImportAnswer, ImportRequest, ImportResult, Problem, paths};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before each further attempt where the store is away or overloaded. Asking again changes nothing for what the
/// store has.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// Largest answer that is read, bytes: some 200 for each CDR of a request, and room for reasons.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A client of one store.
pub(super) struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
}

/// What the store said of a batch.
pub(super) enum Answer {
    /// What became of each CDR.
    Done(Vec<ImportResult<'static>>),
    /// It cannot take these CDRs together, and says why. Nothing of them was imported.
    Refused(String),
}

/// Why an attempt brought no answer.
enum Failure {
    /// Another attempt may succeed.
    Passing(anyhow::Error),
    /// None will.
    Lasting(anyhow::Error),
}

impl Client {
    /// A client of the store at `store`, with a token if it needs one.
    ///
    /// # Errors
    /// The address cannot be used, or the token cannot be sent.
    pub(super) fn new(store: &str, token: Option<String>) -> anyhow::Result<Self> {
        let url: Option<Uri> = format!("{}{}", store.trim_end_matches('/'), paths::CDRS_IMPORT).parse().ok();
        let url = url.filter(|url| url.scheme_str() == Some("http") && url.authority().is_some());
        let url = url.ok_or_else(|| {
            anyhow!(
                "--store: not an address like http://127.0.0.1:8090; where the store is behind TLS, run this on its machine or \
                 through a tunnel"
            )
        })?;
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token has characters that no header can carry")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Self { http, url, authorization: authorization.transpose()? })
    }

    /// Imports a batch; asks again where the store is away for a moment.
    ///
    /// # Errors
    /// The store stays away, or does not take imports.
    pub(super) async fn import(&self, request: &ImportRequest<'_>) -> anyhow::Result<Answer> {
        let body = Bytes::from(serde_json::to_vec(request)?);
        let mut pauses = PAUSES.into_iter();
        loop {
            let failure = match tokio::time::timeout(PATIENCE, self.attempt(body.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Lasting(error))) => return Err(error),
                Ok(Err(Failure::Passing(error))) => error,
                Err(_) => anyhow!("no answer within {} s", PATIENCE.as_secs()),
            };
            let Some(pause) = pauses.next() else {
                return Err(failure.context(format!("the store at {} cannot be asked", self.url)));
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::post(self.url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::new(body)).map_err(|error| Failure::Lasting(error.into()))?;
        let response = self.http.request(request).await.map_err(|error| Failure::Passing(error.into()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| Failure::Passing(anyhow!("the answer ended early: {error}")))?.to_bytes();
        answer(status, &body)
    }
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Answer, Failure> {
    if status == StatusCode::OK {
        let answer: ImportAnswer<'_> = serde_json::from_slice(body).map_err(|_| {
            Failure::Lasting(anyhow!("the store's answer cannot be read; is it a store of this version?"))
        })?;
        return Ok(Answer::Done(answer.cdrs.into_iter().map(owned).collect()));
    }
    let detail = serde_json::from_slice::<Problem<'_>>(body).ok().and_then(|problem| problem.detail.map(String::from));
    let detail = detail.unwrap_or_else(|| format!("status {status}"));
    match status {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Refused(detail)),
        // A problem document says that the store is well, and cannot keep something of this batch.
        StatusCode::INTERNAL_SERVER_ERROR if !body.is_empty() => Ok(Answer::Refused(detail)),
        StatusCode::UNAUTHORIZED => {
            Err(Failure::Lasting(anyhow!("{detail}; give the store's token with --token-file or --token-env")))
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Err(Failure::Lasting(anyhow!("the store takes no imports (status {status}); upgrade it, or check --store")))
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(Failure::Passing(anyhow!("the store answered {status}: {detail}")))
        }
        status => Err(Failure::Lasting(anyhow!("the store answered {status}: {detail}"))),
    }
}

fn owned(result: ImportResult<'_>) -> ImportResult<'static> {
    match result {
        ImportResult::Imported { call_id } => ImportResult::Imported { call_id: call_id.into_owned().into() },
        ImportResult::AlreadyThere { call_id } => ImportResult::AlreadyThere { call_id: call_id.into_owned().into() },
        ImportResult::Unusable { reason } => ImportResult::Unusable { reason: reason.into_owned().into() },
    }
}
