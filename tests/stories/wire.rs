//! How pushes may come over the wire: what proxies and HTTP clients in front of the gateway do without being asked.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::raw::{Connection, Head};
use harness::wait;
use privatenumber_contract::CallState;
use privatenumber_sim::huawei::push_body;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p1_a_push_in_http_1_0_is_answered_200_and_called_back_once,
    p1_a_pusher_that_closes_its_half_early_gets_no_answer_and_one_callback,
    a_push_that_asks_before_it_sends_its_body_is_told_to_go_on,
    p1_pushes_sent_without_waiting_are_each_called_back_once,
    a_push_with_https_in_its_request_line_needs_a_trusted_proxy_in_front,
);

const SUCCESS: &[u8] = br#"{"resultcode":"0","resultdesc":"Success"}"#;
/// How long Envoy may take to close a connection it has no more use for. It waits a second for the other side.
const CLOSING: Duration = Duration::from_secs(5);

/// The head of a signed push with this first line and these headers besides; without `host` if there is none.
fn head(world: &World, line: &str, host: Option<&str>, more: &[(&str, &str)]) -> Result<Head> {
    let head = host.into_iter().fold(Head::line(line), |head, host| head.header("host", host));
    Ok(head.headers(world.huawei.headers()?).headers(more.iter().copied()))
}

fn whole(head: Head, body: &[u8]) -> Vec<u8> {
    let mut bytes = head.header("content-length", body.len().to_string()).end();
    bytes.extend_from_slice(body);
    bytes
}

/// nginx speaks HTTP/1.0 to its upstreams unless told otherwise.
async fn p1_a_push_in_http_1_0_is_answered_200_and_called_back_once(mode: HeadersMode) -> Result<()> {
    let world = World::start("wire-http10", mode).await?;
    let host = Some("gateway.example.com");
    let variants = [
        (host, vec![("connection", "close")]),
        (host, vec![("connection", "keep-alive")]),
        (host, vec![]),
        (None, vec![]),
    ];
    let count = variants.len();
    for (call, (host, more)) in cdrs(800, count).into_iter().zip(variants) {
        let request = whole(head(&world, "POST /huawei/fee HTTP/1.0", host, &more)?, &push_body(&[call])?);
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(request).await?;
        let answer = connection.answer().await?;
        ensure!(answer.status == 200 && answer.body == SUCCESS, "{host:?}, {more:?}: {}", answer.status);
        ensure!(connection.is_closed_within(CLOSING).await, "{host:?}, {more:?}: the connection stays open");
    }
    world.callbacks(count).await?;
    let calls = world.settled_calls(count).await?;
    ensure!(calls.iter().all(|call| call.state == CallState::Delivered));
    wait::until("the pushes to be counted", PATIENCE, async || {
        let recorded = world.gateway.statistics().await?.filter("privatenumber_pushes_total.answer.recorded");
        ensure!(recorded == 4, "{recorded} pushes are counted");
        Ok(())
    })
    .await?;
    world.ends_well().await
}

/// Envoy takes a half-closed connection for one whose other side has left.
async fn p1_a_pusher_that_closes_its_half_early_gets_no_answer_and_one_callback(mode: HeadersMode) -> Result<()> {
    let world = World::start("wire-half-close", mode).await?;
    let body = push_body(&cdrs(810, 1))?;
    // As often as Huawei pushes.
    for attempt in 1..=7 {
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(world.huawei.request(&body)?).await?;
        connection.close_half().await?;
        wait::until("the push to have its verdict", PATIENCE, async || {
            let statistics = world.gateway.statistics().await?;
            let seen = statistics.sum_of(|name| name.contains("privatenumber_cdrs_total.verdict"));
            ensure!(seen >= attempt, "{seen} of {attempt} pushes have a verdict");
            Ok(())
        })
        .await?;
        // An answer that was faster than the end is an answer; this pusher was faster.
        if let Ok(answer) = connection.answer().await {
            ensure!(answer.status == 200, "answered {}", answer.status);
        }
    }
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}

async fn a_push_that_asks_before_it_sends_its_body_is_told_to_go_on(mode: HeadersMode) -> Result<()> {
    let world = World::start("wire-expect", mode).await?;
    let body = push_body(&cdrs(820, 1))?;
    let asking = [("expect", "100-continue")];
    let head = head(&world, "POST /huawei/fee HTTP/1.1", Some("gateway.example.com"), &asking)?;
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(head.header("content-length", body.len().to_string()).end()).await?;
    let interim = connection.answer().await?;
    ensure!(interim.status == 100, "{} before the body was sent", interim.status);
    connection.send(&body).await?;
    let answer = connection.answer().await?;
    ensure!(answer.status == 200 && answer.body == SUCCESS, "answered {}", answer.status);
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}

/// As shipped a connection carries one push: the first is answered, the others are not looked at. Where connections are kept, all
/// are answered in their order.
async fn p1_pushes_sent_without_waiting_are_each_called_back_once(mode: HeadersMode) -> Result<()> {
    for (name, kept) in [("wire-pipeline", false), ("wire-pipeline-kept", true)] {
        let world =
            World::with(
                name,
                mode,
                &[],
                |options| {
                    if kept { options.change(Configuration::keep_connections) } else { options }
                },
            )
            .await?;
        let mut requests = Vec::new();
        for call in cdrs(830, 3) {
            requests.extend(world.huawei.request(&push_body(&[call])?)?);
        }
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(requests).await?;
        let expected = if kept { 3 } else { 1 };
        for _ in 0..expected {
            let answer = connection.answer().await?;
            ensure!(answer.status == 200 && answer.body == SUCCESS, "answered {}", answer.status);
        }
        if !kept {
            ensure!(connection.is_closed_within(CLOSING).await, "the connection carries more than one push");
        }
        world.callbacks(expected).await?;
        world.settled_calls(expected).await?;
        world.ends_well().await?;
    }
    Ok(())
}

/// A proxy that ends TLS may write the address that it was asked for into the request line.
async fn a_push_with_https_in_its_request_line_needs_a_trusted_proxy_in_front(mode: HeadersMode) -> Result<()> {
    for (name, hops, status) in [("wire-https", 0, 403), ("wire-https-trusted", 1, 200)] {
        let world = World::with(name, mode, &[], |options| {
            options.change(move |configuration| {
                configuration.connection_manager()?["xff_num_trusted_hops"] = hops.into();
                Ok(())
            })
        })
        .await?;
        let line = "POST https://gateway.example.com/huawei/fee HTTP/1.1";
        let request = whole(head(&world, line, Some("gateway.example.com"), &[])?, &push_body(&cdrs(840, 1))?);
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(request).await?;
        let answer = connection.answer().await?;
        ensure!(answer.status == status, "{hops} trusted hops: {}", answer.status);
        if status == 200 {
            world.callbacks(1).await?;
        }
        world.settled_calls(usize::from(status == 200)).await?;
        world.ends_well().await?;
    }
    Ok(())
}
