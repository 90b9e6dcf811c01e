//! Promise P1: at most one callback request per call ever reaches the business.

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::wait;
use privatenumber_contract::{CallState, Outcome};
use privatenumber_sim::business::Temper;
use privatenumber_sim::huawei::push_body;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    a_push_becomes_one_callback_and_one_outcome,
    p1_a_push_that_is_repeated_is_called_back_once,
    p1_twenty_copies_at_once_are_called_back_once,
    p1_two_gateways_one_callback,
    p1_a_business_that_fails_is_not_called_again,
);

async fn a_push_becomes_one_callback_and_one_outcome(mode: HeadersMode) -> Result<()> {
    let world = World::start("one-push", mode).await?;
    world.register_demo_binding().await?;
    world.push(&cdrs(1, 1)).await?;
    let callbacks = world.callbacks(1).await?;
    let calls = world.settled_calls(1).await?;
    ensure!(calls[0].outcome == Some(Outcome::Delivered { status: 200 }), "{:?}", calls[0]);
    ensure!(callbacks[0].record()? == calls[0].record, "the business saw another record than the store has");
    ensure!(callbacks[0].webhook_id.as_deref() == Some(calls[0].call_id.as_str()));
    world.ends_well().await
}

async fn p1_a_push_that_is_repeated_is_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = World::start("p1-repeated", mode).await?;
    let calls = cdrs(2, 3);
    for _ in 0..5 {
        world.push(&calls).await?;
    }
    // Regrouped: a re-push need not be the push it repeats.
    for call in &calls {
        world.push(std::slice::from_ref(call)).await?;
    }
    let settled = world.settled_calls(3).await?;
    ensure!(settled.iter().all(|call| call.duplicates == 5), "{settled:?}");
    ensure!(world.business.counts().await?.total == 3);
    world.ends_well().await
}

async fn p1_twenty_copies_at_once_are_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = World::with("p1-twenty", mode, &[], |options| options.concurrency(2)).await?;
    let body = push_body(&cdrs(3, 1))?;
    let url = world.gateway.url();
    let mut pushes = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (body, url) = (body.clone(), url.clone());
        let huawei = harness::huawei::Huawei::demo()?;
        pushes.spawn(async move { huawei.push(&url, body).await?.expect(200) });
    }
    while let Some(answer) = pushes.join_next().await {
        answer??;
    }
    let settled = world.settled_calls(1).await?;
    ensure!(settled[0].duplicates == 19, "{settled:?}");
    ensure!(world.business.counts().await?.total == 1);
    world.ends_well().await
}

async fn p1_two_gateways_one_callback(mode: HeadersMode) -> Result<()> {
    let world = World::start("p1-two-gateways", mode).await?;
    let second = world.another_gateway(mode).await?;
    let calls = cdrs(4, 30);
    for call in &calls {
        let cdr = std::slice::from_ref(call);
        let (first_url, second_url) = (world.gateway.url(), second.url());
        let (one, other) =
            tokio::join!(world.huawei.push_cdrs(&first_url, cdr), world.huawei.push_cdrs(&second_url, cdr));
        one?.expect(200)?;
        other?.expect(200)?;
    }
    let settled = world.settled_calls(30).await?;
    ensure!(settled.iter().all(|call| call.state == CallState::Delivered && call.duplicates == 1), "{settled:?}");
    let claimed =
        |statistics: harness::gateway::Statistics| statistics.filter("privatenumber_cdrs_total.verdict.claimed");
    wait::until("both gateways to have counted their claims", PATIENCE, async || {
        let (first, second) = (claimed(world.gateway.statistics().await?), claimed(second.statistics().await?));
        ensure!(first + second == 30, "{first} and {second} claims");
        Ok(())
    })
    .await?;
    ensure!(world.business.counts().await?.total == 30);
    world.ends_well().await
}

async fn p1_a_business_that_fails_is_not_called_again(mode: HeadersMode) -> Result<()> {
    let world = World::start("p1-failing", mode).await?;
    world.business.behave(&Temper { status: Some(503), ..Temper::default() }).await?;
    let calls = cdrs(5, 2);
    world.push(&calls).await?;
    world.settled_calls(2).await?;
    world.push(&calls).await?;
    let settled = world.settled_calls(2).await?;
    ensure!(settled.iter().all(|call| call.outcome == Some(Outcome::Rejected { status: 503 })), "{settled:?}");
    ensure!(world.business.counts().await?.total == 2);
    world.ends_well().await
}
