//! The table "Answers to Huawei": each case with its exact answer.

use anyhow::{Context, Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::demo;
use harness::http;
use harness::huawei::Huawei;
use harness::raw::{Connection, Head, chunk, last_chunk};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use privatenumber_contract::Private;
use privatenumber_sim::business::{Mode, Temper};
use privatenumber_sim::huawei::{Scheme, push_body};
use serde_json::{Value, json};

use crate::world::place::requests_at_the_store;
use crate::world::{World, cdrs};

in_both_modes!(
    each_refusal_has_its_answer_and_never_reaches_the_store,
    both_schemes_and_both_secrets_are_accepted,
    trailers_and_chunks_are_part_of_a_push,
    a_push_is_taken_over_http2_with_trailers,
    p2_the_largest_push_and_the_largest_answer_pass_over_http2,
    p4_too_many_pending_calls_are_answered_503,
    a_body_over_the_limit_is_answered_413_however_it_comes,
    a_route_that_is_not_the_push_path_lets_nobody_in,
);

const JSON: &str = "application/json;charset=UTF-8";

/// A push with these headers instead of, or beside, the signed ones.
async fn push_with(world: &World, replaced: &[(&str, &[u8])], body: &[u8]) -> Result<(u16, Value)> {
    let mut head = Head::post("/huawei/fee").header("host", "gateway.example.com");
    for (name, value) in world.huawei.headers()? {
        if !replaced.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            head = head.header(name, value);
        }
    }
    for (name, value) in replaced.iter().filter(|(_, value)| !value.is_empty()) {
        head = head.header(name, value);
    }
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(head.header("content-length", body.len().to_string()).end()).await?;
    // Envoy may answer before it has read the body.
    let _ = connection.send(body).await;
    let answer = connection.answer().await?;
    let json = serde_json::from_slice(&answer.body).with_context(|| String::from_utf8_lossy(&answer.body).into_owned());
    Ok((answer.status, json?))
}

