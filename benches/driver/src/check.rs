//! An arm is timed only if it does the job.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::demo;
use harness::huawei::{Huawei, calls};
use harness::store::Store;
use harness::wait;
use hyper::body::Bytes;
use privatenumber_contract::{CallState, Record};
use privatenumber_sim::huawei::{Cdr, Scheme, push_body};
use serde_json::Value;

use crate::arm::Running;
use crate::load::{self, Pace};
use crate::pushes::PUSH_PATH;
use crate::sinks::{Callback, Counts, Sinks, Watched};

/// How long a callback and its outcome may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pushes one CDR, then three, then fifty; then what must be refused.
///
/// # Errors
///
/// When a call is not recorded, called back once with its record, and reported; or when something is let in that must not be.
pub async fn check(running: &mut Running, sinks: &Sinks) -> Result<()> {
    let name = running.arm.title();
    if running.arm.is_mirror() {
        for size in [1, 10, 50] {
            let (ramp, duration) = (Duration::ZERO, Duration::from_millis(200));
            let pace = Pace { size, rate: 20.0, ramp, duration, most_open: u64::MAX };
            let done = load::at_rate(running, sinks, pace).await;
            ensure!(done.with_context(|| format!("{name}, {size} CDRs"))?.done.pushes > 0, "{name} took no push");
        }
        return Ok(());
    }
    let url = format!("http://{}{PUSH_PATH}", running.gateway.address());
    let huawei = Huawei::demo()?;
    for (seed, size) in [(101, 1), (102, 3), (103, 50)] {
        // A real store has every call only once, and the seeds of loads are small.
        let cdrs: Vec<Cdr> = calls(1_000_000 + seed).take(size).collect();
        let before = running.arrived(sinks).await?;
        sinks.watch();
        let answer = huawei.push_cdrs(&url, &cdrs).await.with_context(|| format!("{name}, {size} CDRs"))?;
        let answer = answer.expect(200).with_context(|| name.to_owned())?;
        let result: Value = answer.json()?;
        ensure!(result.get("resultcode").is_some_and(|code| code == "0"), "{name} answered {}", answer.text());
        let calls = size as u64;
        wait::until("all outcomes to arrive", PATIENCE, async || {
            let now = running.arrived(sinks).await?;
            ensure!(now.outcomes - before.outcomes == calls, "{name}: {} outcomes", now.outcomes - before.outcomes);
            Ok(())
        })
        .await?;
        let mut watched = sinks.watched();
        if let Some(store) = running.store() {
            watched.records = records(store, &watched.callbacks).await?;
        }
        verify(&watched, &cdrs).with_context(|| format!("{name}, {size} CDRs"))?;
        if running.arm.carries_texts() {
            verify_texts(&watched, &cdrs).with_context(|| format!("{name}, {size} CDRs"))?;
        }
        ensure!(sinks.counts().invalid == before.invalid, "{name} sent what keeps no contract");
    }
    refusals(name, &url, sinks).await
}

/// The records of these callbacks' calls as the real store keeps them; each must have its outcome.
async fn records(store: &Store, callbacks: &[Callback]) -> Result<HashMap<String, String>> {
    let mut records = HashMap::new();
    for id in callbacks.iter().filter_map(|callback| callback.call_id.as_deref()) {
        let call = store.call(id).await?;
        ensure!(call.state == CallState::Delivered, "the store has a call as {:?}", call.state);
        records.insert(id.to_owned(), serde_json::to_string(&call.record)?);
    }
    Ok(records)
}

/// The store was given the text of every CDR as it was pushed.
fn verify_texts(watched: &Watched, cdrs: &[Cdr]) -> Result<()> {
    let pushed: Result<HashSet<_>, _> = cdrs.iter().map(serde_json::to_vec).collect();
    let carried: HashSet<_> = watched.texts.values().cloned().collect();
    ensure!(carried == pushed?, "the CDRs' texts were not carried as they came");
    Ok(())
}

/// Every call was recorded as what it was, and called back once with the store's record.
fn verify(watched: &Watched, cdrs: &[Cdr]) -> Result<()> {
    ensure!(watched.records.len() == cdrs.len(), "{} calls recorded", watched.records.len());
    ensure!(watched.callbacks.len() == cdrs.len(), "{} callbacks", watched.callbacks.len());
    let sessions: HashSet<_> = cdrs.iter().map(|cdr| cdr.session_id.expose().as_str()).collect();
    let mut seen = HashSet::new();
    for callback in &watched.callbacks {
        let id = callback.call_id.as_deref().context("a callback without webhook-id")?;
        let record = watched.records.get(id).context("a callback for a call that was not recorded")?;
        let (sent, granted): (Value, Value) = (serde_json::from_slice(&callback.body)?, serde_json::from_str(record)?);
        ensure!(sent == granted, "a callback's record is not the store's");
        let record: Record = serde_json::from_slice(&callback.body)?;
        let session = record.session_id.context("a record without sessionId")?;
        ensure!(sessions.contains(session.expose().as_str()), "a record of another call");
        ensure!(record.answer_time.is_some() && record.private_num.is_some(), "a record without its CDR's values");
        ensure!(seen.insert(id), "a call was called back twice");
    }
    Ok(())
}

async fn refusals(name: &str, url: &str, sinks: &Sinks) -> Result<()> {
    let before: Counts = sinks.counts();
    let cdrs: Vec<Cdr> = calls(1_000_104).take(1).collect();
    let stranger = Huawei::new(Scheme::Aksk, demo::APP_KEY, &format!("not-{}", demo::SECRET))?;
    let answer = stranger.push_cdrs(url, &cdrs).await?;
    ensure!(answer.status == 401, "{name} answered {} to a wrong signature", answer.status);
    let huawei = Huawei::demo()?;
    let empty = push_body(&[])?;
    for body in [&b"{"[..], b"{}", br#"{"eventType":"fee"}"#, &empty] {
        let answer = huawei.push(url, Bytes::copy_from_slice(body)).await?;
        ensure!(answer.status == 400, "{name} answered {} to {}", answer.status, String::from_utf8_lossy(body));
    }
    ensure!(sinks.counts() == before, "{name} passed something on that it refused");
    Ok(())
}
