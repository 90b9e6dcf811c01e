//! This version beside 0.1.0: either's filter works with the other's store, nothing is lost and nobody is called back twice.
//!
//! `cargo xtask test` builds 0.1.0 from the history and runs this; without that history it is named as skipped.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::before;
use harness::business::Business;
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES};
use harness::gateway::Gateway;
use harness::huawei::{Huawei, calls};
use harness::stack::Stack;
use harness::store::Store;
use harness::wait;
use privatenumber_sim::huawei::Cdr;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);
/// How many different CDRs are pushed.
const CDRS: usize = 300;
/// How many pushes are under way at a time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p8_the_filter_of_0_1_0_works_with_this_store() -> Result<()> {
    let stack = Stack::fresh("versions-old-filter")?;
    let store = stack.store().start().await?;
    let faults = stack.faults(store.address()).await?;
    let business = stack.business("business").start().await?;
    let (at_store, at_business) = (faults.address().to_owned(), business.address().to_owned());
    let options = stack
        .gateway(faults.address(), business.address())
        .change(move |configuration| before::as_it_was(configuration, &at_store, &at_business));
    works_together(options.start().await?, &store, &faults, &business).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p8_this_filter_works_with_the_store_of_0_1_0() -> Result<()> {
    let stack = Stack::fresh("versions-old-store")?;
    let store = stack.store().program(before::store()?).start().await?;
    let faults = stack.faults(store.address()).await?;
    let business = stack.business("business").start().await?;
    let gateway = stack.gateway(faults.address(), business.address()).start().await?;
    works_together(gateway, &store, &faults, &business).await
}

/// Every CDR is pushed until it is answered 200 and then once more, while answers of the store get lost.
async fn works_together(mut gateway: Gateway, store: &Store, faults: &FaultProxy, business: &Business) -> Result<()> {
    let cdrs: Vec<Cdr> = calls(5_000).take(CDRS).collect();
    faults.strike_times(OUTCOMES, Fault::LoseAnswer, 2);
    for (round, some) in cdrs.chunks(AT_ONCE).enumerate() {
        if round % 5 == 0 {
            faults.strike_times(CLAIMS, Fault::LoseAnswer, 1);
        }
        let mut pushes = JoinSet::new();
        for cdr in some {
            pushes.spawn(push_until_accepted(gateway.url(), vec![cdr.clone()]));
        }
        while let Some(push) = pushes.join_next().await {
            push??;
        }
    }
    wait::until("one callback for each call", PATIENCE, async || {
        let counts = business.counts().await?;
        ensure!(counts.total == CDRS as u64, "{counts:?}");
        Ok(())
    })
    .await?;
    wait::until("an outcome for each call", PATIENCE, async || {
        for state in ["pending", "unknown", "maybe_sent", "not_sent", "skipped"] {
            let calls = store.calls(&format!("state={state}")).await?;
            ensure!(calls.is_empty(), "{} calls are {state}", calls.len());
        }
        Ok(())
    })
    .await?;
    let counts = business.counts().await?;
    ensure!(counts.max_per_call == 1 && counts.total == CDRS as u64, "{counts:?}");
    gateway.stop().await
}

/// Pushes until it is answered 200, and once more: so does Huawei where the answer was lost.
async fn push_until_accepted(url: String, cdrs: Vec<Cdr>) -> Result<()> {
    let huawei = Huawei::demo()?;
    let deadline = Instant::now() + PATIENCE;
    while huawei.push_cdrs(&url, &cdrs).await?.status != 200 {
        ensure!(Instant::now() < deadline, "a push was not taken within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    huawei.push_cdrs(&url, &cdrs).await?;
    Ok(())
}
