//! A configuration that is replaced while calls are pending: nothing is lost, nothing called back twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use end_to_end::configuration::HeadersMode;
use end_to_end::fault::Fault;
use end_to_end::wait;
use privatenumber_contract::{Outcome, paths};
use privatenumber_sim::business::Temper;
use privatenumber_sim::huawei::push_body;
use serde_json::json;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p1_p3_callbacks_in_flight_survive_a_reload,
    p8_a_push_that_is_open_during_a_reload_is_finished,
    a_bad_configuration_is_refused_and_the_former_goes_on_serving,
    p3_a_vm_that_is_replaced_leaves_its_calls_without_outcome,
    p3_a_configuration_that_returns_while_it_drains_takes_the_place_of_the_former,
);

async fn p1_p3_callbacks_in_flight_survive_a_reload(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("reload", mode, &[], |options| options.reloadable().concurrency(2)).await?;
    let slow = Temper { delay_ms: 2_500, ..Temper::default() };
    world.business.behave(&slow).await?;
    for round in 0..3 {
        world.push(&cdrs(400 + round, 10)).await?;
        world
            .gateway
            .reload(|plugin| {
                plugin["revision"] = json!(format!("round {round}"));
                Ok(())
            })
            .await?;
    }
    ensure!(!world.store.calls("state=pending").await?.is_empty(), "nothing was in flight during the reloads");
    world.callbacks(30).await?;
    let settled = world.settled_calls(30).await?;
    ensure!(settled.iter().all(|call| call.outcome == Some(Outcome::Answered { status: 200 })), "{settled:?}");
    let drained = wait::until("the replaced configurations to have drained", PATIENCE, async || {
        let logs = world.gateway.logs();
        let count = |event: &str| logs.iter().filter(|line| line.contains(event)).count();
        let (draining, drained) = (count("\"event\":\"draining\""), count("\"event\":\"drained\""));
        ensure!(draining > 0 && draining == drained, "{drained} of {draining} drained");
        Ok(())
    });
    drained.await?;
    world.ends_well().await
}

async fn p8_a_push_that_is_open_during_a_reload_is_finished(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("reload-open", mode, &[], |options| options.reloadable()).await?;
    world.faults.strike_times(paths::PUSHES, Fault::DelayAnswer(Duration::from_millis(1_500)), 1);
    let (url, body) = (world.gateway.url(), push_body(&cdrs(410, 3))?);
    let huawei = end_to_end::huawei::Huawei::demo()?;
    let push = tokio::spawn(async move { huawei.push(&url, body).await });
    wait::until("the push to reach the store", PATIENCE, async || {
        ensure!(world.faults.count(paths::PUSHES) == 1, "not yet");
        Ok(())
    })
    .await?;
    world
        .gateway
        .reload(|plugin| {
            plugin["revision"] = json!("while a push is open");
            Ok(())
        })
        .await?;
    push.await??.expect(200)?;
    world.callbacks(3).await?;
    world.settled_calls(3).await?;
    world.ends_well().await
}

async fn a_bad_configuration_is_refused_and_the_former_goes_on_serving(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("reload-bad", mode, &[], |options| options.reloadable()).await?;
    let refused = world
        .gateway
        .reload(|plugin| {
            plugin["businesses"][0]["timeout_ms"] = json!(0);
            Ok(())
        })
        .await;
    ensure!(refused.is_err(), "a time-out of 0 was taken");
    let logs = world.gateway.logs();
    ensure!(logs.iter().any(|line| line.contains("/businesses/0/timeout_ms: must be a whole number from 1 to 60000")));
    world.push(&cdrs(420, 1)).await?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}

/// Why operations change the module, `vm_id` and the VM's configuration by a restart only: Envoy lets go of a VM that no
/// configuration names any more, whatever is pending in it.
async fn p3_a_vm_that_is_replaced_leaves_its_calls_without_outcome(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("reload-vm", mode, &[], |options| options.reloadable()).await?;
    world.business.behave(&Temper { delay_ms: 2_500, ..Temper::default() }).await?;
    world.push(&cdrs(430, 5)).await?;
    world.callbacks(5).await?;
    world
        .gateway
        .reload_filter(|configuration| {
            configuration.filter()?["config"]["vm_config"]["vm_id"] = json!("another");
            Ok(())
        })
        .await?;
    // One that comes later and is answered later than the others would have been.
    world.push(&cdrs(431, 1)).await?;
    lost(&world, 6, 5).await
}

/// Why operations never give a configuration the text of an earlier one: Envoy keeps those that are draining by their text.
async fn p3_a_configuration_that_returns_while_it_drains_takes_the_place_of_the_former(
    mode: HeadersMode,
) -> Result<()> {
    let mut world = World::with("reload-back", mode, &[], |options| options.reloadable()).await?;
    world.business.behave(&Temper { delay_ms: 2_500, ..Temper::default() }).await?;
    for (series, revision, calls) in [(440, "first", 2), (441, "second", 1), (442, "first", 1), (443, "second", 1)] {
        world
            .gateway
            .reload(|plugin| {
                plugin["revision"] = json!(revision);
                Ok(())
            })
            .await?;
        world.push(&cdrs(series, calls)).await?;
    }
    lost(&world, 5, 2).await
}

/// Waits for the outcomes of all calls but those that are lost, which are the oldest.
async fn lost(world: &World, calls: usize, lost: usize) -> Result<()> {
    let settled = wait::until("all other calls to have an outcome", PATIENCE, async || {
        let settled = world.store.calls("state=answered").await?;
        ensure!(settled.len() == calls - lost, "{} calls", settled.len());
        Ok(())
    });
    settled.await?;
    let pending = world.store.calls("state=pending").await?;
    ensure!(pending.len() == lost, "{pending:?}");
    wait::until("the gauges to keep what was lost", PATIENCE, async || {
        let pending = world.gateway.statistics().await?.filter("privatenumber_pending_calls");
        ensure!(pending == lost as u64, "{pending} calls");
        Ok(())
    })
    .await?;
    world.no_vm_trapped().await
}
