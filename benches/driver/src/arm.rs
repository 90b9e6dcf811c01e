//! What is compared: every arm accepts the same pushes and makes the same callbacks.

mod before;
mod control;
mod lua;
mod service;
mod stack;

use anyhow::{Context, Result};
use clap::ValueEnum;
use harness::configuration::{Configuration, HeadersMode};
use harness::demo;
use harness::directory::Directory;
use harness::envoy_binary::EnvoyBinary;
use harness::gateway::{BusinessAt, Gateway, Options};
use harness::process::Process;
use harness::store::Store;
use serde_json::{Value, json};

use crate::cores;
use crate::sinks::{Counts, Sinks, business_of};

/// What a callback may take, milliseconds: more than any business of a benchmark does.
const TIMEOUT_MS: u64 = 60_000;

/// Calls that the filter has room for: more than ever are under way in a benchmark.
const ROOM: u32 = 20_000;

/// How the names of Envoy's counters end that tell of requests and connections that failed.
const FAILURES: [&str; 12] = [
    "downstream_rq_4xx",
    "downstream_rq_5xx",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_destroy_with_active_rq",
    "upstream_cx_overflow",
    "upstream_rq_pending_overflow",
    "upstream_rq_per_try_timeout",
    "upstream_rq_retry",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_rx_reset",
    "upstream_rq_timeout",
];

/// One of the ways to do the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Arm {
    /// Envoy without a plugin, mirroring a push to business and store: as many exchanges as a plugin that reports every
    /// outcome by itself, and no logic.
    Control,
    /// Envoy without a plugin and one exchange less: what the filter's own exchanges cost without the filter.
    Floor,
    /// The same behind a filter whose push path is another: what the filter costs requests that it leaves alone.
    Bystander,
    /// The filter, as shipped.
    Filter,
    /// The filter, letting headers go ahead.
    FilterPass,
    /// The filter, with HTTP/2 to the store.
    FilterHttp2,
    /// The filter, as shipped, with a thousand businesses.
    FilterThousand,
    /// The filter of 0.1.0 with its own configuration: it asks for each push by itself and throws the CDRs' texts away.
    FilterBefore,
    /// A script for Envoy's Lua filter.
    Lua,
    /// A service behind Envoy, written with axum and hyper, with a request to the store for each push and each outcome.
    Rust,
    /// The same service, which sends pushes and outcomes in batches as the filter does.
    RustBatch,
    /// A service behind Envoy, written with Fastify and undici.
    Node,
    /// The filter, as shipped, and the real store.
    StackFilter,
    /// [`Rust`](Self::Rust) and the real store.
    StackRust,
    /// [`RustBatch`](Self::RustBatch) and the real store.
    StackRustBatch,
}

impl Arm {
    /// Those that stand side by side in the tables.
    pub const COMPARED: [Self; 10] = [
        Self::Control,
        Self::Floor,
        Self::Bystander,
        Self::Filter,
        Self::FilterPass,
        Self::FilterHttp2,
        Self::Lua,
        Self::Rust,
        Self::RustBatch,
        Self::Node,
    ];

    /// Those compared with pushes of many CDRs.
    pub const MANY_CDRS: [Self; 11] = [
        Self::Control,
        Self::Floor,
        Self::Bystander,
        Self::Filter,
        Self::FilterPass,
        Self::FilterHttp2,
        Self::FilterBefore,
        Self::Lua,
        Self::Rust,
        Self::RustBatch,
        Self::Node,
    ];

    /// Those compared where the store takes its time.
    pub const SLOW_STORE: [Self; 4] = [Self::Filter, Self::FilterPass, Self::Rust, Self::RustBatch];

    /// Those compared together with the real store.
    pub const WHOLE_STACK: [Self; 3] = [Self::StackFilter, Self::StackRust, Self::StackRustBatch];

    /// Those compared as to the number of businesses.
    pub const BUSINESSES: [Self; 2] = [Self::Filter, Self::FilterThousand];

    /// Those whose memory is compared.
    pub const MEMORY: [Self; 7] =
        [Self::Control, Self::Floor, Self::Bystander, Self::Filter, Self::Lua, Self::Rust, Self::Node];

