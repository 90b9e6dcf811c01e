//! A store that dies, freezes, or finds its disk full.

use anyhow::Result;

use super::{Plan, start_again};
use crate::store::Store;

pub async fn strike(mut plan: Plan, store: &mut Store) -> Result<()> {
    while plan.pause(4_000, 14_000).await {
        if !store.process().is_running() {
            plan.journal.broken("P2 kept: the store ended by itself".to_owned());
            start_again("the store", async || store.restart().await).await?;
        }
        match plan.percent() {
            0..35 => {
                plan.journal.fault("store killed");
                store.process().kill().await?;
                plan.last(0, 2_500).await;
                start_again("the store", async || store.restart().await).await?;
            }
            35..65 => {
                plan.journal.fault("store frozen");
                store.process().freeze()?;
                plan.last(200, 4_000).await;
                store.process().thaw()?;
            }
            _ => fill(&mut plan, store).await?,
        }
    }
    Ok(())
}

/// No room for a while: none at all, or so little that it ends in the middle of a commit.
async fn fill(plan: &mut Plan, store: &Store) -> Result<()> {
    let room = if plan.percent() < 50 { 0 } else { plan.random.below(64 * 1024) };
    let limit = if room == 0 { 0 } else { store.log_length() + room };
    if store.limit_files(Some(limit))? {
        plan.journal.fault("store without room");
        plan.last(500, 4_000).await;
        store.limit_files(None)?;
    }
    Ok(())
}
