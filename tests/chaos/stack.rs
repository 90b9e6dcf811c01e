//! The processes of a run, and the lines between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::business::Business;
use harness::demo;
use harness::directory::Directory;
use harness::fault::FaultProxy;
use harness::gateway::{BusinessAt, Gateway, Statistics};
use harness::wait;
use privatenumber_contract::{Binding, CallView, ParkedView};
use serde_json::{Value, json};

use crate::calls::{BINDINGS, OTHER_AK};
use crate::huawei::Huawei;
use crate::store::Store;
use crate::tally::Tally;

/// The path of the businesses' callback addresses.
pub const CALLBACK_PATH: &str = "/callback";
/// How long one callback may take.
const CALLBACK_MS: u64 = 1_500;
/// After this a call without an outcome reads as `unknown`: the shortest the filter takes.
const CLAIM_DEADLINE_SECONDS: u64 = 60;
/// How long everything may take to settle once the faults are over: Huawei's last pauses, then the claim's deadline.
const SETTLING: Duration = Duration::from_secs(150);

/// Two gateways, a store, two businesses. Each gateway has a line of its own to the store. The second gateway has another one beside
/// it, and takes what stands there for two stores. The second business is behind a line, the first is called directly.
pub struct Stack {
    pub gateways: [Gateway; 2],
    pub store: Store,
    pub store_lines: [FaultProxy; 2],
    pub second_store_line: FaultProxy,
    pub businesses: [Business; 2],
    pub business_line: FaultProxy,
    business_logs: [PathBuf; 2],
    envoy_logs: [PathBuf; 2],
    gateway_marks: [String; 2],
}

/// What is left when everything has settled.
pub struct Ended {
    /// All calls of the store.
    pub calls: Vec<CallView>,
    /// All parked CDRs of the store.
    pub parked: Vec<ParkedView>,
    /// What each business counted.
    pub tallies: [Tally; 2],
    /// What was found wrong with the processes themselves.
    pub broken: Vec<String>,
}

impl Stack {
    /// Starts everything.
    pub async fn start() -> Result<Self> {
        let stack = harness::stack::Stack::fresh("chaos")?;
        let directory = stack.directory();
        let store = Store::start(&stack).await?;
        for (subscription_id, ak) in BINDINGS {
            store.register(subscription_id, &binding(subscription_id, ak)).await?;
        }
        let store_lines = [stack.faults(store.address()).await?, stack.faults(store.address()).await?];
        let second_store_line = stack.faults(store.address()).await?;
        let names = ["business-0", "business-1"];
        let [first, second] = names.map(|name| stack.business(name).arguments(&["--print", "--keep", "0"]).start());
        let businesses = [first.await?, second.await?];
        let [first_business, second_business] = &businesses;
        let business_line = stack.faults(second_business.address()).await?;
        let addresses = [first_business.address(), business_line.address()];
        let directories = [Directory::fresh("chaos-gateway-0")?, Directory::fresh("chaos-gateway-1")?];
        let [first_directory, second_directory] = &directories;
        let [first_line, second_line] = &store_lines;
        let gateways = [
            gateway(&stack.beside(first_directory.clone()), [first_line.address()], addresses).await?,
            gateway(
                &stack.beside(second_directory.clone()),
                [second_line.address(), second_store_line.address()],
                addresses,
            )
            .await?,
        ];
        Ok(Self {
            gateways,
            store,
            store_lines,
            second_store_line,
            businesses,
            business_line,
            business_logs: names.map(|name| directory.join(format!("{name}.log"))),
            envoy_logs: directories.each_ref().map(|directory| directory.join("envoy.log")),
            gateway_marks: directories.each_ref().map(|directory| directory.path().display().to_string()),
        })
    }

    /// Where Huawei pushes.
    pub fn gateway_urls(&self) -> Vec<String> {
        self.gateways.iter().map(Gateway::url).collect()
    }

    /// Names of processes, and what tells their command lines from others.
    pub fn memory_marks(&self) -> Vec<(&'static str, String)> {
        let [first, second] = &self.gateway_marks;
        vec![("gateway 0", first.clone()), ("gateway 1", second.clone()), ("store", self.store.mark())]
    }