async fn each_refusal_has_its_answer_and_never_reaches_the_store(mode: HeadersMode) -> Result<()> {
    let world = World::start("answers", mode).await?;
    let body = push_body(&cdrs(10, 1))?;
    let signed = world.huawei.headers()?.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("x-aksk"));
    let signed = signed.context("the push is not signed")?.1.into_bytes();

    let answer = http::send(Method::GET, &world.gateway.url(), &world.huawei.headers()?, "").await?;
    ensure!(answer.status == 405 && answer.headers.get("allow") == Some(&HeaderValue::from_static("POST")));

    let wrong = Huawei::new(Scheme::Aksk, demo::APP_KEY, "fictitious-app-secret-0002")?;
    let stranger = Huawei::new(Scheme::Aksk, "demoAppKey000000000000000009", demo::SECRET)?;
    for huawei in [wrong, stranger] {
        let answer = huawei.push(&world.gateway.url(), body.clone()).await?.expect(401)?;
        ensure!(answer.headers.contains_key("www-authenticate"));
    }

    let twice = [signed.as_slice(), b"\r\nx-aksk: ", signed.as_slice()].concat();
    let headers: [(&str, Vec<u8>, u16); 8] = [
        ("content-type", b"text/plain".to_vec(), 415),
        ("content-type", Vec::new(), 415),
        ("content-type", b"application/jsonx".to_vec(), 415),
        ("x-aksk", Vec::new(), 401),
        ("x-aksk", b"UsernameToken Username=\"demoAppKey000000000000000001\"".to_vec(), 401),
        ("x-aksk", b"\xff\xfe\xfd".to_vec(), 401),
        ("x-aksk", vec![b'a'; 5_000], 401),
        ("x-aksk", twice, 401),
    ];
    for (name, value, status) in &headers {
        let (found, json) = push_with(&world, &[(name, value)], &body).await?;
        ensure!(found == *status, "{name}: {found} instead of {status}");
        ensure!(
            json["resultcode"].as_str() == Some(status.to_string().as_str()) && json["reason"].is_string(),
            "{json}"
        );
    }

    let many = push_body(&cdrs(11, 51))?;
    let bodies: [(&[u8], &str); 12] = [
        (b"", ""),
        (b"{", ""),
        (b"null", ""),
        (b"[]", ""),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}]} {}", ""),
        (b"{}", "/eventType"),
        (br#"{"smsEvent":{}}"#, "/eventType"),
        (br#"{"eventType":{}}"#, "/eventType"),
        (br#"{"eventType":"fee"}"#, "/feeLst"),
        (br#"{"eventType":"fee","feeLst":[]}"#, "/feeLst"),
        (br#"{"eventType":"fee","feeLst":"x"}"#, "/feeLst"),
        (&many, "/feeLst"),
    ];
    for (body, pointer) in bodies {
        let (status, json) = push_with(&world, &[], body).await?;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        ensure!(status == 400, "{shown}: {status}");
        ensure!(json["pointer"] == pointer && json["reason"].is_string(), "{shown}: {json}");
    }

    ensure!(requests_at_the_store(&world).await? == 0, "a refused push reached the store");
    ensure!(world.store.calls("").await?.is_empty());
    world.push(&cdrs(12, 1)).await?;
    world.callbacks(1).await?;
    world.ends_well().await
}

async fn both_schemes_and_both_secrets_are_accepted(mode: HeadersMode) -> Result<()> {
    let old = "fictitious-app-secret-0000";
    let world = World::with("schemes", mode, &[], |options| {
        options.change(move |configuration| {
            configuration.plugin()?["applications"][0]["secrets"] =
                json!([{"env": "HUAWEI_APP_SECRET"}, {"value": old}]);
            Ok(())
        })
    })
    .await?;
    let key = demo::APP_KEY;
    let mut calls = cdrs(13, 4).into_iter();
    for (scheme, secret) in
        [(Scheme::Aksk, demo::SECRET), (Scheme::Aksk, old), (Scheme::Wsse, demo::SECRET), (Scheme::Wsse, old)]
    {
        let call = calls.next().context("too few calls")?;
        Huawei::new(scheme, key, secret)?.push_cdrs(&world.gateway.url(), &[call]).await?.expect(200)?;
    }
    world.callbacks(4).await?;
    world.settled_calls(4).await?;
    world.ends_well().await
}

async fn trailers_and_chunks_are_part_of_a_push(mode: HeadersMode) -> Result<()> {
    let world =
        World::with("trailers", mode, &[], |options| options.change(|configuration| configuration.keep_trailers()))
            .await?;
    let body = push_body(&cdrs(14, 1))?;
    for (index, trailers) in [&[][..], &[("x-checked", "no")][..]].into_iter().enumerate() {
        let head = world.huawei.head()?.header("transfer-encoding", "chunked");
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(head.end()).await?;
        for piece in body.chunks(97) {
            connection.send(chunk(piece)).await?;
        }
        connection.send(last_chunk(trailers)).await?;
        let answer = connection.answer().await?;
        ensure!(answer.status == 200, "push {index}: {}", answer.status);
    }
    // What a trailer must not do is carry a body past the checks.
    let head = world.huawei.head()?.header("transfer-encoding", "chunked");
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(head.end()).await?;
    connection.send(chunk(b"not JSON")).await?;
    connection.send(last_chunk(&[("x-checked", "no")])).await?;
    ensure!(connection.answer().await?.status == 400);

    world.callbacks(1).await?;
    let settled = world.settled_calls(1).await?;
    ensure!(settled[0].duplicates == 1);
    world.ends_well().await
}

async fn a_push_is_taken_over_http2_with_trailers(mode: HeadersMode) -> Result<()> {
    let world = World::with("http2", mode, &[], |options| options.change(Configuration::http2_as_well)).await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checked", HeaderValue::from_static("no"));
    let body = push_body(&cdrs(15, 2))?;
    let url = world.gateway.url();
    world.huawei.push_http2_with_trailers(&url, body.into(), trailers.clone()).await?.expect(200)?;
    world.huawei.push_http2_with_trailers(&url, "{}".into(), trailers).await?.expect(400)?;
    world.callbacks(2).await?;
    world.settled_calls(2).await?;
    world.ends_well().await
}

/// For HTTP/2 Envoy has other limits to what it buffers than for HTTP/1.1.
async fn p2_the_largest_push_and_the_largest_answer_pass_over_http2(mode: HeadersMode) -> Result<()> {
    let world = World::with("http2-large", mode, &[], |options| options.change(Configuration::http2_as_well)).await?;
    let mut binding = demo::binding();
    binding.bind_response = Some(Private::new(json!({"resultdesc": "x".repeat(2_000)}).to_string()));
    world.store.register(demo::SUBSCRIPTION_ID, &binding).await?;
    let mut calls = cdrs(17, 50);
    for call in &mut calls {
        // As long as Huawei says it may be.
        call.record_file_download_url =
            Some(Private::new(format!("https://recordings.example.com/{}", "x".repeat(993))));
    }
    let body = push_body(&calls)?;
    ensure!(body.len() > 90_000, "{} bytes", body.len());
    let answer = world.huawei.push_http2_with_trailers(&world.gateway.url(), body.into(), HeaderMap::new()).await?;
    answer.expect(200)?;
    world.callbacks(50).await?;
    world.settled_calls(50).await?;
    let missed = world.gateway.statistics().await?.filter("privatenumber_claims_missed_total");
    ensure!(missed == 0, "the root had to ask again");
    world.ends_well().await
}

async fn p4_too_many_pending_calls_are_answered_503(mode: HeadersMode) -> Result<()> {
    let world = World::with_business(
        "busy",
        mode,
        &[],
        |business| business.timeout_ms = 3_000,
        |options| {
            options.change(|configuration| {
                configuration.plugin()?["limits"] = json!({"pending_calls": 50});
                Ok(())
            })
        },
    )
    .await?;
    world.business.behave(&Temper { mode: Mode::Hang, ..Temper::default() }).await?;
    let calls = cdrs(16, 51);
    world.push(&calls[..50]).await?;
    let answer = world.huawei.push_cdrs(&world.gateway.url(), &calls[50..]).await?.expect(503)?;
    ensure!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    world.settled_calls(50).await?;
    world.business.behave(&Temper::default()).await?;
    harness::wait::until("room for another push", crate::world::PATIENCE, async || {
        world.huawei.push_cdrs(&world.gateway.url(), &calls[50..]).await?.expect(200)
    })
    .await?;
    world.settled_calls(51).await?;
    world.ends_well().await
}

async fn a_body_over_the_limit_is_answered_413_however_it_comes(mode: HeadersMode) -> Result<()> {
    let world = World::start("too-large", mode).await?;
    let limit = Configuration::shipped()?.max_body_bytes()?;
    let large = vec![b' '; limit + 1];
    let (status, json) = push_with(&world, &[], &large).await?;
    ensure!(status == 413 && json["reason"] == format!("the body is larger than {limit} bytes"), "{status} {json}");

    // Without a length the size is known only when it has come.
    let head = world.huawei.head()?.header("transfer-encoding", "chunked");
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(head.end()).await?;
    for piece in large.chunks(65_536) {
        if connection.send(chunk(piece)).await.is_err() {
            break;
        }
    }
    let _ = connection.send(last_chunk(&[])).await;
    ensure!(connection.answer().await?.status == 413);

    // The largest body that is allowed is read to its end.
    let mut body = push_body(&cdrs(17, 1))?;
    body.resize(limit, b' ');
    let (status, json) = push_with(&world, &[("content-type", JSON.as_bytes())], &body).await?;
    ensure!(status == 200, "{status} {json}");
    world.settled_calls(1).await?;
    world.ends_well().await
}

/// An operator has changed `push_path` and forgotten the route, or the other way round.
async fn a_route_that_is_not_the_push_path_lets_nobody_in(mode: HeadersMode) -> Result<()> {
    let world = World::with("forgotten-route", mode, &[], |options| {
        options.change(|configuration| {
            configuration.plugin()?["push_path"] = json!("/huawei/other");
            Ok(())
        })
    })
    .await?;
    let body = push_body(&cdrs(18, 1))?;
    let mut headers = world.huawei.headers()?;
    headers.push(("privatenumber-authenticated".to_owned(), "true".to_owned()));
    // The route of envoy.yaml answers by itself; the one for `pass` asks for what only the filter can say.
    let forgotten = if mode == HeadersMode::Hold { 503 } else { 404 };
    for (path, status) in [("/huawei/fee", forgotten), ("/v1/pushes", 404), ("/v1/calls", 404)] {
        let url = format!("http://{}{path}", world.gateway.address());
        http::send(Method::POST, &url, &headers, body.clone()).await?.expect(status)?;
    }
    ensure!(requests_at_the_store(&world).await? == 0, "something got to the store");
    world.no_vm_trapped().await
}
