//! Calls that wait in the store until a gateway takes them: held for a late binding, released by an operator, imported.

use anyhow::{Context, Result, bail, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::fault::{Fault, Requests};
use harness::{demo, http, products, wait};
use hyper::Method;
use privatenumber_contract::{
    BusinessView, CallState, CallView, CdrText, MaybeSent, NotSent, Outcome, ParkedReleaseAnswer, ParkedReleaseRequest,
    PushId, Skipped, WaitFor, paths,
};
use privatenumber_sim::business::{Mode, Temper};
use privatenumber_sim::huawei::{Cdr, push_body};
use serde_json::{Value, json, value::RawValue};

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p1_a_held_call_is_called_back_once_when_its_binding_comes,
    p3_a_held_call_whose_time_is_over_is_called_back_from_its_cdr,
    p1_what_never_reached_a_business_is_released_and_called_back_once,
    p1_a_parked_cdr_is_corrected_and_released_and_called_back_once,
    p1_a_gateway_that_is_killed_with_its_works_brings_no_second_callback,
    p1_imported_cdrs_are_called_back_once,
    p1_the_calls_of_a_paused_business_wait_and_are_called_back_once,
);

/// Requests for works.
const TAKES: Requests = Requests::to(&[paths::WORK_TAKE]);

/// Takes works five times a second, and treats calls without a binding row like that.
fn waits(without_binding: Value) -> impl Fn(&mut Configuration) -> Result<()> {
    move |configuration| {
        let plugin = configuration.plugin()?;
        plugin["store"]["work_interval_ms"] = json!(200);
        plugin["applications"][0]["without_binding"] = without_binding.clone();
        Ok(())
    }
}

async fn world(name: &str, mode: HeadersMode, without_binding: Value) -> Result<World> {
    World::with(name, mode, &[], |options| options.change(waits(without_binding))).await
}

/// One answered call of a binding.
fn call_of(seed: u64, subscription_id: &str) -> Vec<Cdr> {
    let mut calls = cdrs(seed, 1);
    calls[0].subscription_id = Some(subscription_id.to_owned());
    calls
}

/// Waits until the gateway has asked for works this many times from now on, and was answered but for the last.
async fn takes(world: &World, count: usize) -> Result<()> {
    let before = world.faults.count(TAKES);
    wait::until("the gateway to ask for works", PATIENCE, async || {
        let asked = world.faults.count(TAKES) - before;
        ensure!(asked > count, "asked {asked} times");
        Ok(())
    })
    .await
}

/// Waits until the store's only call of that state is the one of this session.
async fn only_call(world: &World, state: &str) -> Result<CallView> {
    wait::until(&format!("one call that is {state}"), PATIENCE, async || {
        let mut calls = world.store.calls(&format!("state={state}")).await?;
        ensure!(calls.len() == 1, "{} calls are {state}", calls.len());
        calls.pop().context("no call")
    })
    .await
}

/// Releases calls; returns the answer.
async fn release(world: &World, request: &Value) -> Result<Value> {
    let url = world.store.url(paths::CALLS_RELEASE);
    http::send_json(Method::POST, &url, request).await?.expect(200)?.json()
}

async fn p1_a_held_call_is_called_back_once_when_its_binding_comes(mode: HeadersMode) -> Result<()> {
    let world = world("held-binding", mode, json!({"hold_seconds": 3600})).await?;
    let calls = cdrs(5_000, 1);
    world.push(&calls).await?;
    world.push(&call_of(5_001, "never-bound")).await?;
    let waiting = world.store.calls("state=waiting").await?;
    ensure!(waiting.len() == 2, "{waiting:?}");
    ensure!(waiting.iter().all(|call| call.wait.is_some_and(|wait| wait.waits_for == WaitFor::Binding)));
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 0, "called back without its binding");

    let binding = world.register_demo_binding().await?;
    let callbacks = world.callbacks(1).await?;
    let record = callbacks[0].record()?;
    ensure!(callbacks[0].record_valid, "not the 26 fields");
    ensure!((record.id, &record.remark, &record.ak) == (binding.id, &binding.remark, &binding.ak), "{record:?}");
    ensure!(record.bind_time == binding.bind_time && record.session_id.as_ref() == Some(&calls[0].session_id));
    let delivered = only_call(&world, "delivered").await?;
    ensure!(delivered.record == record, "the business saw another record than the store has");

    // Huawei pushes it again, and whoever registers the binding again, too.
    world.push(&calls).await?;
    world.register_demo_binding().await?;
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 1);
    ensure!(world.store.calls("state=waiting").await?.len() == 1, "the other call waits no more");
    world.ends_well().await
}

