//! What nobody sends by accident, row by row, with the exact answer each must get.

mod accepted;
mod bodies;
mod headers;
mod http;
mod parked;
mod paths;

use anyhow::{Context, Result, ensure};
use harness::configuration::Configuration;
use harness::raw::{Connection, RawAnswer};
use serde_json::{Value, json};

/// The answer to a push that is recorded or parked.
const RECORDED: &str = r#"{"resultcode":"0","resultdesc":"Success"}"#;

/// What must come back.
#[derive(Clone, Debug)]
pub enum Expected {
    /// 200: every CDR is recorded or parked.
    Recorded,
    /// 200, and the store has this CDR parked with this reason.
    Parked {
        /// The CDR as the store must have it.
        raw: String,
        reason: String,
    },
    /// The filter's own refusal, byte for byte.
    Refused { status: u16, pointer: Option<&'static str>, reason: String },
    /// Envoy's own answer: the filter was not asked, or passed the request on to a route that is none.
    EnvoysOwn(u16),
}

/// One row.
pub struct Row {
    pub what: String,
    pub request: Vec<u8>,
    pub expected: Expected,
}

/// All rows. `signed`: headers of a push that is signed as it should be.
pub fn rows(signed: &Signed) -> Vec<Row> {
    [
        bodies::rows(signed),
        parked::rows(signed),
        accepted::rows(signed),
        headers::rows(signed),
        paths::rows(signed),
        http::rows(signed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The headers of a signed push.
pub struct Signed(pub Vec<(String, String)>);

impl Signed {
    /// The value of one of them.
    pub fn value(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// A signed push to the push path.
    pub fn push(&self) -> Request {
        let headers = self.0.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        Request {
            line: "POST /huawei/fee HTTP/1.1".to_owned(),
            headers: [("host".to_owned(), b"gateway.example.com".to_vec())].into_iter().chain(headers).collect(),
        }
    }
}

/// A request that is written by hand.
#[derive(Clone)]
pub struct Request {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Request {
    pub fn line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// One more header, beside one of the same name.
    pub fn also(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// A header instead of the one of that name.
    pub fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).also(name, value)
    }

    /// The bytes: with this body and its length.
    pub fn body(self, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let length = body.len().to_string();
        self.also("content-length", length).raw_body(body)
    }

    /// The bytes: with this body and nothing said of it.
    pub fn raw_body(self, body: impl AsRef<[u8]>) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.as_ref());
        bytes
    }
}

impl Row {
    /// A row that the filter itself refuses.
    pub fn refused(
        what: impl Into<String>,
        request: Vec<u8>,
        status: u16,
        pointer: Option<&'static str>,
        reason: &str,
    ) -> Self {
        Self { what: what.into(), request, expected: Expected::Refused { status, pointer, reason: reason.to_owned() } }
    }

    pub fn envoys_own(what: &str, request: Vec<u8>, status: u16) -> Self {
        Self { what: what.to_owned(), request, expected: Expected::EnvoysOwn(status) }
    }

    /// Sends it on a connection of its own and compares the answer.
    pub async fn check(&self, address: &str) -> Result<Vec<u8>> {
        let mut connection = Connection::open(address).await?;
        // Envoy may answer, and close, before it has read everything.
        let _ = connection.send(&self.request).await;
        let answer = connection.answer().await?;
        self.compare(&answer).with_context(|| {
            format!("answered {} {}", answer.status, String::from_utf8_lossy(&answer.body).into_owned())
        })?;
        Ok(answer.body)
    }

    fn compare(&self, answer: &RawAnswer) -> Result<()> {
        match &self.expected {
            Expected::Recorded | Expected::Parked { .. } => {
                ensure!(answer.status == 200 && answer.body == RECORDED.as_bytes(), "expected the answer for recorded");
            }
            Expected::Refused { status, pointer, reason } => {
                let body = refusal(*status, *pointer, reason)?;
                ensure!(answer.status == *status && answer.body == body.as_bytes(), "expected {status} {body}");
                ensure!(answer.header("content-type") == Some(&b"application/json"[..]));
            }
            Expected::EnvoysOwn(status) => {
                ensure!(answer.status == *status, "expected Envoy's own {status}");
                ensure!(serde_json::from_slice::<Value>(&answer.body).is_err(), "expected Envoy's own words");
            }
        }
        Ok(())
    }
}

/// The body of a refusal, members in their order.
fn refusal(status: u16, pointer: Option<&str>, reason: &str) -> Result<String> {
    let title = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        _ => "Service Unavailable",
    };
    let pointer = pointer.map_or(String::new(), |pointer| format!(r#","pointer":"{pointer}""#));
    let reason = serde_json::to_string(reason)?;
    Ok(format!(r#"{{"resultcode":"{status}","resultdesc":"{title}"{pointer},"reason":{reason}}}"#))
}

/// An ordinary CDR with changes: a key with its JSON value, or `None` to leave it out. `session` makes it a call of its own.
pub fn cdr(session: &str, changes: &[(&str, Option<&str>)]) -> String {
    let session = json!(format!("1200_{session}@callenabler001.example.com")).to_string();
    let ordinary = [
        ("direction", "0"),
        ("spId", r#""demo_sp_01""#),
        ("appKey", r#""demoAppKey000000000000000001""#),
        ("icid", r#""icid-1""#),
        ("bindNum", r#""+8617010000001""#),
        ("sessionId", session.as_str()),
        ("subscriptionId", r#""11111111-2222-4333-8444-555555555501""#),
        ("callerNum", r#""+8617010000022""#),
        ("fwdDstNum", r#""+8617010000011""#),
        ("callInTime", r#""2026-01-05 02:30:03""#),
        ("fwdStartTime", r#""2026-01-05 02:30:03""#),
        ("fwdAnswerTime", r#""2026-01-05 02:30:06""#),
        ("callEndTime", r#""2026-01-05 02:30:22""#),
        ("failTime", r#""""#),
        ("recordFlag", "1"),
        ("recordFileDownloadUrl", r#""https://recordings.example.com/1.wav""#),
        ("userData", r#""order-private-0001""#),
    ];
    let changed = |key: &str| changes.iter().find(|(name, _)| *name == key);
    let kept = ordinary.iter().filter(|(key, _)| changed(key).is_none()).map(|(key, value)| (*key, *value));
    let new = changes.iter().filter_map(|(key, value)| value.map(|value| (*key, value)));
    let members: Vec<_> = kept.chain(new).map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The largest body that the shipped configuration takes, bytes.
pub fn largest_body() -> usize {
    Configuration::shipped().and_then(|mut shipped| shipped.max_body_bytes()).unwrap()
}

/// A push of these elements.
pub fn fee(elements: &[&str]) -> String {
    format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, elements.join(","))
}
