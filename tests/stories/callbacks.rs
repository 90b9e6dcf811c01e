//! What a callback carries beside the record.

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::http;
use hyper::Method;
use privatenumber_sim::huawei::push_body;
use serde_json::json;

use crate::world::{World, cdrs};

in_both_modes!(
    a_callback_is_signed_with_every_secret_of_its_business,
    a_callback_carries_its_trace_and_fixed_headers_and_no_instructions,
);

const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

async fn a_callback_is_signed_with_every_secret_of_its_business(mode: HeadersMode) -> Result<()> {
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    let world = World::with_business(
        "signed",
        mode,
        &["--signing-secret", SIGNING_SECRET],
        |business| business.more = json!({"signing_secrets": [{"value": other}, {"value": SIGNING_SECRET}]}),
        |options| options,
    )
    .await?;
    world.push(&cdrs(300, 2)).await?;
    for callback in world.callbacks(2).await? {
        ensure!(callback.signature_valid == Some(true), "{callback:?}");
        let signatures = callback.header("webhook-signature").context("unsigned")?;
        ensure!(signatures.split(' ').count() == 2, "{signatures}");
    }
    world.settled_calls(2).await?;
    world.ends_well().await
}

async fn a_callback_carries_its_trace_and_fixed_headers_and_no_instructions(mode: HeadersMode) -> Result<()> {
    let world = World::with_business(
        "headers",
        mode,
        &[],
        |business| business.more = json!({"headers": {"x-tenant": "demo"}}),
        |options| options,
    )
    .await?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut headers = world.huawei.headers()?;
    headers.extend([
        ("traceparent".to_owned(), format!("00-{trace}-b7ad6b7169203331-01")),
        ("tracestate".to_owned(), "vendor=demo".to_owned()),
        ("x-envoy-retry-on".to_owned(), "5xx".to_owned()),
        ("x-from-huawei".to_owned(), "not for the business".to_owned()),
    ]);
    http::send(Method::POST, &world.gateway.url(), &headers, push_body(&cdrs(310, 2))?).await?.expect(200)?;
    let callbacks = world.callbacks(2).await?;
    let mut spans = Vec::new();
    for callback in &callbacks {
        let parent = callback.header("traceparent").context("no traceparent")?;
        let parts: Vec<_> = parent.split('-').collect();
        ensure!(
            parts.len() == 4 && parts[1] == trace && parts[2] != "b7ad6b7169203331" && parts[3] == "01",
            "{parent}"
        );
        spans.push(parts[2].to_owned());
        ensure!(callback.header("tracestate") == Some("vendor=demo"));
        ensure!(callback.header("x-tenant") == Some("demo"));
        ensure!(callback.header("content-type") == Some("application/json"));
        ensure!(callback.header("x-from-huawei").is_none() && callback.header("x-envoy-retry-on").is_none());
        for secret in ["x-aksk", "x-wsse", "authorization"] {
            ensure!(callback.header(secret).is_none(), "{secret} went on to the business");
        }
    }
    ensure!(spans[0] != spans[1], "each callback is a span of its own");
    world.settled_calls(2).await?;
    world.ends_well().await
}
