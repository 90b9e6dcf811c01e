//! What comes in from outside: Huawei's push and the answers of the store.

use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use private_number_gateway::config::Config;
use private_number_gateway::now::Now;
use privatenumber_contract::{PushId, paths};
use serde_json::{Value, json};

/// The id of the push of that number, from 0.
pub const fn push_id(number: u8) -> PushId {
    PushId::from_bytes([number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

/// The id of the first push, as the store repeats it in its answer's header.
pub const COMMITTED: &[u8] = b"000102030405060708090a0b0c0d0e0f";
/// When every push arrives: 2026-01-05 04:00:00.
pub const ARRIVAL: Now = Now { monotonic_ms: 1_000, wall_ms: 1_767_585_600_000 };
/// How many CDRs a push has.
pub const SIZES: [usize; 3] = [1, 10, 50];
/// How many CDRs a push has, and how many pushes are under way together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// CDRs of each push.
    pub size: usize,
    /// Pushes that are asked for in one batch.
    pub pushes: usize,
}

/// All there are fixtures of.
pub const SHAPES: [Shape; 4] = [
    Shape { size: 1, pushes: 1 },
    Shape { size: 1, pushes: 16 },
    Shape { size: 10, pushes: 1 },
    Shape { size: 50, pushes: 1 },
];
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

/// Pushes that are under way together, and what is answered to them and to what comes of them.
#[derive(Debug)]
pub struct Input {
    /// How many CDRs they have together; each is a call that is called back.
    pub calls: usize,
    /// As Envoy hands them to the filter.
    pub headers: Vec<(String, Vec<u8>)>,
    /// As Huawei sends them.
    pub bodies: Vec<&'static [u8]>,
    /// Those of the store's answer, as Envoy hands them to the filter.
    pub answer_headers: Vec<(String, Vec<u8>)>,
    /// What the store answers, a claim for each call: to a batch, or to a push by itself.
    pub answer: &'static [u8],
    /// What the store answers to the calls' outcomes.
    pub receipt: &'static [u8],
}

impl Input {
    /// Pushes of that shape, signed by `scheme`. The store's answer is that to a batch, or to a push that `passes` by itself.
    ///
    /// # Errors
    /// There is no such fixture.
    pub fn new(shape: Shape, scheme: Scheme, passes: bool) -> Result<Self> {
        let (pushes, batch, single, receipt): (&str, &[u8], &[u8], &[u8]) = match (shape.size, shape.pushes) {
            (1, 1) => (
                include_str!("../fixtures/push-1.json"),
                include_bytes!("../fixtures/batch-1.json"),
                include_bytes!("../fixtures/claims-1.json"),
                include_bytes!("../fixtures/receipt-1.json"),
            ),
            (1, 16) => (
                include_str!("../fixtures/push-1x16.jsonl"),
                include_bytes!("../fixtures/batch-1x16.json"),
                b"",
                include_bytes!("../fixtures/receipt-1x16.json"),
            ),
            (10, 1) => (
                include_str!("../fixtures/push-10.json"),
                include_bytes!("../fixtures/batch-10.json"),
                include_bytes!("../fixtures/claims-10.json"),
                include_bytes!("../fixtures/receipt-10.json"),
            ),
            (50, 1) => (
                include_str!("../fixtures/push-50.json"),
                include_bytes!("../fixtures/batch-50.json"),
                include_bytes!("../fixtures/claims-50.json"),
                include_bytes!("../fixtures/receipt-50.json"),
            ),
            _ => bail!("there are no pushes of the shape {shape:?}; there are {SHAPES:?}"),
        };
        let bodies: Vec<_> = pushes.lines().map(str::as_bytes).collect();
        let length = bodies.first().map_or(0, |body| body.len());
        let answer = if passes { single } else { batch };
        Ok(Self {
            calls: shape.size * bodies.len(),
            headers: headers(scheme, length)?,
            bodies,
            answer_headers: answer_headers(answer.len()),
            answer,
            receipt,
        })
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
    /// Whether the push itself goes to the store, instead of waiting for the worker to ask.
    pub passes: bool,
    /// How many businesses there are. All calls go to the first.
    pub businesses: usize,
}

impl Setting {
    /// The shipped one: headers are held, callbacks are not signed, and there is one business.
    pub const SHIPPED: Self = Self { signed_callbacks: false, passes: false, businesses: 1 };

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
            "headers": if self.passes { "pass" } else { "hold" },
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