    /// Its name in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Control => "control: Envoy, mirroring",
            Self::Floor => "floor: Envoy, the filter's exchanges only",
            Self::Bystander => "floor, behind a filter that it does not concern",
            Self::Filter => "**filter**, hold",
            Self::FilterPass => "**filter**, pass",
            Self::FilterHttp2 => "**filter**, hold, HTTP/2 to the store",
            Self::FilterThousand => "**filter**, hold, 1000 businesses",
            Self::FilterBefore => "filter of 0.1.0, hold",
            Self::Lua => "Lua filter",
            Self::Rust => "service, Rust",
            Self::RustBatch => "service, Rust, batching",
            Self::Node => "service, Node",
            Self::StackFilter => "**filter**, hold, and store",
            Self::StackRust => "service, Rust, and store",
            Self::StackRustBatch => "service, Rust, batching, and store",
        }
    }

    /// What others are compared with, in the heads of tables.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Rust | Self::StackRust => "Rust",
            _ => self.title(),
        }
    }

    /// Whether it only mirrors, and knows nothing of pushes.
    pub const fn is_mirror(self) -> bool {
        matches!(self, Self::Control | Self::Floor | Self::Bystander)
    }

    /// Whether it reports outcomes of its own.
    pub const fn reports_outcomes(self) -> bool {
        !matches!(self, Self::Floor | Self::Bystander)
    }

    /// Whether all of it could be built: that of an earlier version needs the repository's history.
    pub fn is_built(self) -> bool {
        self != Self::FilterBefore || before::is_there()
    }

    /// Whether the real store is part of it.
    pub const fn has_store(self) -> bool {
        matches!(self, Self::StackFilter | Self::StackRust | Self::StackRustBatch)
    }

    /// Whether it sends the store the text of every CDR. Mirrors send it all of a push.
    pub const fn carries_texts(self) -> bool {
        matches!(
            self,
            Self::Rust | Self::RustBatch | Self::Filter | Self::FilterPass | Self::FilterHttp2 | Self::FilterThousand
        )
    }

    /// How many businesses it is configured with.
    pub const fn businesses(self) -> usize {
        if matches!(self, Self::FilterThousand) { 1000 } else { 1 }
    }
}

/// An arm that runs.
pub struct Running {
    /// Which.
    pub arm: Arm,
    /// Envoy.
    pub gateway: Gateway,
    service: Option<Process>,
    store: Option<Store>,
    /// Envoy's resources when it had just become ready.
    pub at_ready: cores::Used,
    loads: u64,
}

impl Running {
    /// Starts it with this many workers, on the arms' core.
    ///
    /// # Errors
    ///
    /// When something is not built or does not become ready.
    pub async fn start(arm: Arm, envoy: &EnvoyBinary, sinks: &Sinks, workers: u32) -> Result<Self> {
        let _pinned = cores::Pinned::to_the_arms()?;
        let directory = Directory::fresh(&format!("bench-{arm:?}-{workers}").to_lowercase())?;
        let store = if arm.has_store() { Some(stack::start_store(&directory).await?) } else { None };
        let mut upstream = store.as_ref().map_or_else(|| sinks.store_address(), Store::address).to_owned();
        let business = sinks.new_business_address().await?;
        let mut service = None;
        if service::is_one(arm) {
            let (process, address) = service::start(arm, &directory, &upstream, &business, workers).await?;
            (service, upstream) = (Some(process), address);
        }
        let mut options = Options::new(envoy.clone(), &upstream).concurrency(workers).business(BusinessAt {
            timeout_ms: TIMEOUT_MS,
            more: json!({ "pending_calls": ROOM, "concurrency": ROOM }),
            ..BusinessAt::demo(&business)
        });
        options = match arm {
            Arm::Filter | Arm::StackFilter => options.change(as_strict_as_the_peers),
            Arm::FilterPass => options.headers(HeadersMode::Pass).change(as_strict_as_the_peers),
            Arm::FilterHttp2 => options.change(as_strict_as_the_peers).change(Configuration::http2_to_the_store),
            Arm::FilterThousand => options.change(as_strict_as_the_peers).change(with_a_thousand_businesses),
            Arm::FilterBefore => options
                .change(move |configuration| before::as_it_was(configuration, &upstream, &business))
                .change(as_strict_as_the_peers),
            Arm::Control => options.change(|configuration| control::without_filter(configuration, true)),
            Arm::Floor => options.change(|configuration| control::without_filter(configuration, false)),
            Arm::Bystander => options.change(control::beside_filter),
            Arm::Rust | Arm::RustBatch | Arm::Node | Arm::StackRust | Arm::StackRustBatch => {
                options.change(service::behind_envoy)
            }
            Arm::Lua => options.change(lua::instead_of_the_filter),
        };
        let mut gateway = Gateway::start(&directory, options.change(unhurried)).await?;
        let at_ready = cores::Used::by(&[gateway.process().pid()])?;
        Ok(Self { arm, gateway, service, store, at_ready, loads: 0 })
    }

