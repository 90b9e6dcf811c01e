//! A gateway that dies, freezes, or is given another configuration.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::gateway::Gateway;
use serde_json::Value;

use super::{Plan, start_again};
use crate::stack::{configure_store, traps};

pub async fn strike(mut plan: Plan, number: usize, gateway: &mut Gateway) -> Result<()> {
    let (mut reloads, mut has_died) = (0, false);
    while plan.pause(3_000, 12_000).await {
        if !gateway.process().is_running() {
            plan.journal.broken(format!("P6 standing: gateway {number} ended by itself"));
            start_again("a gateway", async || gateway.restart().await).await?;
        }
        // A run in which no gateway dies says little, so each begins with its death.
        let dies = !has_died || plan.percent() < 30;
        match plan.percent() {
            _ if dies && plan.may_kill_gateways() => {
                has_died = true;
                kill(&mut plan, number, gateway).await?;
            }
            0..43 => {
                plan.journal.fault("gateway frozen");
                gateway.process().freeze()?;
                plan.last(200, 4_000).await;
                gateway.process().thaw()?;
            }
            _ => {
                plan.journal.fault("gateway reloaded");
                reloads += 1;
                let revision = format!("reload {reloads}");
                let delay = 1 + plan.percent();
                let change = |plugin: &mut Value| {
                    plugin.as_object_mut().context("no configuration")?.insert("revision".to_owned(), revision.into());
                    configure_store(plugin, "outcome_batch_delay_ms", delay)
                };
                gateway.reload(change).await?;
            }
        }
    }
    Ok(())
}

async fn kill(plan: &mut Plan, number: usize, gateway: &mut Gateway) -> Result<()> {
    // Its counters die with it.
    let statistics = tokio::time::timeout(Duration::from_secs(5), gateway.statistics()).await;
    let statistics = statistics.ok().and_then(Result::ok);
    plan.journal.fault("gateway killed");
    gateway.kill().await?;
    plan.journal.killed(number, statistics.as_ref().map(|statistics| statistics.filter("privatenumber_pending_calls")));
    if statistics.is_some_and(|statistics| traps(&statistics) > 0) {
        plan.journal.broken(format!("P6 standing: a VM of gateway {number} trapped"));
    }
    plan.last(0, 2_000).await;
    start_again("a gateway", async || gateway.restart().await).await
}
