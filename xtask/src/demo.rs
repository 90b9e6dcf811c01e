//! `cargo xtask demo`: one push, all the way, with every step checked.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use harness::business::{Business, Callback};
use harness::demo;
use harness::directory::Directory;
use harness::envoy_binary::EnvoyBinary;
use harness::gateway::Gateway;
use harness::huawei::{self, Huawei};
use harness::stack::Stack;
use harness::store::Store;
use harness::wait;
use privatenumber_contract::{CallState, CallView, Outcome, Record};
use privatenumber_sim::huawei::Cdr;
use serde_json::{Map, Value};

use crate::stack::{self, Running};

/// How long any one thing may take to come.
const SOON: Duration = Duration::from_secs(15);

/// What the filter counts, and what each must say at the end: one call, claimed once, called back once; one repetition.
const METRICS: [(&str, u64); 5] = [
    ("privatenumber_pushes_total.answer.recorded", 2),
    ("privatenumber_cdrs_total.verdict.claimed", 1),
    ("privatenumber_cdrs_total.verdict.duplicate", 1),
    ("privatenumber_callbacks_total.outcome.delivered", 1),
    ("privatenumber_outcomes_reported_total", 1),
];

/// Runs the demonstration and says how it ended.
pub fn run(version: Option<&str>) -> ExitCode {
    match demonstrate(version) {
        Ok(()) => {
            println!("demo: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nfailed: {error:#}");
            println!("demo: failed");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(version: Option<&str>) -> Result<()> {
    let envoy = stack::prepare(version).context("preparing")?;
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        let mut running = Running::default();
        match steps(envoy, &mut running).await {
            Ok(()) => running.stop().await.context("stopping"),
            Err(error) => {
                println!("\nthe ends of the logs:\n{}", running.logs());
                Err(error)
            }
        }
    })
}

async fn steps(envoy: EnvoyBinary, running: &mut Running) -> Result<()> {
    let stack = Stack::new(Directory::fresh("demo")?, envoy);
    say("starting store, business and gateway on free ports of 127.0.0.1");
    let store = &*running.store.insert(stack.store().start().await.context("starting the store")?);
    let business = stack.business("business").start().await.context("starting the business")?;
    let business = &*running.business.insert(business);
    let gateway = stack.gateway(store.address(), business.address()).start().await.context("starting the gateway")?;
    let gateway = &*running.gateway.insert(gateway);
    println!(
        "   gateway {}\n   store http://{}\n   business http://{}",
        gateway.url(),
        store.address(),
        business.address()
    );
    println!("   logs and configuration: {}", stack.directory().path().display());

    say("registering a binding at the store");
    stack::register_demo_binding(store).await?;
    println!("   subscriptionId {}", demo::SUBSCRIPTION_ID);

    say("Huawei pushes one call detail record, signed");
    let huawei = Huawei::demo()?;
    let cdrs: Vec<_> = huawei::calls(stack::fresh_seed()).take(1).collect();
    push(&huawei, gateway, &cdrs).await.context("pushing")?;

    say("the business is called back");
    let callback = the_callback(business).await.context("waiting for the callback")?;
    let record = check_record(&callback).context("checking the callback's record")?;
    println!("{}", indented(&serde_json::to_string_pretty(&record)?));

    say("the store holds the call with its outcome");
    let call = the_call(store).await.context("waiting for the outcome at the store")?;
    check_call(&call, &callback).context("comparing the store's call with the callback")?;
    println!("{}", summary(&call)?);

    say("Huawei pushes the same again: taken, and not called back a second time");
    push(&huawei, gateway, &cdrs).await.context("pushing again")?;
    let again = wait::until("the store to count the repetition", SOON, async || {
        let call = store.call(&call.call_id).await?;
        ensure!(call.duplicates == 1, "{} repetitions", call.duplicates);
        Ok(call)
    });
    let again = again.await.context("pushing again")?;
    ensure!(again.state == CallState::Delivered, "pushing again changed the call's state to {:?}", again.state);

    say("Envoy's metrics say the same");
    let metrics = the_metrics(gateway).await.context("reading the metrics")?;
    println!("{metrics}");
    let counts = business.counts().await.context("counting callbacks")?;
    ensure!(
        counts.total == 1 && counts.max_per_call == 1 && counts.incomplete == 0,
        "counting callbacks: the business was called back {} times instead of once",
        counts.total + counts.incomplete
    );
    Ok(())
}

async fn push(huawei: &Huawei, gateway: &Gateway, cdrs: &[Cdr]) -> Result<()> {
    let answer = huawei.push_cdrs(&gateway.url(), cdrs).await?.expect(200)?;
    println!("   answered {} {}", answer.status.as_u16(), answer.text());
    let body: Value = answer.json()?;
    ensure!(body.get("resultcode").and_then(Value::as_str) == Some("0"), "the answer's resultcode is not \"0\"");
    Ok(())
}

async fn the_callback(business: &Business) -> Result<Callback> {
    wait::until("the callback", SOON, async || {
        let mut callbacks = business.callbacks().await?;
        match (callbacks.pop(), callbacks.len()) {
            (Some(callback), 0) => Ok(callback),
            (None, _) => bail!("no callback yet"),
            (Some(_), more) => bail!("{} callbacks instead of one", more.saturating_add(1)),
        }
    })
    .await
}

fn check_record(callback: &Callback) -> Result<Record> {
    ensure!(callback.record_valid, "the business says that the body is not a record");
    ensure!(callback.path == "/callback", "it came to {} instead of /callback", callback.path);
    let record: Map<String, Value> = serde_json::from_str(&callback.body).context("the body is not a JSON object")?;
    ensure!(record.len() == 26, "the record has {} fields instead of 26", record.len());
    for (field, expected) in [("subscriptionId", demo::SUBSCRIPTION_ID), ("ak", demo::AK)] {
        let found = record.get(field).and_then(Value::as_str);
        ensure!(found == Some(expected), "the record's {field} is not the binding's");
    }
    for field in ["sessionId", "callinTime", "answerTime", "disconnectTime"] {
        ensure!(record.get(field).is_some_and(|value| !value.is_null()), "the record's {field} is null");
    }
    callback.record()
}

async fn the_call(store: &Store) -> Result<CallView> {
    wait::until("the outcome", SOON, async || {
        let mut calls = store.calls("").await?;
        let call = calls.pop().ok_or_else(|| anyhow!("the store has no call"))?;
        ensure!(calls.is_empty(), "the store has {} calls instead of one", calls.len().saturating_add(1));
        ensure!(call.state != CallState::Pending, "the call is still pending");
        Ok(call)
    })
    .await
}

fn check_call(call: &CallView, callback: &Callback) -> Result<()> {
    ensure!(call.outcome == Some(Outcome::Delivered { status: 200 }), "the outcome is {:?}", call.outcome);
    ensure!(call.record == callback.record()?, "the store's record is another than the callback's");
    ensure!(callback.webhook_id.as_deref() == Some(&call.call_id), "the callback's webhook-id is not the call's id");
    Ok(())
}

/// What the store says of the call, without its record, which was shown already.
fn summary(call: &CallView) -> Result<String> {
    let outcome = serde_json::to_string(&call.outcome)?;
    let lines = [
        ("callId", call.call_id.clone(), "the webhook-id of the callback"),
        ("state", format!("{:?}", call.state).to_lowercase(), "one callback, one outcome"),
        ("outcome", outcome, "what the business answered"),
        ("recordedAt", call.recorded_at.to_string(), "the store's commit, before Huawei was answered"),
        ("durationMs", call.duration_ms.unwrap_or_default().to_string(), "from dispatch to the business's answer"),
        ("record", "the one above".to_owned(), "compared field by field"),
    ];
    let lines = lines.map(|(name, value, meaning)| format!("   {name:<11} {value:<36} {meaning}"));
    Ok(lines.join("\n"))
}

async fn the_metrics(gateway: &Gateway) -> Result<String> {
    wait::until("the metrics", SOON, async || {
        let statistics = gateway.statistics().await?;
        for (name, expected) in METRICS {
            let found = statistics.filter(name);
            ensure!(found == expected, "{name} is {found} instead of {expected}");
        }
        Ok(())
    })
    .await?;
    let text = gateway.prometheus().await?;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("privatenumber_") && !line.contains("_bucket"))
        .map(|line| format!("   {line}"))
        .collect();
    ensure!(!lines.is_empty(), "Prometheus would read none of the filter's metrics");
    Ok(lines.join("\n"))
}

fn say(what: &str) {
    println!("\n=> {what}");
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}