    /// The real store, where it is part of the arm.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// A seed for one load: the first of every arm has the same, and so on, and no two loads of an arm have the same, because a
    /// real store has every call only once.
    pub fn next_seed(&mut self) -> u64 {
        self.loads += 1;
        self.loads
    }

    /// What arrived so far. Where the real store is part of the arm, it is asked for pushes and outcomes, which costs it a
    /// fraction of a millisecond.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn arrived(&self, sinks: &Sinks) -> Result<Counts> {
        match &self.store {
            None => Ok(sinks.counts()),
            Some(store) => stack::arrived(store, sinks.counts()).await,
        }
    }

    /// The processes whose cost is the arm's.
    pub fn pids(&mut self) -> Vec<u32> {
        let mut pids = vec![self.gateway.process().pid()];
        pids.extend(self.service.as_ref().map(Process::pid));
        pids.extend(self.store.as_mut().map(|store| store.process().pid()));
        pids
    }

    /// Adds to an error what this arm's Envoy knows of requests that failed.
    ///
    /// # Errors
    ///
    /// The one of `result`.
    pub async fn explain<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        let counted = match self.gateway.statistics().await {
            Ok(statistics) => statistics
                .iter()
                .filter(|(name, value)| *value > 0 && FAILURES.iter().any(|failure| name.ends_with(failure)))
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => format!("{error:#}"),
        };
        Err(error.context(format!("{:?} failed, its Envoy has counted: {counted}", self.arm)))
    }

    /// What it has used so far.
    ///
    /// # Errors
    ///
    /// When a process has ended.
    pub fn used(&mut self) -> Result<cores::Used> {
        cores::Used::by(&self.pids())
    }
}

/// A machine that stands still for seconds, as virtual ones do, is to cost a percentile and not the whole run.
fn unhurried(configuration: &mut Configuration) -> Result<()> {
    let clusters = configuration.value().pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
    for cluster in clusters.context("envoy.yaml has no clusters")?.iter_mut().filter_map(Value::as_object_mut) {
        cluster.insert("connect_timeout".to_owned(), "20s".into());
    }
    // Handshakes are not what is compared.
    configuration.keep_connections()?;
    let routes = configuration.connection_manager()?.pointer_mut("/route_config/virtual_hosts/0/routes");
    let routes = routes.and_then(Value::as_array_mut).context("envoy.yaml has no routes")?;
    for action in routes.iter_mut().filter_map(|route| route.get_mut("route")).filter_map(Value::as_object_mut) {
        action.insert("timeout".to_owned(), "60s".into());
        if let Some(retries) = action.get_mut("retry_policy").and_then(Value::as_object_mut) {
            retries.insert("per_try_timeout".to_owned(), "20s".into());
        }
    }
    Ok(())
}

/// The peers look at the age of credentials, so the filter is told to as well; and it is given room.
fn as_strict_as_the_peers(configuration: &mut Configuration) -> Result<()> {
    let authentication = configuration.plugin()?.get_mut("authentication").and_then(Value::as_object_mut);
    let authentication = authentication.context("envoy.yaml has no `authentication`")?;
    authentication.insert("created_window_seconds".to_owned(), 86_400.into());
    let limits = configuration.plugin()?.get_mut("limits").and_then(Value::as_object_mut);
    limits.context("envoy.yaml has no `limits`")?.insert("pending_calls".to_owned(), ROOM.into());
    Ok(())
}

fn with_a_thousand_businesses(configuration: &mut Configuration) -> Result<()> {
    let businesses = Arm::FilterThousand.businesses();
    let names = (0..businesses).map(|number| business_of(number, businesses)).chain([demo::AK.to_owned()]);
    let entries = names.map(|ak| {
        json!({
            "ak": ak,
            "cluster": "business",
            "authority": "business.example.com",
            "path": "/callback",
            "timeout_ms": TIMEOUT_MS,
        })
    });
    if let Some(businesses) = configuration.plugin()?.get_mut("businesses") {
        *businesses = entries.collect();
    }
    Ok(())
}
