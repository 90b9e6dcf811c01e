//! What every story starts from: a store, a business and a gateway between them, and Huawei; wherever they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::business::{Business, Callback};
use harness::configuration::HeadersMode;
use harness::demo;
use harness::directory::Directory;
use harness::gateway::{BusinessAt, Gateway, Options};
use harness::huawei::{Huawei, calls};
use harness::store::Store;
use harness::wait;
use privatenumber_contract::{Binding, CallState, CallView};
use privatenumber_sim::huawei::Cdr;

use super::place::{self, Between};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub directory: Directory,
    pub store: Store,
    pub business: Business,
    pub gateway: Gateway,
    pub huawei: Huawei,
    /// What stands between gateway and store. Only where that can strike is there a story of faults.
    pub faults: Between,
}

impl World {
    pub async fn start(name: &str, mode: HeadersMode) -> Result<Self> {
        Self::with(name, mode, &[], |options| options).await
    }

    /// One whose business is started with `arguments` and whose gateway is changed by `change`.
    pub async fn with(
        name: &str,
        mode: HeadersMode,
        arguments: &[&str],
        change: impl FnOnce(Options) -> Options,
    ) -> Result<Self> {
        Self::with_business(name, mode, arguments, |_| {}, change).await
    }

    /// One whose entry for the business is changed as well.
    pub async fn with_business(
        name: &str,
        mode: HeadersMode,
        arguments: &[&str],
        business_change: impl FnOnce(&mut BusinessAt),
        change: impl FnOnce(Options) -> Options,
    ) -> Result<Self> {
        let (world, _) = Self::all(name, mode, arguments, business_change, change, None).await?;
        Ok(world)
    }

    /// One with a second business, called `ak`.
    pub async fn with_another_business(
        name: &str,
        mode: HeadersMode,
        business_change: impl FnOnce(&mut BusinessAt),
        ak: &str,
    ) -> Result<(Self, Business)> {
        let (world, another) = Self::all(name, mode, &[], business_change, |options| options, Some(ak)).await?;
        Ok((world, another.context("there is no second business")?))
    }

    async fn all(
        name: &str,
        mode: HeadersMode,
        arguments: &[&str],
        business_change: impl FnOnce(&mut BusinessAt),
        change: impl FnOnce(Options) -> Options,
        another_ak: Option<&str>,
    ) -> Result<(Self, Option<Business>)> {
        let directory = Directory::fresh(&format!("{name}-{mode:?}").to_lowercase())?;
        let started = place::start(&directory, arguments).await?;
        let mut at = BusinessAt::demo(&started.business_address);
        business_change(&mut at);
        let mut options = Options::new(started.gateway, &started.store_address).headers(mode).business(at);
        let mut another = None;
        if let Some(ak) = another_ak {
            let (business, address) = place::another_business(&directory, &started.faults).await?;
            options = options.business(BusinessAt::new(ak, &address));
            another = Some(business);
        }
        let gateway = Gateway::start(&directory, change(options)).await?;
        let place::Started { store, business, faults, .. } = started;
        Ok((Self { directory, store, business, gateway, huawei: Huawei::demo()?, faults }, another))
    }

    /// One more gateway in front of the same store and business.
    pub async fn another_gateway(&self, mode: HeadersMode) -> Result<Gateway> {
        let directory = Directory::fresh("another-gateway")?;
        let (options, business) = place::another_gateway(self)?;
        Gateway::start(&directory, options.headers(mode).business(BusinessAt::demo(&business))).await
    }

    pub async fn register_demo_binding(&self) -> Result<Binding> {
        let binding = demo::binding();
        self.store.register(demo::SUBSCRIPTION_ID, &binding).await?;
        Ok(binding)
    }

    /// Pushes these CDRs and expects the answer for "recorded".
    pub async fn push(&self, cdrs: &[Cdr]) -> Result<()> {
        let answer = self.huawei.push_cdrs(&self.gateway.url(), cdrs).await?.expect(200)?;
        ensure!(answer.text() == r#"{"resultcode":"0","resultdesc":"Success"}"#, "answered {}", answer.text());
        Ok(())
    }

    /// Waits until the business has seen this many callbacks, and hands them over.
    pub async fn callbacks(&self, count: usize) -> Result<Vec<Callback>> {
        wait::until(&format!("{count} callbacks"), PATIENCE, async || {
            let callbacks = self.business.callbacks().await?;
            ensure!(callbacks.len() >= count, "{} callbacks", callbacks.len());
            Ok(callbacks)
        })
        .await
    }

    /// Waits until the store has this many calls, none of them pending, and hands them over.
    pub async fn settled_calls(&self, count: usize) -> Result<Vec<CallView>> {
        wait::until(&format!("{count} calls with outcomes"), PATIENCE, async || {
            let calls = self.store.calls("").await?;
            ensure!(calls.len() == count, "{} calls", calls.len());
            let pending = calls.iter().filter(|call| call.state == CallState::Pending).count();
            ensure!(pending == 0, "{pending} of {count} calls pending");
            Ok(calls)
        })
        .await
    }

    /// What must hold at the end of every story: one callback for each call at most, each of them a record, nothing left
    /// pending in the gateway, and no VM that trapped.
    pub async fn ends_well(&self) -> Result<()> {
        let counts = self.business.counts().await?;
        ensure!(counts.max_per_call <= 1, "a call was called back {} times", counts.max_per_call);
        ensure!(counts.invalid_records == 0, "{} callbacks carried no record", counts.invalid_records);
        wait::until("the gateway to have nothing pending", PATIENCE, async || {
            let statistics = self.gateway.statistics().await?;
            for gauge in ["pending_calls", "pending_bytes", "callbacks_in_flight", "callback_queue", "outcome_backlog"]
            {
                let value = statistics.filter(&format!("privatenumber_{gauge}"));
                ensure!(value == 0, "{gauge} is {value}");
            }
            Ok(())
        })
        .await?;
        self.no_vm_trapped().await
    }

    pub async fn no_vm_trapped(&self) -> Result<()> {
        let statistics = self.gateway.statistics().await?;
        let traps =
            statistics.sum_of(|name| name.contains("vm_reload") || name.ends_with("remote_load_fetch_failures"));
        ensure!(traps == 0, "a VM trapped:\n{}", self.gateway.logs().join("\n"));
        Ok(())
    }
}

/// Answered calls that no other story makes.
pub fn cdrs(seed: u64, count: usize) -> Vec<Cdr> {
    calls(seed).take(count).collect()
}
