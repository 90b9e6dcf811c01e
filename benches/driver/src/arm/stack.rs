//! The real store, behind the arms of which it is a part.

use anyhow::Result;
use harness::directory::Directory;
use harness::gateway::DEMO_AK;
use harness::store::{Start, Store};
use privatenumber_contract::{Binding, Private};
use privatenumber_sim::huawei::CallSettings;

use crate::sinks::Counts;

/// Starts it, its file in `directory`, and registers the binding that all calls are of.
pub async fn start_store(directory: &Directory) -> Result<Store> {
    let store = Start::new(directory.join("store.sqlite3"), directory.join("store.log")).start().await?;
    let binding = Binding {
        id: Some(1_499_268_874),
        ak: Some(DEMO_AK.to_owned()),
        orig_num: Some(Private::new("+8617010000011".to_owned())),
        private_num: Some(Private::new("+8617010000001".to_owned())),
        record_flag: Some(false),
        max_duration: Some(60),
        call_direction: Some(0),
        status: Some(1),
        bind_response: Some(Private::new(r#"{"resultcode":"0","resultdesc":"Success"}"#.to_owned())),
        binding_duration: Some(5),
        bind_time: Some(1_646_288_530_000),
        created_at: Some(1_646_288_530_000),
        ..Binding::default()
    };
    if let Some(subscription_id) = CallSettings::default().subscription_id {
        store.register(&subscription_id, &binding).await?;
    }
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
