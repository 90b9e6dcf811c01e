//! Envoy's statistics at one moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;

/// Counters and gauges by their full names, such as `wasmcustom.privatenumber_cdrs_total.verdict.claimed`.
#[derive(Clone, Debug, Default)]
pub struct Statistics(BTreeMap<String, u64>);

impl Statistics {
    pub(super) async fn ask(admin: &str) -> Result<Self> {
        let answer: Value = http::get(&format!("{admin}/stats?format=json")).await?.expect(200)?.json()?;
        let stats = answer.get("stats").and_then(Value::as_array).context("Envoy answered no statistics")?;
        let values = stats.iter().filter_map(|stat| {
            let name = stat.get("name")?.as_str()?;
            Some((name.to_owned(), stat.get("value")?.as_u64()?))
        });
        Ok(Self(values.collect()))
    }

    /// The value of `name`; 0 where there is none yet.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The value of the filter's metric `name` (without `wasmcustom.`); 0 where there is none yet.
    pub fn filter(&self, name: &str) -> u64 {
        self.get(&format!("wasmcustom.{name}"))
    }

    /// The sum over all names that `wanted` accepts.
    pub fn sum_of(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.0.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| value).sum()
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}
