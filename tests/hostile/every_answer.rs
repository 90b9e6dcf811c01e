//! Every row of the table against one gateway: its answer, and that it harmed nobody.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::gateway::Options;
use harness::{http, wait};
use hyper::Method;
use privatenumber_contract::CallState;
use serde_json::json;

use crate::privacy;
use crate::table::{self, Expected, Row, Signed};
use crate::world::{PATIENCE, World, cdrs};

#[tokio::test]
async fn every_row_has_its_answer_hold() -> Result<()> {
    every_row_has_its_answer(HeadersMode::Hold).await
}

#[tokio::test]
async fn every_row_has_its_answer_pass() -> Result<()> {
    every_row_has_its_answer(HeadersMode::Pass).await
}

/// Secrets of every kind, given the way they should be.
fn with_secrets(options: Options) -> Options {
    options.environment("STORE_TOKEN", privacy::TOKEN).environment("SIGNING_SECRET", privacy::SIGNING_SECRET).change(
        |configuration| {
            configuration.plugin()?["store"]["token"] = json!({"env": "STORE_TOKEN"});
            configuration.plugin()?["businesses"][0]["signing_secrets"] = json!([{"env": "SIGNING_SECRET"}]);
            privacy::show_environment(configuration, &["HUAWEI_APP_SECRET", "STORE_TOKEN", "SIGNING_SECRET"])
        },
    )
}

async fn every_row_has_its_answer(mode: HeadersMode) -> Result<()> {
    let arguments = ["--print", "--signing-secret", privacy::SIGNING_SECRET];
    let world = World::with("hostile-table", mode, &arguments, with_secrets).await?;
    world.register_demo_binding().await?;
    // Everything the filter can say, not everything Envoy can.
    http::send(Method::POST, &format!("{}/logging?wasm=trace", world.gateway.admin()), &[], "").await?.expect(200)?;
    let signed = Signed(world.huawei.headers()?);
    let mut rows = table::rows(&signed);
    if mode == HeadersMode::Pass {
        // Here Envoy has a route for it, so that its buffer filter does not wait for a body, and Envoy refuses every CONNECT to a route.
        let connect = rows.iter_mut().find(|row| row.what == "CONNECT").context("no row has CONNECT")?;
        connect.expected = Expected::EnvoysOwn(403);
    }
    ensure!(rows.len() >= 200, "the table has only {} rows", rows.len());

    let (mut answers, mut wrong) = (Vec::new(), Vec::new());
    for row in &rows {
        match row.check(world.gateway.address()).await {
            Ok(answer) => answers.push(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => wrong.push(format!("{}: {error:#}", row.what)),
        }
    }
    ensure!(wrong.is_empty(), "{} of {} rows got another answer:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    parked_with_their_reasons(&world, &rows).await?;

    // Nothing of it harmed anybody: a good push still has its callback, nothing is pending, no VM trapped.
    world.push(&cdrs(700, 1)).await?;
    let calls = wait::until("every call to have its outcome", PATIENCE, async || {
        let calls = world.store.calls("").await?;
        let pending = calls.iter().filter(|call| call.state != CallState::Delivered).count();
        ensure!(pending == 0, "{pending} of {} calls are not delivered", calls.len());
        Ok(calls)
    })
    .await?;
    // All rows are recorded under one application; two thirds of the table bring at least one call.
    ensure!(calls.len() > 150, "{} calls", calls.len());
    let counts = world.business.counts().await?;
    ensure!(counts.total == calls.len() as u64 && counts.invalid_signatures == 0, "{counts:?}");
    world.ends_well().await?;
    privacy::nothing_private_is_anywhere(&world, &signed, &answers).await
}

/// Every parked CDR is in the store as it was sent, with its reason.
async fn parked_with_their_reasons(world: &World, rows: &[Row]) -> Result<()> {
    let parked = world.store.parked().await?.parked;
    let reasons: HashMap<&str, &str> =
        parked.iter().map(|parked| (parked.raw.expose().as_str(), parked.reason.as_str())).collect();
    let expected: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.expected {
            Expected::Parked { raw, reason } => Some((raw, reason)),
            _ => None,
        })
        .collect();
    ensure!(expected.len() > 30 && parked.len() == expected.len(), "{} of {} parked", parked.len(), expected.len());
    for (raw, reason) in expected {
        let found = reasons.get(raw.as_str()).copied();
        ensure!(found == Some(reason.as_str()), "{:.60}: {found:?} instead of {reason}", raw);
    }
    Ok(())
}
