//! Metrics with labels, logs of one JSON line each, and nothing private in either (promise P7).

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::http;
use harness::wait;
use hyper::Method;
use privatenumber_sim::business::{Mode, Temper};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    metrics_have_labels,
    a_metric_names_the_build_before_and_after_a_reload,
    p6_strangers_fill_no_disk_with_log_lines,
    p7_nothing_private_is_in_a_log_a_metric_or_an_error_answer,
);

async fn metrics_have_labels(mode: HeadersMode) -> Result<()> {
    let world = World::start("metrics", mode).await?;
    world.register_demo_binding().await?;
    let calls = cdrs(500, 3);
    world.push(&calls).await?;
    world.push(&calls).await?;
    world.huawei.push(&world.gateway.url(), "{").await?.expect(400)?;
    world.settled_calls(3).await?;
    world.ends_well().await?;
    let expected = [
        "privatenumber_pushes_total{answer=\"recorded\"} 2",
        "privatenumber_pushes_total{answer=\"invalid\"} 1",
        "privatenumber_pushes_total{answer=\"unauthorized\"} 0",
        "privatenumber_cdrs_total{verdict=\"claimed\"} 3",
        "privatenumber_cdrs_total{verdict=\"duplicate\"} 3",
        "privatenumber_callbacks_total{outcome=\"delivered\"} 3",
        "privatenumber_callbacks_total{outcome=\"maybe_sent\"} 0",
        "privatenumber_business_callbacks_total{outcome=\"delivered\",ak=\"AC5A23CF0E42435C9FF52E401EE897BC\",cluster=\"business\"} 3",
        "privatenumber_business_callbacks_total{outcome=\"not_sent\",ak=\"AC5A23CF0E42435C9FF52E401EE897BC\",cluster=\"business\"} 0",
        "privatenumber_dispatches_refused_total{reason=\"no_cluster\"} 0",
        "privatenumber_outcomes_reported_total{} 3",
        "privatenumber_callback_duration_ms_count{} 3",
        "privatenumber_pending_calls{} 0",
    ];
    // Envoy merges its workers' histograms every few seconds.
    wait::until("every metric in Prometheus's form", PATIENCE, async || {
        let url = format!("{}/stats/prometheus", world.gateway.admin());
        let prometheus = http::get(&url).await?.expect(200)?.text();
        for line in expected {
            let ours = prometheus.lines().filter(|line| line.contains("privatenumber_") && !line.contains("_bucket"));
            let ours: Vec<_> = ours.collect();
            ensure!(ours.contains(&line), "no line {line}; there are\n{}", ours.join("\n"));
        }
        Ok(())
    })
    .await
}

async fn a_metric_names_the_build_before_and_after_a_reload(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("build-info", mode, &[], |options| options.reloadable().concurrency(2)).await?;
    the_build_is_named_once(&world).await?;
    world
        .gateway
        .reload(|plugin| {
            plugin["revision"] = json!("the same build");
            Ok(())
        })
        .await?;
    world.push(&cdrs(540, 1)).await?;
    world.settled_calls(1).await?;
    the_build_is_named_once(&world).await?;
    world.ends_well().await
}

async fn p6_strangers_fill_no_disk_with_log_lines(mode: HeadersMode) -> Result<()> {
    const STRANGERS: u64 = 3_000;
    const WORKERS: u64 = 2;
    let world = World::with("log-flood", mode, &[], |options| options.concurrency(2)).await?;
    let began = Instant::now();
    for _ in 0..STRANGERS {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        http::send(Method::POST, &world.gateway.url(), &headers, "{}").await?.expect(401)?;
    }
    let took = began.elapsed().as_secs();
    wait::until("a line or its count for every stranger", PATIENCE, async || {
        let lines: Vec<Value> = events(&world)?.into_iter().filter(|event| event["status"] == 401).collect();
        let count = u64::try_from(lines.len())?;
        ensure!(count <= WORKERS * (took + 3), "{count} lines in {took} s");
        let missing: u64 = lines.iter().filter_map(|line| line["not_logged"].as_u64()).sum();
        ensure!(count + missing == STRANGERS, "{count} lines that speak of {missing} more");
        let counted = world.gateway.statistics().await?.filter("privatenumber_pushes_total.answer.unauthorized");
        ensure!(counted == STRANGERS, "the metric counts {counted}");
        Ok(())
    })
    .await?;
    world.ends_well().await
}

/// The filter's events in Envoy's log.
fn events(world: &World) -> Result<Vec<Value>> {
    let logs = world.gateway.logs();
    logs.iter()
        .filter(|line| line.contains("wasm log private-number-gateway"))
        .filter_map(|line| line.find('{').map(|start| &line[start..]))
        .map(|event| serde_json::from_str(event).with_context(|| format!("not a line of JSON: {event}")))
        .collect()
}

