//! The same store over HTTP/2, for gateways that save connections: what HTTP/1.1 promises holds here too.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, PUSH_2, call, push};

/// What a client of HTTP/2 says first: who it is, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn p1_one_connection_carries_many_pushes_and_each_claim_is_granted_once() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&directory.path().join("store.sqlite3"), &[]).await.by_http2();
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
async fn p4_more_requests_than_there_is_room_for_are_refused_on_the_same_connection() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&directory.path().join("store.sqlite3"), &["--requests", "1"]).await;
    let mut connection = connect(process.address).await;
    let mut slow = ["a", "b"].map(|session| SlowPush::begin(&mut connection, session));
    // Which of them is first is the store's to say.
    let [a, b] = &mut slow;
    let (refused, admitted) = timeout(PATIENCE, async {
        tokio::select! {
            answer = &mut a.answer => (answer, 1),
            answer = &mut b.answer => (answer, 0),
        }
    })
    .await
    .unwrap();
    let refused = refused.unwrap().unwrap();
    assert_eq!(refused.status(), 503);
    let refused = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&refused).contains("raise --requests"), "{refused:?}");
    let admitted = slow.into_iter().nth(admitted).unwrap();
    assert_eq!(admitted.end().await["calls"][0]["verdict"], "claimed");
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    let mut connection = connect(process.address).await;
    let slow = SlowPush::begin(&mut connection, "under way");
    // Once another connection is served, the first one was accepted before it.
    process.request("GET", "/healthz", &json!(null)).await.unwrap();
    process.signal("-TERM");
    let refused = async {
        while TcpStream::connect(process.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(slow.end().await["calls"][0]["verdict"], "claimed");
    let (code, log) = process.end().await;
    assert_eq!(code, Some(0), "{log}");
    let process = Process::start(&data, &[]).await;
    assert_eq!(process.push(PUSH_2, "under way").await["verdict"], "duplicate");
}

async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A push of whose body half was sent.
struct SlowPush {
    go_on: oneshot::Sender<()>,
    answer: JoinHandle<hyper::Result<hyper::Response<hyper::body::Incoming>>>,
}

impl SlowPush {
    fn begin(connection: &mut SendRequest<Body>, session: &str) -> Self {
        let mut text = Bytes::from(push(PUSH_1, vec![call(session)]).to_string());
        let beginning = text.split_to(20);
        let (go_on, wait) = oneshot::channel();
        let request = hyper::Request::post("http://store/v1/pushes").header("content-type", "application/json");
        let request = request.body(Body { beginning: Some(beginning), rest: Some((wait, text)) }).unwrap();
        Self { go_on, answer: tokio::spawn(connection.send_request(request)) }
    }

    /// Sends the rest. Returns the answer.
    async fn end(self) -> Value {
        self.go_on.send(()).unwrap();
        let answer = timeout(PATIENCE, self.answer).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

/// A beginning and a rest that is sent once it is told to go on.
struct Body {
    beginning: Option<Bytes>,
    rest: Option<(oneshot::Receiver<()>, Bytes)>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = oneshot::error::RecvError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(beginning) = self.beginning.take() {
            return Poll::Ready(Some(Ok(Frame::data(beginning))));
        }
        let Some((wait, _)) = &mut self.rest else { return Poll::Ready(None) };
        let told = ready!(Pin::new(wait).poll(context));
        let rest = self.rest.take().map(|(_, rest)| Frame::data(rest));
        Poll::Ready(rest.map(|rest| told.map(|()| rest)))
    }
}
