//! Signed pushes, no two alike, the same for every arm.

use anyhow::{Context, Result};
use harness::huawei::{Huawei, calls};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use privatenumber_sim::huawei::{CallGenerator, Cdr, push_body};

use crate::arm::Arm;

/// Where Huawei pushes.
pub const PUSH_PATH: &str = "/huawei/fee";
/// Where the control takes a push of many CDRs, which it records and does not mirror.
pub const CONTROL_PUSH: &str = "/control/push";
/// The sizes of pushes that the control has a route for.
pub const CONTROL_BATCHES: [usize; 2] = [10, 50];

/// Where the control takes a request that becomes this many callbacks.
pub fn control_callbacks(calls: usize) -> String {
    format!("/control/callbacks-{calls}")
}

/// One push: for a filter or a service a single request; for the control with many CDRs the push and what it mirrors.
pub struct Push {
    /// What to send, one after the other.
    pub requests: Vec<Request<Full<Bytes>>>,
    /// By what the business will know its first call.
    pub session_id: String,
}

/// Makes pushes.
pub struct Pushes {
    huawei: Huawei,
    calls: CallGenerator,
    /// CDRs in each.
    size: usize,
    is_mirror: bool,
}

impl Pushes {
    /// Pushes of `size` CDRs for `arm`. The same seed makes the same calls.
    ///
    /// # Errors
    ///
    /// Never for the demonstration's credentials.
    pub fn new(arm: Arm, size: usize, seed: u64) -> Result<Self> {
        Ok(Self { huawei: Huawei::demo()?, calls: calls(seed), size, is_mirror: arm.is_mirror() })
    }

    /// The next one, signed now.
    ///
    /// # Errors
    ///
    /// When there is no randomness for a nonce.
    pub fn next(&mut self) -> Result<Push> {
        let cdrs: Vec<Cdr> = self.calls.by_ref().take(self.size).collect();
        let session_id = cdrs.first().context("no more calls")?.session_id.expose().clone();
        let whole = push_body(&cdrs)?;
        let requests = if self.is_mirror && self.size > 1 {
            let one = push_body(cdrs.get(..1).unwrap_or_default())?;
            vec![self.request(CONTROL_PUSH, whole)?, self.request(&control_callbacks(self.size), one)?]
        } else {
            vec![self.request(PUSH_PATH, whole)?]
        };
        Ok(Push { requests, session_id })
    }

    fn request(&self, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::post(path).header("host", "gateway.example.com");
        for (name, value) in self.huawei.headers()? {
            request = request.header(name, value);
        }
        request.body(Full::new(body.into())).context("not a request")
    }
}
