//! What comes in from outside: Huawei's push and the answers of the store.

use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use private_number_gateway::config::Config;
use private_number_gateway::now::Now;
use privatenumber_contract::{PushId, paths};
use serde_json::{Value, json};

/// The id of every push here; on the wire [`COMMITTED`].
pub const PUSH_ID: PushId = PushId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
/// [`PUSH_ID`], as the store repeats it in its answer's header.
pub const COMMITTED: &[u8] = b"000102030405060708090a0b0c0d0e0f";
/// When every push arrives: 2026-01-05 04:00:00.
pub const ARRIVAL: Now = Now { monotonic_ms: 1_000, wall_ms: 1_767_585_600_000 };
/// How many CDRs a push has.
pub const SIZES: [usize; 3] = [1, 10, 50];
/// The business of every call.
pub const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";

/// By which of Huawei's two headers the push is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `X-AKSK`.
    Aksk,
    /// `X-WSSE`.
    Wsse,
}

/// One push and what is answered to it and to what comes of it.
#[derive(Debug)]
pub struct Input {
    /// How many CDRs it has; each is a call that is called back.
    pub calls: usize,
    /// As Envoy hands them to the filter.
    pub headers: Vec<(String, Vec<u8>)>,
    /// As Huawei sends it.
    pub body: &'static [u8],
    /// Those of the store's answer, as Envoy hands them to the filter.
    pub answer_headers: Vec<(String, Vec<u8>)>,
    /// What the store answers: a claim for each call.
    pub claims: &'static [u8],
    /// What the store answers to the calls' outcomes.
    pub receipt: &'static [u8],
}

impl Input {
    /// The push of `size` CDRs, one of [`SIZES`].
    ///
    /// # Errors
    /// There is no such fixture.
    pub fn new(size: usize, scheme: Scheme) -> Result<Self> {
        let (body, claims, receipt): (&[u8], &[u8], &[u8]) = match size {
            1 => (
                include_bytes!("../fixtures/push-1.json"),
                include_bytes!("../fixtures/claims-1.json"),
                include_bytes!("../fixtures/receipt-1.json"),
            ),
            10 => (
                include_bytes!("../fixtures/push-10.json"),
                include_bytes!("../fixtures/claims-10.json"),
                include_bytes!("../fixtures/receipt-10.json"),
            ),
            50 => (
                include_bytes!("../fixtures/push-50.json"),
                include_bytes!("../fixtures/claims-50.json"),
                include_bytes!("../fixtures/receipt-50.json"),
            ),
            other => bail!("there is no push of {other} CDRs; there are {SIZES:?}"),
        };
        let headers = headers(scheme, body.len())?;
        Ok(Self { calls: size, headers, body, answer_headers: answer_headers(claims.len()), claims, receipt })
    }
}

fn headers(scheme: Scheme, length: usize) -> Result<Vec<(String, Vec<u8>)>> {
    let signed = match scheme {
        Scheme::Aksk => include_str!("../fixtures/headers-aksk.txt"),
        Scheme::Wsse => include_str!("../fixtures/headers-wsse.txt"),
    };
    let mut headers = vec![
        (":authority".to_owned(), b"gateway.example.com".to_vec()),
        (":path".to_owned(), b"/huawei/fee".to_vec()),
        (":method".to_owned(), b"POST".to_vec()),
        (":scheme".to_owned(), b"http".to_vec()),
    ];
    for line in signed.lines() {
        let (name, value) = line.split_once(": ").ok_or_else(|| anyhow!("a header fixture has a line without `: `"))?;
        headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }
    // What Envoy adds at the edge.
    headers.extend([
        ("content-length".to_owned(), length.to_string().into_bytes()),
        ("x-forwarded-for".to_owned(), b"192.0.2.7".to_vec()),
        ("x-forwarded-proto".to_owned(), b"http".to_vec()),
        ("x-request-id".to_owned(), b"3a52ce9e-3d3a-4f1c-9a0a-4d6a3b3f5b10".to_vec()),
    ]);
    Ok(headers)
}

fn answer_headers(length: usize) -> Vec<(String, Vec<u8>)> {
    [
        (":status", b"200".to_vec()),
        ("content-type", b"application/json".to_vec()),
        (paths::COMMITTED_HEADER, COMMITTED.to_vec()),
        ("content-length", length.to_string().into_bytes()),
        ("date", b"Mon, 05 Jan 2026 04:00:00 GMT".to_vec()),
        ("x-envoy-upstream-service-time", b"2".to_vec()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Configurations to run under: the one of the shipped `envoy.yaml`, varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether callbacks are signed.
    pub signed_callbacks: bool,
    /// How many businesses there are. All calls go to the first.
    pub businesses: usize,
}

impl Setting {
    /// The shipped one: callbacks are not signed, and there is one business.
    pub const SHIPPED: Self = Self { signed_callbacks: false, businesses: 1 };

    /// The configuration.
    ///
    /// # Errors
    /// The filter refuses it.
    pub fn config(self) -> Result<Rc<Config>> {
        let business = |index: usize| -> Value {
            let mut business = json!({
                "ak": if index == 0 { AK.to_owned() } else { format!("{index:032X}") },
                "cluster": "business", "authority": "business.example.com", "path": "/callback", "timeout_ms": 5000,
            });
            if let (true, Some(members)) = (self.signed_callbacks, business.as_object_mut()) {
                let secrets = json!([{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}]);
                members.insert("signing_secrets".to_owned(), secrets);
            }
            business
        };
        let config = json!({
            "push_path": "/huawei/fee",
            "headers": "hold",
            "authentication": {"schemes": ["aksk", "wsse"]},
            "applications": [{
                "app_key": "demoAppKey000000000000000001", "ak": AK, "secrets": [{"value": "fictitious-app-secret-0001"}],
            }],
            "store": {"cluster": "store", "authority": "store", "timeout_ms": 5000},
            "businesses": (0..self.businesses).map(business).collect::<Vec<_>>(),
            "limits": {"max_body_bytes": 1_048_576, "pending_calls": 10_000},
        });
        let json = serde_json::to_vec(&config)?;
        let read = Config::from_json(&json, &|_| None);
        read.map(Rc::new).map_err(|errors| anyhow!("the filter refuses the configuration: {errors:?}"))
    }
}
