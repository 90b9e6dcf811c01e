//! Envoy's statistics, defined once for each VM: the host makes a new entry at every definition.

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::dispatcher::Gauges;
use crate::journal::Event;
use crate::metrics::{self, Counter, Gauge, Histogram};

/// The host's ids of the closed set. One that could not be defined is not counted.
pub struct Meters {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
    histograms: Vec<Option<u32>>,
}

impl Meters {
    /// Defines the whole set, and says in it which build this is.
    pub fn define() -> Self {
        let define = |kind: MetricType, name: &str| hostcalls::define_metric(kind, name).ok();
        if let Some(id) = define(MetricType::Gauge, &metrics::build_info()) {
            // Set, not added to: it is 1 however many VMs share it.
            let _ = hostcalls::record_metric(id, 1);
        }
        Self {
            counters: Counter::ALL.iter().map(|counter| define(MetricType::Counter, counter.name())).collect(),
            gauges: Gauge::ALL.iter().map(|gauge| define(MetricType::Gauge, gauge.name())).collect(),
            histograms: Histogram::ALL.iter().map(|one| define(MetricType::Histogram, one.name())).collect(),
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        metrics::count(
            event,
            |counter, number| {
                if let (Some(id), Ok(offset)) = (id(&self.counters, counter as usize), i64::try_from(number)) {
                    let _ = hostcalls::increment_metric(id, offset);
                }
            },
            |histogram, value| {
                if let Some(id) = id(&self.histograms, histogram as usize) {
                    let _ = hostcalls::record_metric(id, value);
                }
            },
        );
    }

    /// Moves the gauges from `before` to `after`. Moves, not sets: the workers share them.
    pub fn gauge(&self, before: &Gauges, after: &Gauges) {
        for gauge in Gauge::ALL {
            let (old, new) = (metrics::gauge(*gauge, before), metrics::gauge(*gauge, after));
            let change = i64::try_from(new).unwrap_or(i64::MAX) - i64::try_from(old).unwrap_or(i64::MAX);
            if let Some(id) = id(&self.gauges, *gauge as usize)
                && change != 0
            {
                let _ = hostcalls::increment_metric(id, change);
            }
        }
    }
}

fn id(ids: &[Option<u32>], index: usize) -> Option<u32> {
    ids.get(index).copied().flatten()
}