async fn p3_a_held_call_whose_time_is_over_is_called_back_from_its_cdr(mode: HeadersMode) -> Result<()> {
    let world = world("held-time", mode, json!({"hold_seconds": 1})).await?;
    let calls = call_of(5_010, "never-bound");
    world.push(&calls).await?;
    let callbacks = world.callbacks(1).await?;
    let record = callbacks[0].record()?;
    ensure!(record.id.is_none() && record.ak.as_deref() == Some(demo::AK), "{record:?}");
    ensure!(record.private_num.as_ref() == Some(&calls[0].bind_num), "another X");
    ensure!(record.session_id.as_ref() == Some(&calls[0].session_id), "another call");
    world.settled_calls(1).await?;
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 1);
    world.ends_well().await
}

async fn p1_what_never_reached_a_business_is_released_and_called_back_once(mode: HeadersMode) -> Result<()> {
    let mut world = World::with_business(
        "released",
        mode,
        &[],
        |business| business.timeout_ms = 700,
        |options| options.change(waits(json!("skip"))),
    )
    .await?;
    world.push(&call_of(5_020, "late-binding")).await?;
    let skipped = only_call(&world, "skipped").await?;
    ensure!(skipped.outcome == Some(Outcome::Skipped { reason: Skipped::NoBinding }), "{skipped:?}");
    world.register_demo_binding().await?;
    world.business.go_away().await?;
    world.push(&cdrs(5_021, 1)).await?;
    let not_sent = only_call(&world, "not_sent").await?;
    ensure!(not_sent.outcome == Some(Outcome::NotSent { reason: NotSent::ConnectionFailed }), "{not_sent:?}");
    world.business.come_back().await?;
    world.business.behave(&Temper { mode: Mode::Hang, ..Temper::default() }).await?;
    world.push(&cdrs(5_022, 1)).await?;
    let maybe_sent = only_call(&world, "maybe_sent").await?;
    ensure!(maybe_sent.outcome == Some(Outcome::MaybeSent { reason: MaybeSent::Timeout }), "{maybe_sent:?}");

    world.business.behave(&Temper::default()).await?;
    world.business.forget().await?;
    let mut binding = demo::binding();
    binding.subscription_id = None;
    world.store.register("late-binding", &binding).await?;
    let answer = release(&world, &json!({"callIds": [maybe_sent.call_id]})).await?;
    ensure!(answer["released"] == 0 && answer["refused"][0]["callId"] == json!(maybe_sent.call_id), "{answer}");
    let detail = answer["refused"][0]["problem"]["detail"].as_str().unwrap_or_default();
    ensure!(detail.starts_with("the call is `maybe_sent`"), "{detail}");

    // Three operators at once, and one who comes late.
    let request = json!({"callIds": [skipped.call_id, not_sent.call_id]});
    let (one, two, three) =
        tokio::join!(release(&world, &request), release(&world, &request), release(&world, &request));
    let released: u64 = [one?, two?, three?].iter().filter_map(|answer| answer["released"].as_u64()).sum();
    ensure!(released == 2, "{released} released");
    let callbacks = world.callbacks(2).await?;
    ensure!(callbacks.iter().all(|callback| callback.record().is_ok_and(|record| record.id == binding.id)));
    let settled = wait::until("both to be answered", PATIENCE, async || {
        let calls = world.store.calls("state=delivered").await?;
        ensure!(calls.len() == 2, "{} are", calls.len());
        Ok(calls)
    });
    ensure!(settled.await?.iter().all(|call| call.outcome == Some(Outcome::Delivered { status: 200 })));
    let late = release(&world, &request).await?;
    ensure!(late["released"] == 0 && late["refused"].as_array().map(Vec::len) == Some(2), "{late}");
    takes(&world, 2).await?;
    let counts = world.business.counts().await?;
    ensure!((counts.total, counts.max_per_call) == (2, 1), "{counts:?}");
    world.ends_well().await
}

