//! The plugin's configuration: typed, checked as a whole, described in one place.
//!
//! [`declaration`] is the only place that knows the fields; the reader, the JSON Schema and the reference come from it.

mod declaration;
pub mod describer;
pub mod fields;
mod memory;
pub mod reader;
#[cfg(test)]
mod reference;
mod repeated_keys;
mod rules;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use privatenumber_contract::{OnReplay, Private};
use serde::Serialize;

use crate::authentication::Authenticator;
use crate::callback::SigningSecret;

pub use reader::{ConfigError, Environment};

/// Everything the filter is told.
#[derive(Debug)]
pub struct Config {
    /// The operator's own name for this configuration; logged and nothing else.
    pub revision: Option<String>,
    /// The path that Huawei pushes to.
    pub push_path: String,
    /// What happens to a push's headers until its body is known.
    pub headers: HeadersMode,
    /// Who may push.
    pub authenticator: Authenticator,
    /// What the store does with a push whose signature came with other texts before.
    pub on_replay: OnReplay,
    /// The service behind the filter.
    pub store: Store,
    /// Whom to call back, by `ak`.
    pub businesses: Businesses,
    /// Whether the callbacks of each business are counted by themselves.
    pub business_metrics: bool,
    /// What bounds the filter's memory.
    pub limits: Limits,
    /// What is accepted and probably not meant.
    pub warnings: Vec<ConfigError>,
    /// What Envoy has and is told elsewhere.
    pub envoy: Envoy,
}

/// What happens to a push's headers until its body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadersMode {
    /// They wait: the store never sees a push that is refused. Needs Envoy's `allow_on_headers_stop_iteration: true`.
    Hold,
    /// They go ahead: the store sees the headers of a push whose body is then refused, and a reset.
    Pass,
}

/// How the store is reached: for claims and outcomes; in `headers: pass` only for claims whose answer was missed, and outcomes.
#[derive(Debug)]
pub struct Store {
    /// Envoy's name of its cluster.
    pub cluster: Rc<str>,
    /// Its `:authority`.
    pub authority: Rc<str>,
    /// How long one request that reports outcomes may take.
    pub timeout: Duration,
    /// How long one request for claims may take.
    pub push_timeout: Duration,
    /// How many pushes one request for claims carries at most.
    pub push_batch_size: usize,
    /// How long a push waits for others to be asked with, milliseconds.
    pub push_batch_delay_ms: u64,
    /// How long a push waits for the store's verdict before it is answered 503, milliseconds.
    pub patience_ms: u64,
    /// The `authorization` header with its bearer token, where the store asks for one.
    pub authorization: Option<Private<Rc<str>>>,
    /// How long after it was granted a claim without an outcome reads as `unknown`, milliseconds.
    pub claim_deadline_ms: u64,
    /// How many outcomes one request carries at most.
    pub outcome_batch_size: usize,
    /// How long an outcome waits for others, milliseconds.
    pub outcome_batch_delay_ms: u64,
    /// The first pause before a request is repeated, milliseconds; it doubles each time.
    pub retry_initial_ms: u64,
    /// The longest pause, milliseconds.
    pub retry_max_ms: u64,
    /// How often an idle worker asks for works, milliseconds; 0 where no works are taken.
    pub work_interval_ms: u64,
}

/// One business and its preset callback address.
#[derive(Debug)]
pub struct Business {
    /// Its name in records.
    pub ak: String,
    /// Envoy's name of its cluster.
    pub cluster: Rc<str>,
    /// Its `:authority`.
    pub authority: Rc<str>,
    /// Where its callbacks go.
    pub path: Rc<str>,
    /// How long one callback may take.
    pub timeout: Duration,
    /// Fixed headers of its callbacks.
    pub headers: Vec<(Rc<str>, Rc<str>)>,
    /// What its callbacks are signed with; several while a secret is being changed.
    pub signing_secrets: Vec<SigningSecret>,
    /// How many callbacks may be under way at once, per worker.
    pub concurrency: usize,
    /// How many callbacks it is sent a second at most, per worker.
    pub rate: Option<u32>,
    /// How many of its calls may be pending, per worker; a further one ends as `not_sent: queue_full`.
    pub pending_calls: usize,
}

/// The businesses, each with a number by which the dispatcher keeps its lane.
#[derive(Debug, Default)]
pub struct Businesses {
    all: Vec<Rc<Business>>,
    by_ak: HashMap<String, usize>,
}

impl Businesses {
    fn new(all: Vec<Business>) -> Self {
        let by_ak = all.iter().enumerate().map(|(index, business)| (business.ak.clone(), index)).collect();
        Self { all: all.into_iter().map(Rc::new).collect(), by_ak }
    }

    /// The number of the business named `ak`.
    pub fn index_of(&self, ak: &str) -> Option<usize> {
        self.by_ak.get(ak).copied()
    }

    /// All of them, in their numbers' order.
    pub fn all(&self) -> &[Rc<Business>] {
        &self.all
    }
}

/// What bounds the filter's memory. All per worker.
#[derive(Debug)]
pub struct Limits {
    /// The largest push body, bytes.
    pub max_body_bytes: usize,
    /// How many calls may be anywhere between their push and the store's receipt for their outcome.
    pub pending_calls: usize,
    /// How many bytes those calls may hold.
    pub pending_bytes: usize,
}

/// What Envoy has and is told elsewhere, so that the filter can check it against the rest.
#[derive(Debug, Default)]
pub struct Envoy {
    /// How many workers it has.
    pub workers: Option<u64>,
    /// The largest answer to a request of the filter that it keeps, bytes.
    pub response_buffer_bytes: Option<u64>,
    /// How much memory it may take, bytes.
    pub memory_bytes: Option<u64>,
}

impl Config {
    /// The most memory that one worker takes for pushes, calls and callbacks, bytes; Envoy's own and what connections take is not in it.
    /// `docs/operations.md`, *Memory*, explains it.
    pub fn worker_bytes(&self) -> u64 {
        memory::of_worker(
            &self.limits,
            self.businesses.all().iter().map(|business| business.as_ref()),
            self.envoy.response_buffer_bytes.unwrap_or(memory::ENVOYS_RESPONSE_BUFFER_BYTES),
        )
    }

    /// Reads the plugin configuration. `environment` finds the VM's environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its path.
    pub fn from_json(json: &[u8], environment: Environment<'_>) -> Result<Self, Vec<ConfigError>> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|error| {
            let message = format!(
                "is not JSON, at line {} column {}; give it as google.protobuf.StringValue that holds JSON",
                error.line(),
                error.column(),
            );
            vec![ConfigError { path: String::new(), message }]
        })?;
        // Of two values the reader would see the last, and an operator the first.
        let mut errors = repeated_keys::find(json);
        match reader::read(&value, environment, declaration::config) {
            Ok(config) if errors.is_empty() => Ok(config),
            Ok(_) => Err(errors),
            Err(others) => {
                errors.extend(others);
                Err(errors)
            }
        }
    }
}

/// The configuration's JSON Schema and reference.
pub fn describe() -> describer::Description {
    let mut description = describer::describe(declaration::config);
    if let serde_json::Value::Object(schema) = &mut description.schema {
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("title".to_owned(), "Private Number Gateway: plugin configuration".into());
    }
    description
}

#[cfg(test)]
mod tests;
