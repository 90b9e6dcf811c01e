//! Promise P4 towards the store: one of two instances that hangs keeps nobody waiting for long.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::business::Callback;
use harness::configuration::HeadersMode;
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES};
use harness::gateway::{BusinessAt, Gateway, Options};
use harness::http;
use harness::huawei::Huawei;
use harness::wait;
use hyper::Method;
use privatenumber_sim::huawei::push_body;
use tokio::task::JoinSet;

use crate::world::{PATIENCE, World, cdrs};

/// How long one of two stores is stopped.
const STOPPED_FOR: Duration = Duration::from_secs(60);
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
    let mut calls = cdrs(4_000, usize::try_from(STOPPED_FOR.as_millis() / EVERY.as_millis())?).into_iter();
    // It takes connections, as a stopped process does, and answers nothing.
    other.strike(CLAIMS, Fault::Hang);
    other.strike(OUTCOMES, Fault::Hang);
    let mut every = tokio::time::interval(EVERY);
    while begun.elapsed() < STOPPED_FOR {
        every.tick().await;
        let Some(call) = calls.next() else { break };
        let (url, at) = (gateway.url(), begun.elapsed());
        pushes.spawn(async move {
            let session_id = call.session_id.expose().clone();
            let answer = Huawei::demo()?.push(&url, push_body(&[call])?).await?;
            anyhow::Ok((at, answer.status.as_u16(), session_id))
        });
    }
    let count = pushes.len();
    let (mut refused, mut pushed, mut accepted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    while let Some(push) = pushes.join_next().await {
        let (at, status, session_id) = push??;
        pushed.insert(session_id.clone());
        if status == 200 {
            accepted.insert(session_id);
        } else {
            refused.push((at, status));
        }
    }
    other.heal();
    ensure!(refused.iter().all(|(at, _)| *at < NOTICED_AFTER), "refused of {count}: {refused:?}");
    ensure!(other.count(CLAIMS) > 0, "the other store was never asked");
    // What was refused may be called back as well: the gateway goes on asking.
    let called = wait::until("a callback for each push that was accepted", PATIENCE, async || {
        let callbacks = world.business.callbacks().await?;
        let called: BTreeSet<_> = callbacks.iter().map(session_id).collect::<Result<_>>()?;
        ensure!(called.len() == callbacks.len(), "a call was called back twice");
        let missing = accepted.difference(&called).count();
        ensure!(missing == 0, "{missing} calls were not called back");
        Ok(called)
    });
    let called = called.await?;
    let unknown = called.difference(&pushed).count();
    ensure!(unknown == 0, "{unknown} calls were called back and never pushed");
    ensure!(world.business.counts().await?.max_per_call == 1);
    gateway.stop().await
}

fn session_id(callback: &Callback) -> Result<String> {
    let session_id = callback.record()?.session_id.context("a callback names no call")?;
    Ok(session_id.into_exposed())
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
