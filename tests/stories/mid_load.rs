//! Promises P1, P2 and P3 while store and gateway are stopped, killed and started again under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::huawei::Huawei;
use harness::wait;
use privatenumber_contract::CallState;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::world::{PATIENCE, World, cdrs};

const PUSHERS: u64 = 4;
/// The store lists 500 calls at once.
const CALLS_OF_A_PUSHER: usize = 120;
/// From one push to the next, and to the repetition of one that was not accepted.
const PACE: Duration = Duration::from_millis(150);
/// Calls that must be accepted before the next thing happens.
const PROGRESS: usize = 12;
/// The shortest there is; a call whose gateway was killed reads as `unknown` after it.
const CLAIM_DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn p1_p2_p3_hold_while_store_and_gateway_are_stopped_and_killed_under_load() -> Result<()> {
    let mut world = World::with("mid-load", HeadersMode::default(), &[], |options| {
        options.change(|configuration| {
            configuration.plugin()?["store"]["claim_deadline_seconds"] = CLAIM_DEADLINE.as_secs().into();
            // So many that all can be called back while their claims last.
            configuration.plugin()?["businesses"][0]["pending_calls"] = 1_000.into();
            Ok(())
        })
    })
    .await?;
    let (accepted, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut pushers = JoinSet::new();
    for pusher in 0..PUSHERS {
        pushers.spawn(push_all(world.gateway.url(), 700 + pusher, Arc::clone(&accepted), Arc::clone(&over)));
    }

    progress(&accepted).await?;
    world.store.kill().await?;
    world.store.restart().await?;
    progress(&accepted).await?;
    world.store.stop().await?;
    world.store.restart().await?;
    progress(&accepted).await?;
    world.gateway.kill().await?;
    world.gateway.restart().await?;
    progress(&accepted).await?;
    world.gateway.stop().await?;
    world.gateway.restart().await?;
    progress(&accepted).await?;
    over.store(true, Ordering::Relaxed);
    while let Some(pusher) = pushers.join_next().await {
        pusher??;
    }

    // P2: what was answered 200 is there. P3: all of it ends, at the latest when the claims of a killed gateway have.
    let accepted = accepted.load(Ordering::Relaxed);
    let calls = wait::until("every call to end", CLAIM_DEADLINE + PATIENCE, async || {
        let calls = world.store.calls("").await?;
        ensure!(calls.len() == accepted, "{} calls in the store, {accepted} accepted", calls.len());
        let pending = calls.iter().filter(|call| call.state == CallState::Pending).count();
        ensure!(pending == 0, "{pending} calls pending");
        Ok(calls)
    })
    .await?;
    // P1: at most one callback for each, exactly one for each whose business replied.
    let counts = world.business.counts().await?;
    for call in &calls {
        let callbacks = counts.by_webhook_id.get(&call.call_id).copied().unwrap_or(0);
        let possible = match call.state {
            CallState::Delivered | CallState::Rejected => callbacks == 1,
            CallState::NotSent | CallState::Skipped => callbacks == 0,
            _ => callbacks <= 1,
        };
        ensure!(possible, "{callbacks} callbacks for a call that is {:?}", call.state);
    }
    let delivered = calls.iter().filter(|call| call.state == CallState::Delivered).count();
    ensure!(delivered * 2 > accepted, "only {delivered} of {accepted} calls were delivered");
    world.ends_well().await
}

async fn progress(accepted: &AtomicUsize) -> Result<()> {
    let before = accepted.load(Ordering::Relaxed);
    wait::until("pushes to be accepted", PATIENCE, async || {
        let now = accepted.load(Ordering::Relaxed);
        ensure!(now >= before + PROGRESS, "{} were accepted", now - before);
        Ok(())
    })
    .await
}

/// Pushes call after call, each until it is accepted, as Huawei does, only sooner.
async fn push_all(url: String, seed: u64, accepted: Arc<AtomicUsize>, over: Arc<AtomicBool>) -> Result<()> {
    let huawei = Huawei::demo()?;
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for call in cdrs(seed, CALLS_OF_A_PUSHER) {
        loop {
            pace.tick().await;
            let answer = huawei.push_cdrs(&url, std::slice::from_ref(&call)).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                break;
            }
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
