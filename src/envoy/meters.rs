//! Envoy's statistics, defined once for each VM: the host makes a new entry at every definition.

use std::cell::Cell;

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::dispatcher::Gauges;
use crate::journal::Event;
use crate::metrics::{self, Counter, Gauge, Histogram};

/// The host's ids of the closed set, and what it has yet to be told. One that could not be defined is not counted.
///
/// Counters and gauges are told together and not at every event: a hostcall is dearer than what it counts.
pub struct Meters {
    counters: Vec<(Option<u32>, Cell<i64>)>,
    gauges: Vec<(Option<u32>, Cell<i64>)>,
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
        let counter = |counter: &Counter| (define(MetricType::Counter, counter.name()), Cell::default());
        let gauge = |gauge: &Gauge| (define(MetricType::Gauge, gauge.name()), Cell::default());
        Self {
            counters: Counter::ALL.iter().map(counter).collect(),
            gauges: Gauge::ALL.iter().map(gauge).collect(),
            histograms: Histogram::ALL.iter().map(|one| define(MetricType::Histogram, one.name())).collect(),
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        metrics::count(
            event,
            |counter, number| {
                if let (Some((_, untold)), Ok(number)) = (self.counters.get(counter as usize), i64::try_from(number)) {
                    untold.set(untold.get().saturating_add(number));
                }
            },
            |histogram, value| {
                if let Some(id) = self.histograms.get(histogram as usize).copied().flatten() {
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
            if let Some((_, untold)) = self.gauges.get(*gauge as usize) {
                untold.set(untold.get().saturating_add(change));
            }
        }
    }

    /// Tells the host everything it has yet to be told.
    pub fn tell(&self) {
        for (id, untold) in self.counters.iter().chain(&self.gauges) {
            let change = untold.take();
            if let Some(id) = id
                && change != 0
            {
                let _ = hostcalls::increment_metric(*id, change);
            }
        }
    }
}
