//! The same store over HTTP/2, for gateways that save connections: what HTTP/1.1 promises holds here too.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, PUSH_2, call, push};

/// What a client of HTTP/2 says first: who it is, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn p1_one_connection_carries_many_pushes_and_each_claim_is_granted_once() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&directory.path().join("store.sqlite3"), &["--connections", "1"]).await.by_http2();
    // More at a time than a connection takes: the others wait their turn.
    let sessions: Vec<_> = (0..300).map(|number| format!("s{number}")).collect();
    let all_at_once = |push_id| join_all(sessions.iter().map(|session| process.push(push_id, session)));
    let first = timeout(PATIENCE, all_at_once(PUSH_1)).await.unwrap();
    assert!(first.iter().all(|claim| claim["verdict"] == "claimed"), "{first:?}");
    let second = timeout(PATIENCE, all_at_once(PUSH_2)).await.unwrap();
    assert!(second.iter().all(|claim| claim["verdict"] == "duplicate"), "{second:?}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_and_does_not_keep_others_out() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--connections", "1", "--header-timeout", "0.2", "--busy-timeout", "0.1"];
    let process = Process::start(&directory.path().join("store.sqlite3"), &flags).await;
    for beginning in [&b""[..], b"PRI * HT", PREFACE] {
        let mut silent = TcpStream::connect(process.address).await.unwrap();
        silent.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        // However it is closed.
        let _ = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.unwrap();
    }
    assert_eq!(process.request("GET", "/readyz", &json!(null)).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    let stream = TcpStream::connect(process.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);

    let text = push(PUSH_1, vec![call("under way")]).to_string();
    let (beginning, rest) = text.split_at(20);
    let (go_on, wait) = oneshot::channel::<()>();
    let (beginning, rest) = (Bytes::from(beginning.to_owned()), Bytes::from(rest.to_owned()));
    let body = stream::unfold((Some(beginning), Some((wait, rest))), |(first, then)| async {
        if let Some(first) = first {
            return Some((Ok::<_, hyper::Error>(Frame::data(first)), (None, then)));
        }
        let (wait, rest) = then?;
        wait.await.ok()?;
        Some((Ok(Frame::data(rest)), (None, None)))
    });
    let request = hyper::Request::post(format!("http://{}/v1/pushes", process.address));
    let request = request.header("content-type", "application/json").body(StreamBody::new(Box::pin(body))).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    // Once another connection is served, the first one was accepted before it.
    process.request("GET", "/healthz", &json!(null)).await.unwrap();
    process.signal("-TERM");
    let refused = async {
        while TcpStream::connect(process.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    go_on.send(()).unwrap();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(answer["calls"][0]["verdict"], "claimed");
    let (code, log) = process.end().await;
    assert_eq!(code, Some(0), "{log}");
    let process = Process::start(&data, &[]).await;
    assert_eq!(process.push(PUSH_2, "under way").await["verdict"], "duplicate");
}
