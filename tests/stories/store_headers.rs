//! What a store, or whoever answers in its place, says in its headers is not Huawei's business.

use anyhow::{Context, Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::fault::{CLAIMS, Fault};
use harness::raw::{Connection, RawAnswer, chunk};
use hyper::HeaderMap;
use privatenumber_sim::huawei::push_body;

use crate::world::{World, cdrs};

in_both_modes!(
    p7_no_header_of_the_store_reaches_huawei,
    p7_no_header_of_the_store_reaches_huawei_over_http2_with_trailers,
);

/// What an internal server, or a login page in front of it, may send.
const INTERNAL: [(&str, &str); 8] = [
    ("location", "http://store.internal:8090/login?next=/v1/pushes"),
    ("set-cookie", "sid=internal"),
    ("x-secret", "internal"),
    ("server", "internal/1.0"),
    ("via", "1.1 proxy.internal"),
    ("www-authenticate", "Basic realm=\"internal\""),
    ("cache-control", "internal"),
    ("alt-svc", "h3=\"store.internal:443\""),
];

/// The headers that a reply to Huawei may have: the filter's, and those of Envoy at the edge.
const ALLOWED: [&str; 7] =
    ["content-type", "content-length", "transfer-encoding", "connection", "date", "server", "retry-after"];

fn check<'a>(status: u16, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<()> {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value);
        ensure!(ALLOWED.contains(&name), "{status}: Huawei is told {name}: {value}");
        ensure!(!value.contains("internal"), "{status}: Huawei is told {name}: {value}");
    }
    Ok(())
}

fn check_raw(answer: &RawAnswer) -> Result<()> {
    check(answer.status, answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
}

async fn push(world: &World, body: &[u8]) -> Result<RawAnswer> {
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(world.huawei.request(body)?).await?;
    connection.answer().await
}

async fn p7_no_header_of_the_store_reaches_huawei(mode: HeadersMode) -> Result<()> {
    let world = World::start("store-headers", mode).await?;
    world.faults.add_headers(&INTERNAL);
    // The store's own answer.
    let answer = push(&world, &push_body(&cdrs(850, 1))?).await?;
    ensure!(answer.status == 200);
    check_raw(&answer)?;
    // Somebody else's, in its place.
    for (index, status) in [200, 204, 302, 401, 404, 500, 503].into_iter().enumerate() {
        world.faults.strike_times(CLAIMS, Fault::Status(status), 1);
        let answer = push(&world, &push_body(&cdrs(851 + index as u64, 1))?).await?;
        let expected = if mode == HeadersMode::Pass { 503 } else { 200 };
        ensure!(answer.status == expected, "{status} became {}", answer.status);
        check_raw(&answer)?;
    }
    world.callbacks(8).await?;
    world.settled_calls(8).await?;
    world.ends_well().await?;
    if mode == HeadersMode::Pass {
        // Somebody else's that comes before the push is complete, where Envoy's buffer filter does not hold the push.
        let world =
            World::with("store-headers-early", mode, &[], |options| options.change(Configuration::without_buffer));
        let world = world.await?;
        world.faults.add_headers(&INTERNAL);
        for status in [200, 302, 401, 500] {
            world.faults.strike_times(CLAIMS, Fault::StatusAtHead(status), 1);
            let body = push_body(&cdrs(860, 1))?;
            let mut connection = Connection::open(world.gateway.address()).await?;
            connection.send(world.huawei.head()?.header("transfer-encoding", "chunked").end()).await?;
            connection.send(chunk(body.get(..10).context("a push has more than ten bytes")?)).await?;
            let answer = connection.answer().await?;
            ensure!(answer.status == if status < 400 { 503 } else { status }, "{status} became {}", answer.status);
            check_raw(&answer)?;
        }
        world.ends_well().await?;
    }
    Ok(())
}

async fn p7_no_header_of_the_store_reaches_huawei_over_http2_with_trailers(mode: HeadersMode) -> Result<()> {
    let world = World::with("store-trailers", mode, &[], |options| {
        options.change(Configuration::http2_to_the_store).change(Configuration::http2_as_well)
    })
    .await?;
    world.faults.add_headers(&INTERNAL);
    let body = push_body(&cdrs(870, 1))?.into();
    let answer = world.huawei.push_http2_with_trailers(&world.gateway.url(), body, HeaderMap::new()).await?;
    let answer = answer.expect(200)?;
    check(200, answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}
