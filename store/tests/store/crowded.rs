//! P4: clients that hold every connection, and those that still get their answer.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, call, push};

/// Few connections, and no timeout that would end the test for the store.
const FLAGS: [&str; 6] = ["--connections", "8", "--body-timeout", "600", "--header-timeout", "600"];

async fn start() -> (tempfile::TempDir, Process) {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&directory.path().join("store.sqlite3"), &FLAGS).await;
    (directory, process)
}

async fn connect(process: &Process, send: &str) -> TcpStream {
    let mut stream = timeout(PATIENCE, TcpStream::connect(process.address)).await.unwrap().unwrap();
    stream.write_all(send.as_bytes()).await.unwrap();
    stream
}

/// The head of a push with the start of its body.
fn begun(bytes: usize) -> String {
    format!(
        "POST /v1/pushes HTTP/1.1\r\nhost: store\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n{{"
    )
}

#[tokio::test]
async fn p4_stalled_bodies_never_take_every_connection() {
    let (_directory, process) = start().await;
    let mut stalled = Vec::new();
    for _ in 0..30 {
        stalled.push(connect(&process, &begun(100)).await);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(process.request("GET", path, &json!(null)).await.unwrap().0, 200, "{path}");
    }
    assert_eq!(process.push(PUSH_1, "whole").await["verdict"], "claimed");
    // The oldest gave way, and its client learns why.
    let mut answer = String::new();
    timeout(PATIENCE, stalled[0].read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("problem:overloaded"), "{answer}");
}

#[tokio::test]
async fn p4_a_slow_body_is_taken_while_there_is_room_for_it() {
    let (_directory, process) = start().await;
    let body = push(PUSH_1, vec![call("slow")]).to_string();
    let mut slow = connect(&process, &begun(body.len())).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    slow.write_all(&body.as_bytes()[1..]).await.unwrap();
    let mut answer = vec![0; 15];
    timeout(PATIENCE, slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn p4_idle_connections_make_room_for_those_that_wait() {
    for first in ["", "GET /healthz HTTP/1.1\r\nhost: store\r\n\r\n"] {
        let (_directory, process) = start().await;
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(connect(&process, first).await);
        }
        assert_eq!(process.push(PUSH_1, "session").await["verdict"], "claimed");
    }
}
