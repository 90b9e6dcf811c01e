//! Whatever Huawei sends in a CDR: no odd value silences a call, and what was sent is kept.

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::{demo, http, products, wait};
use privatenumber_contract::{CallDetail, CallState, EventPage, Warning, paths};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

in_both_modes!(
    p3_each_odd_value_brings_one_callback_with_the_field_null_and_a_warning,
    p4_bytes_in_gbk_cost_no_callback_and_are_kept_as_they_came,
    p1_what_a_push_says_of_a_call_twice_is_called_back_once,
);

/// 2026-01-05 02:30:03 and 02:30:22.
const CALL_IN: i64 = 1_767_580_203_000;
const END: i64 = 1_767_580_222_000;

/// Pushes of one CDR with something odd, by the names of their samples; and the field that is `null`, if it is.
const ODD: [(&str, Option<&str>); 5] = [
    ("callEndTime-millis", None),
    ("direction-3", Some("direction")),
    ("failTime-iso", None),
    ("failTime-zero", Some("failTime")),
    ("recordFlag-2", Some("recordFlag")),
];

fn sample(name: &str) -> Result<Vec<u8>> {
    let file = products::repository().join("tests/samples/odd").join(format!("{name}.body"));
    std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn replaced(body: &[u8], from: &str, to: &str) -> Result<Vec<u8>> {
    let place = body.windows(from.len()).position(|part| part == from.as_bytes()).context("nothing to replace")?;
    Ok([&body[..place], to.as_bytes(), &body[place + from.len()..]].concat())
}

async fn push(world: &World, body: Vec<u8>) -> Result<()> {
    let answer = world.huawei.push(&world.gateway.url(), body).await?.expect(200)?;
    ensure!(answer.text() == r#"{"resultcode":"0","resultdesc":"Success"}"#, "answered {}", answer.text());
    Ok(())
}

async fn detail(world: &World, call_id: &str) -> Result<CallDetail> {
    http::get(&world.store.url(&format!("{}/{call_id}", paths::CALLS))).await?.expect(200)?.json()
}

async fn p3_each_odd_value_brings_one_callback_with_the_field_null_and_a_warning(mode: HeadersMode) -> Result<()> {
    let world = World::start("odd-values", mode).await?;
    world.register_demo_binding().await?;
    for (number, (name, field)) in ODD.into_iter().enumerate() {
        let body = sample(name)?;
        push(&world, body.clone()).await?;
        let callbacks = world.callbacks(number + 1).await?;
        let callback = callbacks.last().context("no callback")?;
        let detail = detail(&world, callback.header("webhook-id").context("no webhook-id")?).await?;
        let warned: Vec<_> = detail.warnings.iter().map(|warning| warning.field.as_ref()).collect();
        ensure!(warned == Vec::from_iter(field), "{name}: warnings {:?}", detail.warnings);
        let cdr = detail.cdr.context("no CDR")?;
        ensure!(body.windows(cdr.as_bytes().len()).any(|part| part == cdr.as_bytes()), "{name}: another text is kept");
        let record = callback.record()?;
        ensure!((record.callin_time, record.disconnect_time) == (Some(CALL_IN), Some(END)), "{name}: {record:?}");
    }

    // Without a row the record is what the CDR says, and what it does not say is null.
    let unbound = format!("\"subscriptionId\": \"{}\", ", demo::SUBSCRIPTION_ID);
    for (name, session, value) in [("direction-3", "s_c44d", "origNum"), ("recordFlag-2", "s_7db0", "recordFlag")] {
        let body = replaced(&replaced(&sample(name)?, &unbound, "")?, session, "without-a-row")?;
        push(&world, body).await?;
        let callbacks = world.callbacks(ODD.len() + 1 + usize::from(name == "recordFlag-2")).await?;
        let record: Value = serde_json::from_str(&callbacks.last().context("no callback")?.body)?;
        ensure!(record[value] == Value::Null && record["callinTime"] == json!(CALL_IN), "{name}: {record}");
    }

    // Fifty at a time.
    let end = "\"2026-01-05 02:30:22\"";
    let text = String::from_utf8(sample("failTime-zero")?)?;
    let (head, rest) = text.split_once("\"feeLst\": [").context("no list")?;
    let cdr = rest.strip_suffix("]}").context("no end of the list")?.replace(end, "\"05/01/2026 02:30\"");
    let cdrs: Vec<_> = (0..50).map(|number| cdr.replace("\"s_", &format!("\"s_{number}_"))).collect();
    push(&world, format!("{head}\"feeLst\": [{}]}}", cdrs.join(",")).into_bytes()).await?;
    world.callbacks(ODD.len() + 2 + 50).await?;

    // An event that nobody knows.
    let event = sample("event-playRes")?;
    push(&world, event.clone()).await?;
    let kept: EventPage = http::get(&world.store.url(paths::EVENTS)).await?.expect(200)?.json()?;
    let [kept] = &kept.events[..] else { anyhow::bail!("{} events", kept.events.len()) };
    ensure!(kept.event_type == "playRes" && kept.raw.expose().as_bytes() == event, "another event is kept");

    ensure!(world.store.parked().await?.parked.is_empty(), "something is parked");
    wait::until("all warnings to be counted", PATIENCE, async || {
        let warnings = world.gateway.statistics().await?.sum_of(|name| name.contains("cdr_warnings_total"));
        ensure!(warnings == 3 + 2 + 2 * 50, "{warnings} warnings are counted");
        Ok(())
    })
    .await?;
    world.ends_well().await
}

async fn p4_bytes_in_gbk_cost_no_callback_and_are_kept_as_they_came(mode: HeadersMode) -> Result<()> {
    let world = World::start("gbk", mode).await?;
    world.register_demo_binding().await?;
    for (name, count) in [("gbk-hostName", 1), ("gbk-userData", 2), ("gbk-5c", 4)] {
        push(&world, sample(name)?).await?;
        world.callbacks(count).await?;
    }
    // Without a row the business's own text comes from the CDR.
    let unbound = format!("\"subscriptionId\": \"{}\", ", demo::SUBSCRIPTION_ID);
    let body = replaced(&replaced(&sample("gbk-userData")?, &unbound, "")?, "s_f586", "without-a-row")?;
    push(&world, body.clone()).await?;
    let callbacks = world.callbacks(5).await?;
    let callback = callbacks.last().context("no callback")?;
    let user_data = callback.record()?.user_data.context("no userData")?;
    ensure!(user_data.expose() == "订单", "another userData");
    let detail = detail(&world, callback.header("webhook-id").context("no webhook-id")?).await?;
    let [warning] = &detail.warnings[..] else { anyhow::bail!("{} warnings", detail.warnings.len()) };
    ensure!((warning.field.as_ref(), warning.reason.as_ref()) == ("userData", Warning::DECODED), "{warning:?}");
    let cdr = detail.cdr.context("no CDR")?;
    ensure!(body.windows(cdr.as_bytes().len()).any(|part| part == cdr.as_bytes()), "other bytes are kept");
    ensure!(world.store.parked().await?.parked.is_empty(), "something is parked");
    world.ends_well().await
}

async fn p1_what_a_push_says_of_a_call_twice_is_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = World::start("said-twice", mode).await?;
    world.register_demo_binding().await?;
    let text = String::from_utf8(sample("recordFlag-2")?)?;
    let (head, rest) = text.split_once("\"feeLst\": [").context("no list")?;
    let cdr = rest.strip_suffix("]}").context("no end of the list")?;
    let other = cdr.replace("02:30:22", "02:30:23");
    let body = format!("{head}\"feeLst\": [{cdr},{other},{cdr}]}}");
    for _ in 0..2 {
        push(&world, body.clone().into_bytes()).await?;
    }
    let calls = world.settled_calls(1).await?;
    ensure!(calls[0].state == CallState::Delivered && calls[0].record.disconnect_time == Some(END), "{:?}", calls[0]);
    ensure!(world.business.counts().await?.total == 1, "not one callback");
    ensure!(world.store.parked().await?.parked.is_empty(), "something is parked");
    world.ends_well().await
}
