//! The one callback of a call.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Uri, header};
use http_body_util::Full;
use privatenumber_contract::{MaybeSent, NotSent, Outcome};

use crate::client::{Client, Failure, USER_AGENT};
use crate::store::at;

/// The business that is called back.
pub struct Business {
    client: Client,
    callback: Uri,
}

impl Business {
    /// The business at `origin`.
    pub fn new(origin: &Uri) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(Duration::from_secs(1)), callback: at(origin, "/callback")? })
    }

    /// Calls back. `now_ms`: epoch milliseconds.
    pub async fn call_back(&self, call_id: &str, record: Bytes, now_ms: i64) -> Outcome {
        let request = Request::post(self.callback.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", call_id)
            .header("webhook-timestamp", now_ms.div_euclid(1000))
            .body(Full::new(record));
        let Ok(request) = request else { return Outcome::NotSent { reason: NotSent::ConnectionFailed } };
        match self.client.send(request).await {
            Ok((status, _, _)) => Outcome::of_status(status.as_u16()),
            Err(Failure::NotConnected) => Outcome::NotSent { reason: NotSent::ConnectionFailed },
            Err(Failure::Timeout) => Outcome::MaybeSent { reason: MaybeSent::Timeout },
            Err(Failure::Reset) => Outcome::MaybeSent { reason: MaybeSent::Reset },
            Err(Failure::Truncated) => Outcome::MaybeSent { reason: MaybeSent::Truncated },
        }
    }
}
