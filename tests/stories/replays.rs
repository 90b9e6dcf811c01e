//! What a push says that says something else than before: replays, changed retries, events that nobody knows.

use anyhow::{Context, Result, bail, ensure};
use harness::configuration::HeadersMode;
use harness::{http, wait};
use hyper::Method;
use privatenumber_contract::{CallDetail, EventPage, ParkedReleaseRequest, ReplayPage, ReplayView, paths};
use privatenumber_sim::huawei::push_body;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p1_a_push_under_captured_headers_is_reported,
    p1_a_push_under_captured_headers_is_parked_until_an_operator_releases_it,
    p1_a_retry_that_says_something_else_is_kept_and_called_back_once,
    p2_an_event_that_nobody_knows_is_kept_as_it_came,
);

async fn replays(world: &World) -> Result<Vec<ReplayView>> {
    let page: ReplayPage = http::get(&world.store.url(paths::REPLAYS)).await?.expect(200)?.json()?;
    Ok(page.replays)
}

async fn detail(world: &World, call_id: &str) -> Result<CallDetail> {
    http::get(&world.store.url(&format!("{}/{call_id}", paths::CALLS))).await?.expect(200)?.json()
}

/// Pushes a body under these headers.
async fn push_under(world: &World, headers: &[(String, String)], body: &[u8]) -> Result<()> {
    let answer = http::send(Method::POST, &world.gateway.url(), headers, body.to_vec()).await?.expect(200)?;
    ensure!(answer.text() == r#"{"resultcode":"0","resultdesc":"Success"}"#, "answered {}", answer.text());
    Ok(())
}

async fn p1_a_push_under_captured_headers_is_reported(mode: HeadersMode) -> Result<()> {
    let world = World::start("replay-report", mode).await?;
    world.register_demo_binding().await?;
    let (genuine, forged) = (push_body(&cdrs(5_100, 2))?, push_body(&cdrs(5_101, 1))?);
    let captured = world.huawei.headers()?;
    push_under(&world, &captured, &genuine).await?;
    // Huawei's retry.
    push_under(&world, &captured, &genuine).await?;
    world.callbacks(2).await?;
    ensure!(replays(&world).await?.is_empty(), "a retry is reported");

    push_under(&world, &captured, &forged).await?;
    let callbacks = world.callbacks(3).await?;
    let replays = replays(&world).await?;
    let [replay] = &replays[..] else { bail!("{} replays", replays.len()) };
    let call_id = callbacks.last().and_then(|callback| callback.webhook_id.clone()).context("no webhook-id")?;
    ensure!(replay.call_ids == [call_id.clone()] && !replay.parked && replay.scheme == "aksk", "{replay:?}");
    ensure!(replay.push_id != replay.first_push_id, "{replay:?}");
    ensure!(detail(&world, &call_id).await?.replayed, "the call does not show it");
    let metrics = world.store.metrics().await?;
    ensure!(metrics.contains("privatenumber_store_replays_total{cdrs=\"recorded\"} 1"), "it is not counted");
    world.settled_calls(3).await?;
    ensure!(world.business.counts().await?.total == 3);
    world.ends_well().await
}

async fn p1_a_push_under_captured_headers_is_parked_until_an_operator_releases_it(mode: HeadersMode) -> Result<()> {
    let world = World::with("replay-park", mode, &[], |options| {
        options.change(|configuration| {
            let plugin = configuration.plugin()?;
            plugin["authentication"]["replay"] = json!("park");
            plugin["store"]["work_interval_ms"] = json!(200);
            Ok(())
        })
    })
    .await?;
    world.register_demo_binding().await?;
    let (genuine, forged) = (push_body(&cdrs(5_110, 1))?, push_body(&cdrs(5_111, 1))?);
    let captured = world.huawei.headers()?;
    push_under(&world, &captured, &genuine).await?;
    push_under(&world, &captured, &forged).await?;
    push_under(&world, &captured, &genuine).await?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    let replays = replays(&world).await?;
    let [replay] = &replays[..] else { bail!("{} replays", replays.len()) };
    ensure!(replay.parked, "{replay:?}");
    let parked = world.store.parked().await?.parked;
    let [parked] = &parked[..] else { bail!("{} parked", parked.len()) };
    ensure!(parked.reason.contains(&replay.first_push_id.to_string()), "{}", parked.reason);
    ensure!(world.business.counts().await?.total == 1, "the parked CDR was called back");

    let url = world.store.url(&format!("{}/{}:release", paths::PARKED, parked.number));
    for _ in 0..2 {
        http::send_json(Method::POST, &url, &ParkedReleaseRequest::default()).await?.expect(200)?;
    }
    let callbacks = world.callbacks(2).await?;
    ensure!(callbacks[1].webhook_id.as_ref() == replay.call_ids.first(), "another call was called back");
    wait::until("both calls to be answered", PATIENCE, async || {
        let answered = world.store.calls("state=delivered").await?.len();
        ensure!(answered == 2, "{answered} are");
        Ok(())
    })
    .await?;
    let counts = world.business.counts().await?;
    ensure!((counts.total, counts.max_per_call) == (2, 1), "{counts:?}");
    world.ends_well().await
}

async fn p1_a_retry_that_says_something_else_is_kept_and_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = World::start("changed-retry", mode).await?;
    world.register_demo_binding().await?;
    let first = cdrs(5_120, 1);
    let mut later = first.clone();
    later[0].user_data = Some("a later word".into());
    let mut changed: Value = serde_json::to_value(&later[0])?;
    changed["recordFileDownloadUrl"] = json!("https://recordings.example.com/later");
    let changed = serde_json::to_vec(&json!({"eventType": "fee", "feeLst": [changed]}))?;
    world.push(&first).await?;
    for _ in 0..2 {
        world.huawei.push(&world.gateway.url(), changed.clone()).await?.expect(200)?;
    }
    let settled = world.settled_calls(1).await?;
    let detail = detail(&world, &settled[0].call_id).await?;
    ensure!(detail.cdr.context("no CDR")?.as_bytes() == serde_json::to_vec(&first[0])?, "another first CDR");
    let [later] = &detail.later_cdrs[..] else { bail!("{} later CDRs", detail.later_cdrs.len()) };
    ensure!(changed.windows(later.cdr.as_bytes().len()).any(|part| part == later.cdr.as_bytes()), "another text");
    let callbacks = world.callbacks(1).await?;
    ensure!(
        callbacks[0].record()? == detail.call.record && detail.call.record.record_url.is_none(),
        "the record changed"
    );
    ensure!(world.business.counts().await?.total == 1);
    world.ends_well().await
}

async fn p2_an_event_that_nobody_knows_is_kept_as_it_came(mode: HeadersMode) -> Result<()> {
    let world = World::start("unknown-event", mode).await?;
    let event = r#"{ "eventType": "someday", "someInfo": {"sessionId": "s", "at": 1.50} }"#;
    for _ in 0..2 {
        world.huawei.push(&world.gateway.url(), event).await?.expect(200)?;
    }
    let kept: EventPage = http::get(&world.store.url(paths::EVENTS)).await?.expect(200)?.json()?;
    let [kept] = &kept.events[..] else { bail!("{} events", kept.events.len()) };
    ensure!(
        (kept.event_type.as_str(), kept.raw.expose().as_str(), kept.duplicates) == ("someday", event, 1),
        "{kept:?}"
    );
    ensure!(world.business.counts().await?.total == 0);
    world.ends_well().await
}
