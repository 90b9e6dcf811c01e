//! The store itself, reached by somebody who should not reach it: bounded memory, clear errors, and everybody else is served.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::memory::Resident;
use harness::raw::{Connection, Head};
use harness::stack::Stack;
use harness::store::Store;
use harness::{http, open_files};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use privatenumber_contract::{CallReport, PROBLEM_CONTENT_TYPE, Private, Push, PushId, paths};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::PATIENCE;

/// A store with these flags.
async fn start(name: &str, flags: &[&str]) -> Result<Store> {
    Stack::fresh(name)?.store().arguments(flags).start().await
}

async fn post(store: &Store, path: &str, body: impl Into<Bytes>) -> Result<(u16, Value)> {
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let answer = http::send(Method::POST, &store.url(path), &json, body).await?;
    if !answer.status.is_success() {
        let kind = answer.headers.get("content-type").context("an error without a content type")?;
        ensure!(kind == PROBLEM_CONTENT_TYPE, "an error that is no problem document: {kind:?}");
    }
    Ok((answer.status.as_u16(), answer.json()?))
}

/// Resident memory of the store's process, KiB.
fn resident_kib(store: &mut Store) -> Result<u64> {
    Ok(Resident::of(store.process().pid())?.now / 1024)
}

const HEX: &str = "000102030405060708090a0b0c0d0eff";

