//! One callback as it came in.

use std::fmt;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use privatenumber_contract::Record;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::record_check::RecordProblem;
use super::temper::Mode;
use crate::signature::SignatureError;

/// One callback as it came in and what was made of it.
///
/// Its JSON form is what `GET /__control/callbacks` shows. `Debug` shows nothing private.
pub struct Callback {
    /// Counts callbacks since the start, from 1; goes on after the others were forgotten.
    pub number: u64,
    /// When it was read in full, epoch milliseconds.
    pub received_at: i64,
    /// The path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Whether its signature holds; `None` where no secret was given to check it with.
    pub signature: Option<Result<(), SignatureError>>,
    /// The body as a record.
    pub record: Result<Record, RecordProblem>,
    /// What became of it.
    pub mode: Mode,
    /// The status it was answered with, in the modes that answer.
    pub status: u16,
}

impl Callback {
    /// The call's id, as far as it is text.
    pub fn webhook_id(&self) -> Option<&str> {
        self.header("webhook-id")
    }

    /// The first value of a header, as far as it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether its signature holds; `None` where no secret was given to check it with.
    pub fn signature_valid(&self) -> Option<bool> {
        self.signature.map(|checked| checked.is_ok())
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Callback")
            .field("number", &self.number)
            .field("webhook_id", &self.webhook_id())
            .field("signature", &self.signature)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Serialize for Callback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        let mut fields = serializer.serialize_struct("Callback", 12)?;
        fields.serialize_field("number", &self.number)?;
        fields.serialize_field("received_at", &self.received_at)?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("headers", &headers)?;
        fields.serialize_field("body", &String::from_utf8_lossy(&self.body))?;
        fields.serialize_field("webhook_id", &self.webhook_id())?;
        fields.serialize_field("signature_valid", &self.signature_valid())?;
        let problem = self.signature.and_then(Result::err).map(|problem| problem.to_string());
        fields.serialize_field("signature_problem", &problem)?;
        fields.serialize_field("record_valid", &self.record.is_ok())?;
        let problem = self.record.as_ref().err().map(ToString::to_string);
        fields.serialize_field("record_problem", &problem)?;
        fields.serialize_field("mode", &self.mode)?;
        fields.serialize_field("status", &self.status)?;
        fields.end()
    }
}