async fn p1_a_parked_cdr_is_corrected_and_released_and_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = world("released-parked", mode, json!("deliver")).await?;
    world.register_demo_binding().await?;
    let calls = cdrs(5_030, 1);
    let mut push = json!({"eventType": "fee", "feeLst": calls});
    push["feeLst"][0]["subscriptionId"] = json!({"unreadable": true});
    world.huawei.push(&world.gateway.url(), serde_json::to_vec(&push)?).await?.expect(200)?;
    let parked = world.store.parked().await?.parked;
    let [parked] = &parked[..] else { bail!("{} parked", parked.len()) };

    let url = world.store.url(&format!("{}/{}:release", paths::PARKED, parked.number));
    http::send_json(Method::POST, &url, &ParkedReleaseRequest::default()).await?.expect(409)?;
    let corrected = RawValue::from_string(serde_json::to_string(&calls[0])?)?;
    let request = ParkedReleaseRequest { cdr: Some(CdrText::Json(&corrected)), ak: None };
    let first: ParkedReleaseAnswer = http::send_json(Method::POST, &url, &request).await?.expect(200)?.json()?;
    let again: ParkedReleaseAnswer = http::send_json(Method::POST, &url, &request).await?.expect(200)?.json()?;
    ensure!((first.already_released, again.already_released) == (false, true) && first.call_id == again.call_id);

    let callbacks = world.callbacks(1).await?;
    ensure!(callbacks[0].webhook_id.as_ref() == Some(&first.call_id), "another call was called back");
    ensure!(callbacks[0].record()?.id == demo::binding().id, "without the binding");
    // Huawei sends it right after all.
    world.push(&calls).await?;
    world.settled_calls(1).await?;
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 1);
    world.ends_well().await
}

async fn p1_a_gateway_that_is_killed_with_its_works_brings_no_second_callback(mode: HeadersMode) -> Result<()> {
    let mut world = world("killed-with-works", mode, json!("deliver")).await?;
    world.register_demo_binding().await?;
    world.business.go_away().await?;
    world.push(&cdrs(5_040, 6)).await?;
    let not_sent = wait::until("six calls that are not sent", PATIENCE, async || {
        let calls = world.store.calls("state=not_sent").await?;
        ensure!(calls.len() == 6, "{} are", calls.len());
        Ok(calls)
    })
    .await?;
    world.business.come_back().await?;
    world.business.behave(&Temper { mode: Mode::Hang, ..Temper::default() }).await?;

    // It dies while the business has five callbacks, none of them answered.
    let ids: Vec<&str> = not_sent.iter().map(|call| call.call_id.as_str()).collect();
    ensure!(release(&world, &json!({"callIds": ids[..5]})).await?["released"] == 5);
    world.callbacks(5).await?;
    world.gateway.kill().await?;
    world.business.behave(&Temper::default()).await?;
    world.gateway.restart().await?;
    world.push(&cdrs(5_041, 1)).await?;
    world.callbacks(6).await?;
    takes(&world, 2).await?;
    let counts = world.business.counts().await?;
    ensure!((counts.total, counts.max_per_call) == (6, 1), "{counts:?}");

    // It dies before it hears which work it was granted.
    world.faults.strike(TAKES, Fault::SwallowAnswer);
    ensure!(release(&world, &json!({"callIds": [ids[5]]})).await?["released"] == 1);
    wait::until("the work to be granted", PATIENCE, async || {
        let call = world.store.call(ids[5]).await?;
        ensure!(call.state == CallState::Pending, "it is {:?}", call.state);
        Ok(())
    })
    .await?;
    world.gateway.kill().await?;
    world.faults.heal();
    world.gateway.restart().await?;
    world.push(&cdrs(5_042, 1)).await?;
    world.callbacks(7).await?;
    takes(&world, 2).await?;
    let counts = world.business.counts().await?;
    ensure!((counts.total, counts.max_per_call) == (7, 1), "{counts:?}");

    // Nobody knows what became of them, and nobody can release them.
    let answer = release(&world, &json!({"callIds": ids})).await?;
    ensure!(answer["released"] == 0 && answer["refused"].as_array().map(Vec::len) == Some(6), "{answer}");
    let pending = world.store.calls("state=pending").await?;
    ensure!(pending.len() == 6, "{} calls are pending", pending.len());
    world.ends_well().await
}