#[tokio::test]
async fn each_malformed_request_is_a_problem_that_says_where() -> Result<()> {
    let mut store = start("hostile-store-requests", &["--body-bytes", "100000"]).await?;
    let push = |member: &str| format!(r#"{{"pushId":"{HEX}","appKey":"a","receivedAt":1,{member}}}"#);
    let outcome = |outcome: &str| {
        format!(r#"{{"outcomes":[{{"callId":"c","pushId":"{HEX}","outcome":{outcome},"durationMs":1}}]}}"#)
    };
    let deep = format!("{}{}", "[".repeat(40_000), "]".repeat(40_000));
    let table: Vec<(&str, String, u16, &str)> = vec![
        (paths::PUSHES, String::new(), 400, "the JSON ends too early"),
        (paths::PUSHES, "[".repeat(90_000), 400, "the JSON ends too early"),
        (paths::PUSHES, "{\"a\":".repeat(15_000), 400, "the JSON ends too early"),
        (paths::PUSHES, "[]".to_owned(), 422, ""),
        (paths::PUSHES, "null".to_owned(), 422, ""),
        (paths::PUSHES, "{}".to_owned(), 422, "the member `pushId` is missing"),
        (paths::PUSHES, r#"{"pushId":7}"#.to_owned(), 422, "`pushId`"),
        (paths::PUSHES, r#"{"pushId":"'; DROP TABLE calls; --"}"#.to_owned(), 422, "a push id is 32 lower-case hex"),
        (paths::PUSHES, push(r#""calls":{}"#), 422, "`calls`"),
        (paths::PUSHES, push(r#""calls":[null]"#), 422, "`calls[0]`"),
        (paths::PUSHES, push(r#""calls":[{}]"#), 422, "`calls[0]`: the member `appKey` is missing"),
        (paths::PUSHES, push(r#""parked":[{"reason":1}]"#), 422, "`parked[0].reason`"),
        (paths::PUSHES, push(r#""event":[]"#), 422, "`event`"),
        (paths::PUSHES, push(r#""receivedAt":2"#), 422, "there twice"),
        (paths::PUSHES, push(&format!(r#""parked":{deep}"#)), 422, "`parked"),
        (paths::PUSHES, push(&format!(r#""more":{deep}"#)), 200, ""),
        (paths::PUSHES, "x".repeat(100_001), 413, "the body may have 100000 bytes"),
        (paths::OUTCOMES, "{}".to_owned(), 422, "the member `outcomes` is missing"),
        (paths::OUTCOMES, outcome(r#"{"class":"+8617010000099"}"#), 422, "`outcomes[0]"),
        (paths::OUTCOMES, outcome(r#"{"class":"answered","status":70000}"#), 422, "`outcomes[0]"),
        (paths::OUTCOMES, outcome(r#"{"class":"answered","status":-1}"#), 422, "`outcomes[0]"),
        (paths::OUTCOMES, outcome("[]"), 422, "`outcomes[0]"),
        (paths::OUTCOMES, outcome(r#"{"class":"answered","status":200}"#), 200, ""),
    ];
    for (path, body, status, words) in table {
        let shown: String = body.chars().take(60).collect();
        let (found, answer) = post(&store, path, body).await.with_context(|| shown.clone())?;
        ensure!(found == status, "{shown}: {found} {answer}");
        let detail = answer["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(words), "{shown}: {detail}");
        ensure!(!answer.to_string().contains("17010000") && !answer.to_string().contains("DROP"), "{answer}");
    }
    for query in [
        "state=%27%20OR%201=1",
        "limit=0",
        "limit=-1",
        "limit=99999999999999999999",
        "cursor=%27%3B%20DROP%20TABLE%20calls",
        "ak=a&ak=b",
        "%27=1",
    ] {
        let answer = http::get(&store.url(&format!("{}?{query}", paths::CALLS))).await?;
        ensure!(answer.status == 400, "{query}: {} {}", answer.status, answer.text());
        ensure!(!answer.text().contains("DROP"), "{query}: {}", answer.text());
    }
    for path in ["/v1/calls/'%20OR%201=1", "/v1/calls/%00", "/v1/calls/..%2f..%2fetc%2fpasswd", "/v1/%2e%2e/metrics"] {
        let status = http::get(&store.url(path)).await?.status.as_u16();
        ensure!(matches!(status, 400 | 404), "{path}: {status}");
    }
    ensure!(store.process().terminate(PATIENCE).await?.success());
    Ok(())
}

#[tokio::test]
async fn text_that_looks_like_sql_is_text() -> Result<()> {
    let store = start("hostile-store-sql", &[]).await?;
    let texts =
        ["'; DROP TABLE calls; --", "\" OR \"\"=\"", "\\'; --", "%' OR '1'='1", "$1 ?1 :a @b", "\u{1}\u{7f}\u{202e}"];
    let calls: Vec<_> = texts.iter().map(|text| call(text)).collect();
    let push_id: PushId = HEX.parse().map_err(|_| anyhow::anyhow!("a push id"))?;
    let push = Push {
        push_id,
        app_key: texts[0].into(),
        received_at: 1,
        age_ms: None,
        application: None,
        signature: None,
        calls,
        parked: Vec::new(),
        event: None,
    };
    let (status, answer) = post(&store, paths::PUSHES, serde_json::to_vec(&push)?).await?;
    ensure!(status == 200, "{status} {answer}");
    for (index, text) in texts.iter().enumerate() {
        let id = push.calls[index].key().id();
        let view: Value = http::get(&store.url(&format!("{}/{id}", paths::CALLS))).await?.expect(200)?.json()?;
        ensure!(view["record"]["userData"] == *text && view["appKey"] == *text, "{view}");
    }
    let page: Value = http::get(&store.url(paths::CALLS)).await?.expect(200)?.json()?;
    ensure!(page["calls"].as_array().is_some_and(|calls| calls.len() == texts.len()), "{page}");
    Ok(())
}

fn call(text: &str) -> CallReport<'_> {
    CallReport {
        app_key: text.into(),
        session_id: Private::new(text.into()),
        icid: text.into(),
        claim_deadline: i64::MAX,
        callin_time: Some(i64::MIN),
        answer_time: None,
        disconnect_time: Some(i64::MAX),
        record_url: Some(Private::new(text.into())),
        subscription_id: Some(text.into()),
        private_num: Some(Private::new(text.into())),
        orig_num: Some(Private::new(text.into())),
        user_data: Some(Private::new(text.into())),
        ak: Some(text.into()),
        record_flag: None,
        ttl_ms: None,
        cdr: None,
        warnings: Vec::new(),
    }
}

/// A thousand connections, most of them with half a body that never ends, some with half a head.
#[tokio::test]
async fn p4_a_thousand_connections_that_never_end_cost_bounded_memory_and_keep_nobody_out() -> Result<()> {
    const BUFFER: usize = 16 * 1024 * 1024;
    open_files::allow(4096)?;
    let buffer = BUFFER.to_string();
    let flags = ["--connections", "1100", "--buffer-bytes", &buffer, "--body-timeout", "20", "--header-timeout", "20"];
    let mut store = start("hostile-store-connections", &flags).await?;
    let before = resident_kib(&mut store)?;
    let half = vec![b' '; 300_000];
    let mut connections = Vec::new();
    for index in 0..1_000 {
        let mut connection = Connection::open(store.address()).await.with_context(|| format!("connection {index}"))?;
        let head = Head::post(paths::PUSHES).header("host", "store").header("content-type", "application/json");
        let head = head.header("content-length", "600000");
        if index % 10 == 0 {
            connection.send(b"POST /v1/pushes HTTP/1.1\r\nhost: st").await?;
        } else {
            connection.send(head.end()).await?;
            // Beyond its budget the store answers 503 and closes, before all of this is read.
            let _ = connection.send(&half).await;
        }
        connections.push(connection);
    }
    let answer = http::get(&store.url(paths::HEALTH)).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    let calls = http::get(&store.url(paths::CALLS)).await?;
    ensure!(calls.status == 200, "{}", calls.status);
    let during = resident_kib(&mut store)?;
    // The budget of all bodies, and for each connection its buffers. Of halves 270 MB were sent.
    let bound = before + (BUFFER as u64) / 1024 + 1_000 * 96;
    ensure!(during < bound, "resident {during} KiB with 1000 connections, {before} KiB before them; bound {bound}");
    println!("resident: {before} KiB before, {during} KiB with 1000 connections");

    let mut overloaded = 0;
    for connection in connections.iter_mut().rev().take(20) {
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(1), connection.answer()).await {
            ensure!(answer.status == 503, "{}", answer.status);
            overloaded += 1;
        }
    }
    ensure!(overloaded > 0, "nobody was told that requests together hold too much");
    drop(connections);
    let push = json!({"pushId": HEX, "appKey": "a", "receivedAt": 1}).to_string();
    let served = harness::wait::until("room for a push", PATIENCE, async || {
        let (status, _) = post(&store, paths::PUSHES, push.clone()).await?;
        ensure!(status == 200, "{status}");
        Ok(())
    });
    served.await
}

/// Half of a body, and then nothing, for ever.
struct Half(Option<Bytes>);

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0
            .take()
            .map_or(std::task::Poll::Pending, |half| std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(half)))))
    }
}

/// Over HTTP/2 one connection can hold many such bodies.
#[tokio::test]
async fn p4_thousands_of_streams_that_never_end_cost_bounded_memory_and_keep_nobody_out() -> Result<()> {
    const BUFFER: usize = 16 * 1024 * 1024;
    const CONNECTIONS: u64 = 50;
    /// As many as the store takes on one connection.
    const STREAMS: u64 = 100;
    let buffer = BUFFER.to_string();
    let mut store = start("hostile-store-streams", &["--buffer-bytes", &buffer, "--body-timeout", "20"]).await?;
    let before = resident_kib(&mut store)?;
    let half = Bytes::from(vec![b' '; 300_000]);
    let mut under_way = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(store.address()).await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await?;
        under_way.spawn(async move { connection.await.err().and(None::<u16>) });
        for _ in 0..STREAMS {
            let request = Request::post(store.url(paths::PUSHES)).header("content-type", "application/json");
            let request = request.header("content-length", "600000").body(Half(Some(half.clone())))?;
            sender.ready().await?;
            let answer = sender.send_request(request);
            // Kept alive by its task.
            let sender = sender.clone();
            under_way.spawn(async move {
                let answer = answer.await;
                drop(sender);
                answer.ok().map(|answer| answer.status().as_u16())
            });
        }
    }
    let overloaded = async {
        let mut overloaded = 0;
        while overloaded < 1_000 {
            let status = under_way.join_next().await.context("all streams ended")??;
            ensure!(matches!(status, None | Some(503)), "{status:?}");
            overloaded += usize::from(status.is_some());
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, overloaded)
        .await
        .context("nobody was told that requests together hold too much")??;
    let calls = http::get(&store.url(paths::CALLS)).await?;
    ensure!(calls.status == 200, "{}", calls.status);
    let during = resident_kib(&mut store)?;
    // The budget of all bodies, each connection's window and each request. Of halves 1500 MB were to be sent.
    let bound = before + (BUFFER as u64) / 1024 + CONNECTIONS * (64 + STREAMS * 8);
    println!("resident: {before} KiB before, {during} KiB with 5000 streams");
    ensure!(during < bound, "resident {during} KiB with 5000 streams, {before} KiB before them; bound {bound}");
    Ok(())
}
