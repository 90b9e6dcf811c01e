//! The real store, behind the arms of which it is a part.

use anyhow::Result;
use harness::demo;
use harness::directory::Directory;
use harness::store::{Start, Store};

use crate::sinks::Counts;

/// Starts it, its file in `directory`, and registers the binding that all calls are of.
pub async fn start_store(directory: &Directory) -> Result<Store> {
    let store = Start::new(directory.join("store.sqlite3"), directory.join("store.log")).start().await?;
    store.register(demo::SUBSCRIPTION_ID, &demo::binding()).await?;
    Ok(store)
}

/// What arrived so far: `counts` of the sinks, and what the store has counted.
pub async fn arrived(store: &Store, counts: Counts) -> Result<Counts> {
    let metrics = store.metrics().await?;
    let sum = |name: &str, result: &str| -> u64 {
        let samples = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let wanted = samples.filter(|(labels, _)| labels.starts_with('{') && labels.contains(result));
        wanted.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    Ok(Counts {
        pushes: sum("privatenumber_store_pushes_total", r#"result="committed""#),
        outcomes: sum("privatenumber_store_outcomes_total", r#"result="recorded""#),
        ..counts
    })
}