    /// Waits until nothing is pending anywhere, ends the processes in order and hands over what they leave.
    pub async fn settle(mut self, huawei: &Huawei) -> Result<Ended> {
        let mut broken = Vec::new();
        if huawei.missing() > 0 {
            broken.push(format!("P2 kept: {} CDRs were never accepted", huawei.missing()));
        }
        for (number, gateway) in self.gateways.iter().enumerate() {
            let idle = wait::until("a gateway to have nothing pending", SETTLING, async || {
                let statistics = gateway.statistics().await?;
                let gauges =
                    ["pending_calls", "pending_bytes", "callbacks_in_flight", "callback_queue", "outcome_backlog"];
                for gauge in gauges {
                    let value = statistics.filter(&format!("privatenumber_{gauge}"));
                    ensure!(value == 0, "{gauge} is {value}");
                }
                Ok(traps(&statistics))
            });
            match idle.await {
                Ok(0) => {}
                Ok(traps) => broken.push(format!("P6 standing: VMs of gateway {number} trapped {traps} times")),
                Err(error) => broken.push(format!("P3 accounted: gateway {number}: {error:#}")),
            }
        }
        let settled = wait::until("the store to have no pending calls", SETTLING, async || {
            ensure!(!self.store.has_pending_calls().await?, "there are pending calls");
            Ok(())
        });
        if let Err(error) = settled.await {
            broken.push(format!("P3 accounted: {error:#}"));
        }
        let mut tallies = [Tally::default(), Tally::default()];
        let lives = self.businesses.iter().zip(&self.business_logs).zip(&mut tallies);
        for ((business, log), tally) in lives {
            *tally = count(business, log).await?;
        }
        for (number, log) in self.envoy_logs.iter().enumerate() {
            broken.extend(trap_in(log)?.map(|line| format!("P6 standing: gateway {number} logged: {line}")));
        }
        let (calls, parked) = (self.store.calls().await?, self.store.parked().await?);
        for gateway in &mut self.gateways {
            gateway.stop().await?;
        }
        self.store.process().terminate(Duration::from_secs(30)).await?;
        Ok(Ended { calls, parked, tallies, broken })
    }
}

/// A gateway with a store at each of these addresses.
async fn gateway<const STORES: usize>(
    stack: &harness::stack::Stack,
    stores: [&str; STORES],
    businesses: [&str; 2],
) -> Result<Gateway> {
    let [store, others @ ..] = stores.as_slice() else { bail!("a gateway needs a store") };
    let others: Vec<_> = others.iter().map(|other| (*other).to_owned()).collect();
    let businesses = [demo::AK, OTHER_AK].into_iter().zip(businesses).map(|(ak, address)| {
        let at = BusinessAt::new(ak, address);
        // So many that all can be called back while their claims last.
        let more = json!({"pending_calls": 1_000});
        BusinessAt { timeout_ms: CALLBACK_MS, path: CALLBACK_PATH.to_owned(), more, ..at }
    });
    let options = stack.gateway_for(store, businesses).concurrency(2).reloadable();
    let options = options.change(move |configuration| {
        others.iter().try_for_each(|other| configuration.another_endpoint("store", other))?;
        let plugin = configuration.plugin()?;
        configure_store(plugin, "claim_deadline_seconds", CLAIM_DEADLINE_SECONDS)?;
        configure_store(plugin, "timeout_ms", 2_000)?;
        configure_store(plugin, "retry_max_ms", 2_000)
    });
    options.start().await
}

fn binding(subscription_id: &str, ak: &str) -> Binding {
    Binding {
        id: Some(1),
        ak: Some(ak.to_owned()),
        orig_num: Some("+8617010000011".into()),
        private_num: Some("+8617010000001".into()),
        record_flag: Some(true),
        subscription_id: Some(subscription_id.to_owned()),
        status: Some(1),
        bind_time: Some(1_767_578_000_000),
        created_at: Some(1_767_578_000_000),
        ..Binding::default()
    }
}

/// Sets a number in the part of the filter's configuration that is about the store.
pub fn configure_store(plugin: &mut Value, name: &str, number: u64) -> Result<()> {
    let store = plugin.get_mut("store").and_then(Value::as_object_mut).context("envoy.yaml configures no store")?;
    store.insert(name.to_owned(), number.into());
    Ok(())
}

/// How often a VM was rebuilt after a trap.
pub fn traps(statistics: &Statistics) -> u64 {
    statistics.sum_of(|name| name.contains("vm_reload"))
}

/// The first line of Envoy's log that tells of a trap.
fn trap_in(log: &Path) -> Result<Option<String>> {
    const SIGNS: [&str; 3] = ["Uncaught RuntimeError", "panicked at", "Plugin VM failed"];
    let text = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().find(|line| SIGNS.iter().any(|sign| line.contains(sign))).map(str::to_owned))
}

/// Reads a business's log once it holds all that the business, as it lives now, counted.
async fn count(business: &Business, log: &Path) -> Result<Tally> {
    wait::until("the business's log to be complete", Duration::from_secs(20), async || {
        let counts = business.counts().await?;
        let text = std::fs::read_to_string(log)?;
        let (_, life) = text.rsplit_once("privatenumber-sim business listening on").context("it never began")?;
        let lines = life.lines().filter(|line| line.starts_with("callback ")).count() as u64;
        ensure!(lines >= counts.total, "{lines} of {} callbacks", counts.total);
        Tally::read(log)
    })
    .await
}