async fn p1_imported_cdrs_are_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = world("imported", mode, json!("deliver")).await?;
    world.register_demo_binding().await?;
    let calls = cdrs(5_050, 20);
    let (pushed, missed) = calls.split_at(5);
    world.push(pushed).await?;
    world.callbacks(5).await?;
    world.settled_calls(5).await?;

    // What Huawei has of the time: the first pushes as their body, the rest one CDR a line.
    let mut file = push_body(&calls[..10])?;
    for call in &calls[10..] {
        file.push(b'\n');
        serde_json::to_writer(&mut file, call)?;
    }
    let name = world.directory.join("cdrs.jsonl");
    std::fs::write(&name, file)?;
    let import = |more: &'static [&'static str]| {
        let mut command = tokio::process::Command::new(products::store()?);
        command.arg("import-cdrs").arg(&name).args(["--store", &world.store.url("")]).args(more);
        anyhow::Ok(command)
    };
    for expected in [
        "imported 15 (gateways call back for them), already there 5, unusable 0\n",
        "imported 0 (gateways call back for them), already there 20, unusable 0\n",
    ] {
        let done = import(&["--release"])?.output().await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let output = String::from_utf8_lossy(&done.stdout);
        ensure!(output == expected, "{output}");
    }
    world.callbacks(20).await?;
    let settled = wait::until("all to be answered", PATIENCE, async || {
        let calls = world.store.calls("state=delivered").await?;
        ensure!(calls.len() == 20, "{} are", calls.len());
        Ok(calls)
    });
    ensure!(settled.await?.iter().all(|call| call.record.id == demo::binding().id), "without the binding");
    // Huawei's support pushes them by hand as well.
    world.push(missed).await?;
    takes(&world, 2).await?;
    let counts = world.business.counts().await?;
    ensure!((counts.total, counts.max_per_call) == (20, 1), "{counts:?}");
    ensure!(world.store.calls("").await?.iter().all(|call| call.push_id != PushId::from_bytes([0; 16])));
    world.ends_well().await
}

async fn p1_the_calls_of_a_paused_business_wait_and_are_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = world("paused", mode, json!("deliver")).await?;
    let business = async |action: &str| -> Result<BusinessView> {
        let url = world.store.url(&format!("{}/{}:{action}", paths::BUSINESSES, demo::AK));
        http::send_json(Method::POST, &url, &json!({})).await?.expect(200)?.json()
    };
    ensure!(business("pause").await?.paused_since.is_some());
    world.push(&cdrs(5_100, 3)).await?;
    let waiting = world.store.calls("state=waiting").await?;
    ensure!(waiting.len() == 3 && waiting.iter().all(|call| call.wait.is_some_and(|w| w.waits_for == WaitFor::Paused)));
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 0, "called back while it is paused");

    ensure!(business("resume").await?.paused_since.is_none());
    world.callbacks(3).await?;
    // Huawei pushes them again, and the operator is not sure whether the first request arrived.
    world.push(&cdrs(5_100, 3)).await?;
    business("resume").await?;
    world.settled_calls(3).await?;
    takes(&world, 2).await?;
    ensure!(world.business.counts().await?.total == 3);
    world.ends_well().await
}
