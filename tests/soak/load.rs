//! Pushes over kept connections, as fast as they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::huawei::{Huawei, calls};
use harness::raw::Connection;
use privatenumber_sim::huawei::push_body;
use tokio::task::JoinSet;

/// How often is looked whether a mark is reached.
const LOOK: Duration = Duration::from_millis(50);

/// A load that runs.
pub struct Load {
    /// How many pushes were answered 200.
    pub answered: Arc<AtomicU64>,
    pushers: JoinSet<Result<()>>,
}

impl Load {
    /// `pushes` in all, over as many connections to `address`.
    pub fn start(address: &str, pushes: u64, connections: u64) -> Result<Self> {
        let (answered, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(pushes)));
        let mut pushers = JoinSet::new();
        for seed in 0..connections {
            let (address, answered, left) = (address.to_owned(), Arc::clone(&answered), Arc::clone(&left));
            pushers.spawn(push(address, seed, answered, left));
        }
        Ok(Self { answered, pushers })
    }

    /// Waits until `mark` pushes are answered.
    pub async fn reach(&mut self, mark: u64) -> Result<()> {
        while self.answered.load(Ordering::Relaxed) < mark {
            // A pusher that failed ends the run; one that is through leaves the rest to the others.
            if let Some(ended) = self.pushers.try_join_next() {
                ended.context("a pusher ended")??;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until all are answered.
    pub async fn finish(mut self) -> Result<()> {
        while let Some(ended) = self.pushers.join_next().await {
            ended.context("a pusher ended")??;
        }
        Ok(())
    }
}

/// One connection. A seed of its own makes calls of its own.
async fn push(address: String, seed: u64, answered: Arc<AtomicU64>, left: Arc<AtomicU64>) -> Result<()> {
    let huawei = Huawei::demo()?;
    let mut calls = calls(1_000_000 + seed);
    let mut connection = Connection::open(&address).await?;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let call = calls.next().context("no more calls")?;
        let body = push_body(&[call])?;
        connection.send(huawei.request(&body)?).await?;
        let answer = connection.answer().await?;
        ensure!(
            answer.status == 200,
            "a push was answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
