//! Measures how many pushes of one call each the writer commits durably per second.
//!
//! `cargo run --release -p privatenumber-store --example throughput -- [PUSHES] [AT_A_TIME] [DIRECTORY]`

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use privatenumber_contract::{Binding, CallReport, Private, Push, PushId};
use privatenumber_store::clock::Clock;
use privatenumber_store::database::{BindingWork, Database, OpenOptions, PushWork};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::Writer;

/// Bindings that the calls are spread over.
const BINDINGS: u64 = 1000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pushes: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse()).context("PUSHES is not a number")?;
    let at_a_time: u64 = arguments.next().map_or(Ok(256), |text| text.parse()).context("AT_A_TIME is not a number")?;
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory)?;

    let database = Database::open(&directory.path().join("throughput.sqlite3"), &OpenOptions::default()).await?;
    let metrics = Arc::new(Metrics::default());
    let (writer, task) = Writer::start(database.clone(), Clock::system(), Arc::clone(&metrics), 10_000);
    for number in 0..BINDINGS {
        let binding = Binding {
            ak: Some("A".to_owned()),
            orig_num: Some("+8617010000011".into()),
            private_num: Some("+8617010000001".into()),
            status: Some(1),
            bind_response: Some(r#"{"resultcode":"0","resultdesc":"Success"}"#.into()),
            ..Binding::default()
        };
        writer.binding(BindingWork { subscription_id: format!("binding-{number}"), binding }, None).await?;
    }

    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_a_time {
        let (writer, next) = (writer.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut slowest = 0.0_f64;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= pushes {
                    return anyhow::Ok(slowest);
                }
                let asked = Instant::now();
                writer.push(work(number), None).await?;
                slowest = slowest.max(asked.elapsed().as_secs_f64());
            }
        });
    }
    let mut slowest = 0.0_f64;
    while let Some(result) = tasks.join_next().await {
        slowest = slowest.max(result??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{pushes} pushes, {at_a_time} at a time: {:.0} pushes/s, slowest {:.1} ms",
        pushes as f64 / seconds,
        slowest * 1000.0
    );
    for line in metrics.text()?.lines() {
        if line.contains("group_size_sum") || line.contains("group_size_count") || line.contains("commit_seconds_sum") {
            println!("{line}");
        }
    }
    drop(writer);
    task.await?;
    database.close().await;
    Ok(())
}

fn work(number: u64) -> PushWork {
    let session_id = format!("1200_366_4294967295_20261122{number:012}@callenabler.example");
    let call = CallReport {
        app_key: Cow::Borrowed("app"),
        session_id: Private::new(session_id.into()),
        icid: Cow::Borrowed("ba171f34e6953fcd751edc77127748f4.3757223714.337238282.9"),
        claim_deadline: 1_800_000_000_000,
        callin_time: Some(1_700_000_000_000),
        answer_time: Some(1_700_000_005_000),
        disconnect_time: Some(1_700_000_065_000),
        record_url: None,
        subscription_id: Some(format!("binding-{}", number % BINDINGS).into()),
        private_num: Some(Private::new("+8617010000001".into())),
        orig_num: Some(Private::new("+8617010000011".into())),
        user_data: None,
        ak: Some("A".into()),
        ttl_ms: None,
        cdr: None,
        warnings: Vec::new(),
        record_flag: Some(false),
    };
    PushWork::new(&Push {
        age_ms: None,
        application: None,
        signature: None,
        push_id: PushId::from_bytes(u128::from(number).to_be_bytes()),
        app_key: Cow::Borrowed("app"),
        received_at: 1_700_000_066_000,
        calls: vec![call],
        parked: Vec::new(),
        event: None,
    })
}
