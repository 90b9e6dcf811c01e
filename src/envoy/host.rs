//! Envoy as the worker's host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

use super::clock::{Clock, Random};
use super::header_map::HeaderMap;
use super::hostcalls as own;
use crate::config::{Business, Config};
use crate::dispatcher::{OutgoingRequest, Refusal};
use crate::exchange::first;
use crate::host::Host;
use crate::journal::Level;
use crate::metrics::{self, Counter, Gauge, Histogram, Metric};
use crate::now::Now;
use crate::reply::Reply;
use crate::streams::StreamId;

thread_local! {
    /// Envoy's statistics, defined once for each VM: the host makes a new entry at every definition.
    static METERS: Meters = Meters::define();
    /// The ids of counters of businesses, by their names: a configuration that comes later has mostly the same.
    static BUSINESSES: RefCell<BTreeMap<String, Option<u32>>> = const { RefCell::new(BTreeMap::new()) };
}

type BusinessIds = [(Counter, Option<u32>); metrics::CALLBACKS.len()];

/// See the [module](self).
pub struct Envoy {
    /// The root context's number.
    root: u32,
    clock: Clock,
    random: RefCell<Random>,
    /// The shared queue that wakes the root; `None` if the host has none to give.
    wake_queue: Option<u32>,
    /// The ids of each business's counters, by its number.
    businesses: Vec<BusinessIds>,
}

impl Envoy {
    pub fn new(root: u32, config: &Config) -> Self {
        // From the first moment on, so that whoever reads the statistics finds them all.
        METERS.with(|_| ());
        let mut random = Random::default();
        // A queue wakes only the context that registered it last, so each root has one under a name of its own.
        let wake_queue = random.draw().and_then(|bytes| {
            let name = format!("privatenumber.wake.{:032x}", u128::from_be_bytes(bytes));
            hostcalls::register_shared_queue(&name).ok()
        });
        let businesses = config.businesses.all().iter().filter(|_| config.business_metrics);
        let businesses = businesses.map(|business| define_business(business)).collect();
        Self { root, clock: Clock::default(), random: RefCell::new(random), wake_queue, businesses }
    }

    /// Takes a wake-up out of the queue. Each has a notice of its own.
    pub fn take_wake_up(queue: u32) {
        let _ = hostcalls::dequeue_shared_queue(queue);
    }
}

impl Host for Envoy {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn random(&self) -> Option<[u8; 16]> {
        self.random.borrow_mut().draw()
    }

    fn dispatch(&self, request: &OutgoingRequest) -> Result<u32, Refusal> {
        let head = &request.head;
        let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let result = hostcalls::dispatch_http_call(&head.cluster, headers, Some(request.body()), vec![], head.timeout);
        result.map_err(|status| match status {
            // An unknown cluster; the pseudo headers that would be the other reason are always there.
            Status::BadArgument => Refusal::NoCluster,
            _ => Refusal::NoHealthyHost,
        })
    }

    fn reply(&self, replies: Vec<(StreamId, Reply)>) {
        for (stream, reply) in &replies {
            // A stream that has ended has no context any more.
            if own::set_effective_context(*stream) {
                self::reply(reply);
            }
        }
        own::set_effective_context(self.root);
    }

    fn body_received(&self, stream: StreamId) -> Option<u64> {
        if !own::set_effective_context(stream) {
            return None;
        }
        // Envoy counts the request's headers in, by the lengths of their names and values.
        let total = hostcalls::get_property(vec!["request", "total_size"]).ok().flatten();
        let headers = HeaderMap::of(MapType::HttpRequestHeaders);
        own::set_effective_context(self.root);
        let total = u64::from_le_bytes(total?.try_into().ok()?);
        let of_headers = headers.pairs().iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        total.checked_sub(u64::try_from(of_headers).ok()?)
    }

    fn wake(&self) -> bool {
        self.wake_queue.is_some_and(|queue| hostcalls::enqueue_shared_queue(queue, Some(b"!")).is_ok())
    }

    fn set_timer(&self, period_ms: u64) {
        let _ = hostcalls::set_tick_period(Duration::from_millis(period_ms));
    }

    fn log_level(&self) -> Option<Level> {
        let least = hostcalls::get_log_level().ok()? as u32;
        [Level::Debug, Level::Info, Level::Warn, Level::Error]
            .into_iter()
            .find(|level| host_level(*level) as u32 >= least)
    }

    fn log(&self, level: Level, line: &str) {
        log(level, line);
    }

    fn add(&self, metric: Metric, change: i64) {
        let id = METERS.with(|meters| match metric {
            Metric::Counter(counter) => meters.counters.get(counter as usize).copied().flatten(),
            Metric::Gauge(gauge) => meters.gauges.get(gauge as usize).copied().flatten(),
            Metric::Business { business, counter } => {
                let ids = self.businesses.get(business)?;
                ids.iter().find(|(known, _)| *known == counter).and_then(|(_, id)| *id)
            }
        });
        if let Some(id) = id {
            let _ = hostcalls::increment_metric(id, change);
        }
    }

    fn record(&self, histogram: Histogram, value: u64) {
        METERS.with(|meters| {
            if let Some(id) = meters.histograms.get(histogram as usize).copied().flatten() {
                let _ = hostcalls::record_metric(id, value);
            }
        });
    }

    fn drained(&self) {
        let _ = hostcalls::done();
    }
}

/// The host's ids of the closed set. One that could not be defined is not counted.
struct Meters {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
    histograms: Vec<Option<u32>>,
}

impl Meters {
    /// Defines the whole set, and says in it which build this is.
    fn define() -> Self {
        let define = |kind: MetricType, name: &str| hostcalls::define_metric(kind, name).ok();
        if let Some(id) = define(MetricType::Gauge, &metrics::build_info()) {
            // Set, not added to: it is 1 however many VMs share it.
            let _ = hostcalls::record_metric(id, 1);
        }
        Self {
            counters: Counter::ALL.iter().map(|one| define(MetricType::Counter, one.name())).collect(),
            gauges: Gauge::ALL.iter().map(|one| define(MetricType::Gauge, one.name())).collect(),
            histograms: Histogram::ALL.iter().map(|one| define(MetricType::Histogram, one.name())).collect(),
        }
    }
}

/// Defines the counters of a business, unless that was done before.
fn define_business(business: &Business) -> BusinessIds {
    BUSINESSES.with(|known| {
        metrics::CALLBACKS.map(|counter| {
            let name = metrics::business_name(counter, business);
            let mut known = known.borrow_mut();
            let id = known.get(&name).copied().unwrap_or_else(|| {
                let id = hostcalls::define_metric(MetricType::Counter, &name).ok();
                known.insert(name, id);
                id
            });
            (counter, id)
        })
    })
}

/// `:status` among `headers`.
pub fn status(headers: &[(&str, &[u8])]) -> Option<u16> {
    std::str::from_utf8(first(headers, ":status")?).ok()?.parse().ok()
}

/// Up to `size` bytes of a body.
pub fn body(buffer: BufferType, size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    hostcalls::get_buffer(buffer, 0, size).ok().flatten().unwrap_or_default()
}

/// Answers the stream of the effective context.
pub fn reply(reply: &Reply) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(reply.headers());
    own::send_local_response(reply.status(), reply.details(), &headers, &reply.body());
}

/// Writes a line to Envoy's log.
pub fn log(level: Level, line: &str) {
    let _ = hostcalls::log(host_level(level), line);
}

fn host_level(level: Level) -> LogLevel {
    match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}
