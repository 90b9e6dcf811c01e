//! `headers` and Envoy's `allow_on_headers_stop_iteration` that do not fit together: noticed and explained, never a push that hangs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::raw::{Connection, Head, chunk, last_chunk};
use harness::wait;
use privatenumber_sim::huawei::push_body;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, cdrs};

/// Where `allow_on_headers_stop_iteration` stands.
const FILTER: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config";

fn filter(configuration: &mut Configuration) -> Result<&mut serde_json::Map<String, Value>> {
    let filter = configuration.value().pointer_mut(FILTER).and_then(Value::as_object_mut);
    filter.context("envoy.yaml's first filter is not a plugin")
}

/// Writes the access log's `%RESPONSE_CODE_DETAILS%` to a file, one answer a line.
fn log_details(configuration: &mut Configuration, file: &std::path::Path) -> Result<()> {
    let log = json!([{
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": file,
            "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"}},
        },
    }]);
    let manager = configuration.connection_manager()?.as_object_mut().context("no connection manager")?;
    drop(manager.insert("access_log".to_owned(), log));
    Ok(())
}

async fn without_the_flag(name: &str) -> Result<(World, PathBuf)> {
    let file = std::env::temp_dir().join(format!("{name}-{}.log", std::process::id()));
    let access_log = file.clone();
    let world = World::with(name, HeadersMode::Hold, &[], |options| {
        options.change(move |configuration| {
            filter(configuration)?.remove("allow_on_headers_stop_iteration").context("it is not set as shipped")?;
            log_details(configuration, &access_log)
        })
    })
    .await?;
    Ok((world, file))
}

#[tokio::test]
async fn hold_without_envoys_flag_is_answered_503_at_once_and_says_why() -> Result<()> {
    let (world, access_log) = without_the_flag("flag-missing").await?;
    let url = world.gateway.url();
    for series in 0..3 {
        let began = Instant::now();
        let answer = world.huawei.push_cdrs(&url, &cdrs(4_000 + series, 1)).await?.expect(503)?;
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(5), "it took {took:?}");
        println!("answered after {took:?}");
        ensure!(answer.text().contains("allow_on_headers_stop_iteration"), "{}", answer.text());
        ensure!(answer.headers.get("retry-after").is_some(), "Huawei may come again");
    }
    // As large as they come, and in chunks.
    let large = push_body(&cdrs(4_010, 50))?;
    world.huawei.push(&url, large).await?.expect(503)?;
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(world.huawei.head()?.header("transfer-encoding", "chunked").end()).await?;
    connection.send(chunk(&push_body(&cdrs(4_020, 1))?)).await?;
    connection.send(last_chunk(&[])).await?;
    ensure!(connection.answer().await?.status == 503, "a push in chunks");
    // What needs no body is answered as ever.
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection
        .send(
            Head::post("/huawei/fee")
                .header("host", "a")
                .header("content-type", "application/json")
                .header("content-length", "2")
                .end(),
        )
        .await?;
    ensure!(connection.answer().await?.status == 401);

    wait::until("metric, log and access log", PATIENCE, async || {
        let statistics = world.gateway.statistics().await?;
        let counted = statistics.filter("privatenumber_pushes_total.answer.flag_missing");
        ensure!(counted == 5, "counted {counted}");
        let logs = world.gateway.logs();
        let line = logs.iter().find(|line| line.contains(r#""answer":"flag_missing""#)).context("no line")?;
        ensure!(line.contains("[error]") || line.contains("[critical]"), "{line}");
        ensure!(line.contains("allow_on_headers_stop_iteration"), "{line}");
        let answers = std::fs::read_to_string(&access_log)?;
        let ours = answers.lines().filter(|line| *line == "503 private_number_gateway:flag_missing").count();
        ensure!(ours == 5, "{answers}");
        Ok(())
    })
    .await?;
    let _ = std::fs::remove_file(&access_log);
    ensure!(world.store.calls("").await?.is_empty(), "nothing was recorded");
    world.ends_well().await
}

#[tokio::test]
async fn a_pusher_that_is_slow_is_not_taken_for_envoys_flag() -> Result<()> {
    // Without the flag and without a body: nothing is known of such a push.
    let (world, access_log) = without_the_flag("flag-missing-slow").await?;
    let mut silent = Connection::open(world.gateway.address()).await?;
    silent.send(world.huawei.head()?.header("content-length", "500").end()).await?;
    ensure!(!silent.is_closed_within(Duration::from_secs(3)).await, "it was closed");
    let statistics = world.gateway.statistics().await?;
    ensure!(statistics.filter("privatenumber_pushes_total.answer.flag_missing") == 0);
    let _ = std::fs::remove_file(&access_log);

    // With it, the first push of every worker may take its time, before its body and in the middle of it.
    let world = World::with("flag-slow", HeadersMode::Hold, &[], |options| options.concurrency(1)).await?;
    for chunked in [false, true] {
        let body = push_body(&cdrs(if chunked { 4_100 } else { 4_101 }, 1))?;
        let (first, rest) = body.split_at(body.len() / 2);
        let length = body.len().to_string();
        let mut connection = Connection::open(world.gateway.address()).await?;
        let head = world.huawei.head()?;
        let head =
            if chunked { head.header("transfer-encoding", "chunked") } else { head.header("content-length", length) };
        connection.send(head.end()).await?;
        for part in [first, rest] {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            if chunked { connection.send(chunk(part)).await? } else { connection.send(part).await? }
        }
        if chunked {
            connection.send(last_chunk(&[])).await?;
        }
        ensure!(connection.answer().await?.status == 200, "a slow push");
    }
    world.settled_calls(2).await?;
    world.ends_well().await
}

#[tokio::test]
async fn pass_with_envoys_flag_answers_every_push() -> Result<()> {
    let world = World::with("pass-with-flag", HeadersMode::Pass, &[], |options| {
        options.change(|configuration| {
            drop(filter(configuration)?.insert("allow_on_headers_stop_iteration".to_owned(), true.into()));
            Ok(())
        })
    })
    .await?;
    world.register_demo_binding().await?;
    for series in 0..20 {
        world.push(&cdrs(4_200 + series, 1)).await?;
    }
    world.push(&cdrs(4_230, 50)).await?;
    world.huawei.push(&world.gateway.url(), "{").await?.expect(400)?;
    let body = push_body(&cdrs(4_240, 1))?;
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(world.huawei.head()?.header("transfer-encoding", "chunked").end()).await?;
    for part in body.chunks(100) {
        connection.send(chunk(part)).await?;
    }
    connection.send(last_chunk(&[])).await?;
    ensure!(connection.answer().await?.status == 200, "a push in chunks");
    world.settled_calls(71).await?;
    ensure!(world.business.counts().await?.total == 71);
    world.ends_well().await
}
