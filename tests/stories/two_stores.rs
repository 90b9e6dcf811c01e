//! Promise P4 towards the store: one of two instances that hangs keeps nobody waiting for long.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES};
use harness::gateway::{BusinessAt, Gateway, Options};
use harness::http;
use harness::huawei::Huawei;
use hyper::Method;
use privatenumber_sim::huawei::push_body;
use tokio::task::JoinSet;

use crate::world::{World, cdrs};

/// How long one of two stores hangs. A minute and longer ends alike: Envoy takes it out after its first failures.
const HANGS_FOR: Duration = Duration::from_secs(20);
/// Time for Envoy to notice.
const NOTICED_AFTER: Duration = Duration::from_secs(2);
/// A push every so often.
const EVERY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn p4_one_of_two_stores_that_hangs_refuses_no_push_after_two_seconds() -> Result<()> {
    let world = World::start("two-stores", HeadersMode::Hold).await?;
    let other = FaultProxy::start(world.store.address()).await?;
    let address = other.address().to_owned();
    let options = Options::new(harness::envoy_binary::for_tests()?, world.faults.address())
        .headers(HeadersMode::Hold)
        .business(BusinessAt::demo(world.business.address()))
        .change(move |configuration| configuration.another_endpoint("store", &address));
    let directory = harness::directory::Directory::fresh("two-stores-gateway")?;
    let mut gateway = Gateway::start(&directory, options).await?;

    let begun = Instant::now();
    let mut pushes = JoinSet::new();
    let mut count = 0_u64;
    // It takes connections and requests, and answers nothing.
    other.strike(CLAIMS, Fault::SwallowAnswer);
    other.strike(OUTCOMES, Fault::SwallowAnswer);
    while begun.elapsed() < HANGS_FOR {
        let body = push_body(&cdrs(4_000 + count, 1))?;
        let (url, at) = (gateway.url(), begun.elapsed());
        pushes.spawn(async move {
            let answer = Huawei::demo()?.push(&url, body).await?;
            anyhow::Ok((at, answer.status.as_u16()))
        });
        count += 1;
        tokio::time::sleep(EVERY).await;
    }
    other.heal();
    let mut refused = Vec::new();
    while let Some(push) = pushes.join_next().await {
        let (at, status) = push??;
        if status != 200 {
            refused.push((at, status));
        }
    }
    ensure!(refused.iter().all(|(at, _)| *at < NOTICED_AFTER), "refused of {count}: {refused:?}");
    ensure!(other.count(CLAIMS) > 0, "the other store was never asked");
    let accepted = usize::try_from(count)? - refused.len();
    world.callbacks(accepted).await?;
    ensure!(world.business.counts().await?.max_per_call == 1);
    gateway.stop().await
}

/// Whoever takes the filter out of the shipped configuration lets nothing through.
#[tokio::test(flavor = "multi_thread")]
async fn p2_without_the_filter_a_push_is_answered_503_and_reaches_nobody() -> Result<()> {
    let world = World::with("without-filter", HeadersMode::Hold, &[], |options| {
        options.change(harness::configuration::Configuration::without_filter)
    })
    .await?;
    let body = push_body(&cdrs(4_900, 1))?;
    http::send(Method::POST, &world.gateway.url(), &world.huawei.headers()?, body).await?.expect(503)?;
    ensure!(world.faults.seen().is_empty(), "something reached the store");
    ensure!(world.business.counts().await?.total == 0);
    Ok(())
}
