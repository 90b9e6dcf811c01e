//! This version beside 0.1.0: either's filter works with the other's store, nothing is lost and nobody is called back twice.
//!
//! `cargo xtask test` builds 0.1.0 from the history and runs this; without that history it is named as skipped.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::before;
use harness::business::Business;
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES};
use harness::gateway::Gateway;
use harness::http;
use harness::huawei::{Huawei, calls};
use harness::stack::Stack;
use harness::store::Store;
use harness::wait;
use hyper::Method;
use privatenumber_contract::{Outcome, paths};
use privatenumber_sim::huawei::Cdr;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);
/// How many different CDRs are pushed.
const CDRS: usize = 300;
/// How many pushes are under way at a time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p8_the_filter_of_0_1_0_works_with_this_store() -> Result<()> {
    let stack = Stack::fresh("versions-old-filter")?;
    let store = stack.store().start().await?;
    let faults = stack.faults(store.address()).await?;
    let business = stack.business("business").start().await?;
    let (at_store, at_business) = (faults.address().to_owned(), business.address().to_owned());
    let options = stack
        .gateway(faults.address(), business.address())
        .change(move |configuration| before::as_it_was(configuration, &at_store, &at_business));
    works_together(options.start().await?, &store, &faults, &business).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p8_this_filter_works_with_the_store_of_0_1_0() -> Result<()> {
    let stack = Stack::fresh("versions-old-store")?;
    let store = stack.store().program(before::store()?).start().await?;
    let faults = stack.faults(store.address()).await?;
    let business = stack.business("business").start().await?;
    let gateway = stack.gateway(faults.address(), business.address()).start().await?;
    works_together(gateway, &store, &faults, &business).await
}

/// Going back and forth between the stores on one file: what either writes, the other reads, and nothing is missed by who reconciles.
#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_the_store_of_0_1_0_runs_on_the_file_of_this_one() -> Result<()> {
    let stack = Stack::fresh("versions-one-file")?;
    for (round, old) in [false, true, false].into_iter().enumerate() {
        let store = stack.store();
        let mut store = if old { store.program(before::store()?) } else { store }.start().await?;
        for (session, status) in [("delivered", 204), ("rejected", 502)] {
            let call_id = push_and_report(&store, &format!("{session} {round}"), status).await?;
            let call: Value = http::get(&store.url(&format!("{}/{call_id}", paths::CALLS))).await?.json()?;
            let outcome: Outcome = serde_json::from_value(call["outcome"].clone())?;
            ensure!(outcome == Outcome::of_status(status), "{call}");
        }
        let repeated = push(&store, "delivered 0", "00000000000000000000000000000009").await?;
        ensure!(repeated["calls"][0]["verdict"] == "duplicate", "{repeated}");
        store.stop().await?;
    }
    let store = stack.store().start().await?;
    for (query, word) in [("state=delivered", "delivered"), ("outcome=undelivered&from=0", "rejected")] {
        let calls = store.calls(query).await?;
        let sessions: Vec<_> = calls.iter().map(|call| call.session_id.expose().as_str()).collect();
        let expected: Vec<_> = (0..3).rev().map(|round| format!("{word} {round}")).collect();
        ensure!(sessions == expected, "{query}: {sessions:?}");
    }
    Ok(())
}

/// Pushes a call as 0.1.0 does; returns the answer.
async fn push(store: &Store, session: &str, push_id: &str) -> Result<Value> {
    let call = json!({"appKey": "app", "sessionId": session, "claimDeadline": 4_000_000_000_000_i64});
    let push = json!({"pushId": push_id, "appKey": "app", "receivedAt": 1_800_000_000_000_i64, "calls": [call]});
    http::send_json(Method::POST, &store.url(paths::PUSHES), &push).await?.expect(200)?.json()
}

/// Pushes a call and reports that its callback got a reply, as filters do; returns the call's id.
async fn push_and_report(store: &Store, session: &str, status: u16) -> Result<String> {
    const PUSH_ID: &str = "00000000000000000000000000000001";
    let answer = push(store, session, PUSH_ID).await?;
    let call_id = answer["calls"][0]["callId"].as_str().expect("a call id").to_owned();
    let outcome = json!({"class": "answered", "status": status});
    let report = json!({"callId": call_id, "pushId": PUSH_ID, "outcome": outcome, "durationMs": 5});
    let outcomes = json!({"outcomes": [report]});
    let answer: Value =
        http::send_json(Method::POST, &store.url(paths::OUTCOMES), &outcomes).await?.expect(200)?.json()?;
    ensure!(answer["recorded"] == 1, "{answer}");
    Ok(call_id)
}

/// Every CDR is pushed until it is answered 200 and then once more, while answers of the store get lost.
async fn works_together(mut gateway: Gateway, store: &Store, faults: &FaultProxy, business: &Business) -> Result<()> {
    let cdrs: Vec<Cdr> = calls(5_000).take(CDRS).collect();
    faults.strike_times(OUTCOMES, Fault::LoseAnswer, 2);
    for (round, some) in cdrs.chunks(AT_ONCE).enumerate() {
        if round % 5 == 0 {
            faults.strike_times(CLAIMS, Fault::LoseAnswer, 1);
        }
        let mut pushes = JoinSet::new();
        for cdr in some {
            pushes.spawn(push_until_accepted(gateway.url(), vec![cdr.clone()]));
        }
        while let Some(push) = pushes.join_next().await {
            push??;
        }
    }
    wait::until("one callback for each call", PATIENCE, async || {
        let counts = business.counts().await?;
        ensure!(counts.total == CDRS as u64, "{counts:?}");
        Ok(())
    })
    .await?;
    wait::until("an outcome for each call", PATIENCE, async || {
        for state in ["pending", "unknown", "maybe_sent", "not_sent", "skipped"] {
            let calls = store.calls(&format!("state={state}")).await?;
            ensure!(calls.is_empty(), "{} calls are {state}", calls.len());
        }
        Ok(())
    })
    .await?;
    let counts = business.counts().await?;
    ensure!(counts.max_per_call == 1 && counts.total == CDRS as u64, "{counts:?}");
    gateway.stop().await
}

/// Pushes until it is answered 200, and once more: so does Huawei where the answer was lost.
async fn push_until_accepted(url: String, cdrs: Vec<Cdr>) -> Result<()> {
    let huawei = Huawei::demo()?;
    let deadline = Instant::now() + PATIENCE;
    while huawei.push_cdrs(&url, &cdrs).await?.status != 200 {
        ensure!(Instant::now() < deadline, "a push was not taken within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    huawei.push_cdrs(&url, &cdrs).await?;
    Ok(())
}
