//! A configuration that is replaced while calls are pending: nothing is lost, nothing called back twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::demo::{APP_KEY, SECRET};
use harness::fault::{CLAIMS, Fault};
use harness::gateway::{BusinessAt, Options};
use harness::huawei::Huawei;
use harness::wait;
use privatenumber_contract::Outcome;
use privatenumber_sim::business::{Mode, Temper};
use privatenumber_sim::huawei::{Scheme, push_body};
use serde_json::json;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p1_p3_callbacks_in_flight_survive_a_reload,
    p8_a_push_that_is_open_during_a_reload_is_finished,
    a_bad_configuration_is_refused_and_the_former_goes_on_serving,
    p3_a_vm_that_is_replaced_leaves_its_calls_without_outcome,
    p3_a_configuration_that_returns_while_it_drains_takes_the_place_of_the_former,
    secrets_are_changed_under_a_running_gateway_and_no_push_or_callback_fails,
);

async fn p1_p3_callbacks_in_flight_survive_a_reload(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("reload", mode, &[], |options| options.reloadable().concurrency(2)).await?;
    let slow = Temper { delay_ms: 2_500, ..Temper::default() };
    world.business.behave(&slow).await?;
    for round in 0..3 {
        world.push(&cdrs(400 + round, 10)).await?;
        world.gateway.reload(|plugin| revise(plugin, &format!("round {round}"))).await?;
    }
    ensure!(!world.store.calls("state=pending").await?.is_empty(), "nothing was in flight during the reloads");
    world.callbacks(30).await?;
    let settled = world.settled_calls(30).await?;
    ensure!(settled.iter().all(|call| call.outcome == Some(Outcome::Delivered { status: 200 })), "{settled:?}");
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
    world.faults.strike_times(CLAIMS, Fault::DelayAnswer(Duration::from_millis(1_500)), 1);
    let (url, body) = (world.gateway.url(), push_body(&cdrs(410, 3))?);
    let huawei = Huawei::demo()?;
    let push = tokio::spawn(async move { huawei.push(&url, body).await });
    wait::until("the push to reach the store", PATIENCE, async || {
        ensure!(world.faults.count(CLAIMS) == 1, "not yet");
        Ok(())
    })
    .await?;
    world.gateway.reload(|plugin| revise(plugin, "while a push is open")).await?;
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

/// The walk of "Changing a secret" in `docs/operations.md`: an application's secret and a business's at once, while callbacks are under
/// way at each step.
async fn secrets_are_changed_under_a_running_gateway_and_no_push_or_callback_fails(mode: HeadersMode) -> Result<()> {
    /// Fictitious, like the others.
    const NEW_SECRET: &str = "fictitious-app-secret-0002";
    const OLD_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const NEW_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    let signed = |business: &mut BusinessAt| business.more = json!({ "signing_secrets": [{ "value": OLD_KEY }] });
    // The business verifies with either secret, as while it changes its own.
    let arguments = ["--signing-secret", OLD_KEY, "--signing-secret", NEW_KEY];
    let mut world = World::with_business("reload-secrets", mode, &arguments, signed, |options| {
        options.reloadable().concurrency(2).change(|configuration| {
            configuration.plugin()?["applications"][0]["secrets"] = json!([{ "value": SECRET }]);
            Ok(())
        })
    })
    .await?;
    world.business.behave(&Temper { delay_ms: 1_000, ..Temper::default() }).await?;
    let workers = world.gateway.process().pid();
    let new = Huawei::new(Scheme::Aksk, APP_KEY, NEW_SECRET)?;
    let url = world.gateway.url();
    // What Huawei is answered that signs with the old secret, and with the new one.
    let pushed = async |world: &World, series: u64| -> Result<(u16, u16)> {
        let old = world.huawei.push_cdrs(&url, &cdrs(series, 2)).await?.status;
        Ok((old.as_u16(), new.push_cdrs(&url, &cdrs(series + 1, 2)).await?.status.as_u16()))
    };
    ensure!(pushed(&world, 460).await? == (200, 401));
    let steps = [
        (
            "both",
            json!([{ "value": SECRET }, { "value": NEW_SECRET }]),
            json!([{ "value": OLD_KEY }, { "value": NEW_KEY }]),
        ),
        ("new", json!([{ "value": NEW_SECRET }]), json!([{ "value": NEW_KEY }])),
    ];
    for ((revision, secrets, keys), (series, expected)) in steps.into_iter().zip([(462, (200, 200)), (464, (401, 200))])
    {
        world
            .gateway
            .reload(|plugin| {
                plugin["applications"][0]["secrets"] = secrets;
                plugin["businesses"][0]["signing_secrets"] = keys;
                revise(plugin, revision)
            })
            .await?;
        let answered = pushed(&world, series).await?;
        ensure!(answered == expected, "{revision}: {answered:?}");
    }

    let callbacks = world.callbacks(8).await?;
    ensure!(callbacks.iter().all(|callback| callback.signature_valid == Some(true)), "a signature does not hold");
    let signatures = callbacks.iter().filter_map(|callback| callback.header("webhook-signature"));
    let mut signatures: Vec<_> = signatures.map(|value| value.split(' ').count()).collect();
    signatures.sort_unstable();
    ensure!(signatures == [1, 1, 1, 1, 2, 2, 2, 2], "signatures of the callbacks: {signatures:?}");
    let settled = world.settled_calls(8).await?;
    ensure!(settled.iter().all(|call| call.outcome == Some(Outcome::Delivered { status: 200 })), "{settled:?}");
    ensure!(world.gateway.process().pid() == workers, "the gateway is another process");
    world.ends_well().await
}

/// Why operations change the module, `vm_id` and the VM's configuration by a restart only: Envoy lets go of a VM that no
/// configuration names any more, whatever is pending in it.
async fn p3_a_vm_that_is_replaced_leaves_its_calls_without_outcome(mode: HeadersMode) -> Result<()> {
    let mut world = with_a_business_that_hangs("reload-vm", mode).await?;
    world.push(&cdrs(430, 5)).await?;
    world.callbacks(5).await?;
    ensure!(under_way(&world).await? == 5);
    world
        .gateway
        .reload_filter(|configuration| {
            configuration.filter()?["config"]["vm_config"]["vm_id"] = json!("another");
            Ok(())
        })
        .await?;
    abandoned(&world, 5, 0).await
}

/// Why operations never give a configuration the text of an earlier one: Envoy keeps those that are draining by their text.
async fn p3_a_configuration_that_returns_while_it_drains_takes_the_place_of_the_former(
    mode: HeadersMode,
) -> Result<()> {
    let mut world = with_a_business_that_hangs("reload-back", mode).await?;
    let mut calls = 0;
    for (series, revision, more) in [(440, "first", 2), (441, "second", 1), (442, "first", 1)] {
        world.gateway.reload(|plugin| revise(plugin, revision)).await?;
        world.push(&cdrs(series, more)).await?;
        calls += more;
        world.callbacks(calls).await?;
        ensure!(under_way(&world).await? == calls as u64, "so far nothing is abandoned");
    }
    // Now the second one with the text `first` is draining, too.
    world.gateway.reload(|plugin| revise(plugin, "third")).await?;
    abandoned(&world, calls, 2).await
}

async fn with_a_business_that_hangs(name: &str, mode: HeadersMode) -> Result<World> {
    let patient = |business: &mut BusinessAt| {
        business.timeout_ms = 60_000;
        // So few that all of them can be called back while their claims last.
        business.more = json!({"pending_calls": 1_000});
    };
    let world = World::with_business(name, mode, &[], patient, Options::reloadable).await?;
    world.business.behave(&Temper { mode: Mode::Hang, ..Temper::default() }).await?;
    Ok(world)
}

fn revise(plugin: &mut serde_json::Value, revision: &str) -> Result<()> {
    plugin["revision"] = json!(revision);
    Ok(())
}

/// Callbacks that Envoy waits for.
async fn under_way(world: &World) -> Result<u64> {
    Ok(world.gateway.statistics().await?.get("cluster.business.upstream_rq_active"))
}

/// Envoy gives up callbacks until so few are under way; nobody hears of it, and all of `calls` stay as they were.
async fn abandoned(world: &World, calls: usize, remaining: u64) -> Result<()> {
    wait::until("Envoy to abandon callbacks", PATIENCE, async || {
        let under_way = under_way(world).await?;
        ensure!(under_way == remaining, "{under_way} are under way");
        Ok(())
    })
    .await?;
    ensure!(world.store.calls("state=pending").await?.len() == calls, "an outcome was reported");
    let pending = world.gateway.statistics().await?.filter("privatenumber_pending_calls");
    ensure!(pending == calls as u64, "the gauges say {pending}");
    world.no_vm_trapped().await
}