/// However many VMs there are, the statistics name one build, the one that the log names, and its value is 1.
async fn the_build_is_named_once(world: &World) -> Result<()> {
    let logs = world.gateway.logs();
    let line = logs.iter().find(|line| line.contains(r#""event":"configured""#)).context("no line of the start")?;
    let start = line.find('{').context("the line of the start holds no object")?;
    let configured: Value = serde_json::from_str(&line[start..])?;
    let said = |member: &str| configured[member].as_str().with_context(|| format!("no {member} in {line}"));
    let (version, commit, profile) = (said("version")?, shortened(said("commit")?), said("profile")?);
    ensure!(version == env!("CARGO_PKG_VERSION"), "it says that it is version {version}");

    let statistics = world.gateway.statistics().await?;
    let ours: Vec<_> = statistics.iter().filter(|(name, _)| name.contains("build_info")).collect();
    let name = format!("wasmcustom.privatenumber_build_info.version.{version}.commit.{commit}.profile.{profile}");
    ensure!(ours == [(name.as_str(), 1)], "not {name} alone, with the value 1: {ours:?}");

    let prometheus = world.gateway.prometheus().await?;
    let ours: Vec<_> =
        prometheus.lines().filter(|line| line.contains("build_info") && !line.starts_with('#')).collect();
    let labelled =
        format!(r#"privatenumber_build_info{{version="{version}",commit="{commit}",profile="{profile}"}} 1"#);
    ensure!(ours == [labelled.as_str()], "not {labelled} alone: {ours:?}");
    Ok(())
}

/// A full commit id by its first twelve digits, with what is added to it.
fn shortened(commit: &str) -> String {
    if commit.len() < 40 { commit.to_owned() } else { format!("{}{}", &commit[..12], &commit[40..]) }
}

/// Whatever a log line, a metric or an answer must not contain.
const SECRETS: [&str; 9] = [
    "17010000",
    "callenabler001",
    "fictitious-app-secret",
    "whsec_",
    "C2FVsBQIhrscChlQIMV",
    "PasswordDigest",
    "z0ytACClB36QnftE0n6",
    "recordings.example.com",
    "order-private-0001",
];

async fn p7_nothing_private_is_in_a_log_a_metric_or_an_error_answer(mode: HeadersMode) -> Result<()> {
    let world = World::with_business(
        "privacy",
        mode,
        &["--print"],
        |business| {
            business.timeout_ms = 500;
            business.more = json!({"signing_secrets": [{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}]});
        },
        |options| options,
    )
    .await?;
    world.register_demo_binding().await?;
    // Everything the filter can say, not everything Envoy can.
    http::send(Method::POST, &format!("{}/logging?wasm=trace", world.gateway.admin()), &[], "").await?.expect(200)?;

    let mut answers = Vec::new();
    let mut push = json!({"eventType": "fee", "feeLst": cdrs(510, 4)});
    push["feeLst"][0]["recordFileDownloadUrl"] = json!("https://recordings.example.com/1.wav");
    push["feeLst"][0]["userData"] = json!("order-private-0001");
    push["feeLst"][1]["callInTime"] = json!("+8617010000011");
    push["feeLst"][2]["direction"] = json!("+8617010000011");
    push["feeLst"][3]["subscriptionId"] = json!(["+8617010000011"]);
    answers.push(world.huawei.push(&world.gateway.url(), push.to_string()).await?.expect(200)?.text());
    let event = r#"{"eventType":"+8617010000011"}"#;
    answers.push(world.huawei.push(&world.gateway.url(), event).await?.expect(200)?.text());
    for body in [
        r#"{"eventType":["+8617010000011"]}"#,
        r#"{"eventType":"fee","feeLst":"+8617010000011"}"#,
        r#"{"eventType":"fee","feeLst":[],"+8617010000011":1}"#,
        r#"+8617010000011"#,
        r#"{"eventType":"fee" "+8617010000011"#,
    ] {
        answers.push(world.huawei.push(&world.gateway.url(), body).await?.expect(400)?.text());
    }
    let mut headers = world.huawei.headers()?;
    for (name, value) in &mut headers {
        if name.eq_ignore_ascii_case("x-aksk") {
            *value = value.replace("UsernameToken Username=\"", "UsernameToken Username=\"+8617010000011");
        }
    }
    let body = push.to_string();
    answers.push(http::send(Method::POST, &world.gateway.url(), &headers, body).await?.expect(401)?.text());
    for mode in [Mode::Hang, Mode::Reset, Mode::Truncate] {
        world.business.behave(&Temper { mode, ..Temper::default() }).await?;
        world.push(&cdrs(520 + mode as u64, 1)).await?;
    }
    world.faults.strike_times(harness::fault::CLAIMS, harness::fault::Fault::LoseAnswer, 4);
    let _ = world.huawei.push_cdrs(&world.gateway.url(), &cdrs(530, 1)).await?;
    world.settled_calls(7).await?;
    world.ends_well().await?;

    let logs = world.gateway.logs();
    let events = events(&world)?;
    for name in
        ["cdr_warnings", "push_answered", "push_committed", "callback_finished", "outcomes_reported", "claims_missed"]
    {
        ensure!(events.iter().any(|event| event["event"] == name), "no event {name} among {} events", events.len());
    }

    let prometheus = http::get(&format!("{}/stats/prometheus", world.gateway.admin())).await?.expect(200)?.text();
    let store_log = std::fs::read_to_string(world.directory.join("store.log")).unwrap_or_default();
    let business_log = std::fs::read_to_string(world.directory.join("business.log")).unwrap_or_default();
    let places = [
        ("Envoy's log", logs.join("\n")),
        ("an answer", answers.join("\n")),
        ("Envoy's metrics", prometheus),
        ("the store's metrics", world.store.metrics().await?),
        ("the store's log", store_log),
        ("the business's log", business_log),
    ];
    for (place, text) in &places {
        for secret in SECRETS {
            let line = text.lines().find(|line| line.contains(secret));
            ensure!(line.is_none(), "{secret} is in {place}: {line:?}");
        }
    }
    Ok(())
}
