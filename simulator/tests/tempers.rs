//! Each temper of the business as a plain socket sees it.

#![cfg(test)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use privatenumber_contract::Record;
use privatenumber_sim::business::{Business, Mode, Settings, Temper};
use privatenumber_sim::clock;
use privatenumber_sim::signature::{SigningSecret, sign};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

async fn business(temper: Temper) -> Business {
    Business::start("127.0.0.1:0", temper).await.unwrap()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: business\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn record() -> String {
    serde_json::to_string(&Record { session_id: Some("session".into()), ..Record::default() }).unwrap()
}

fn callback(webhook_id: &str) -> String {
    request("POST", "/callback", &format!("webhook-id: {webhook_id}\r\n"), &record())
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// What comes until the connection ends, and how it ends.
async fn until_end(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    (String::from_utf8(bytes).unwrap(), ended.err().map(|error| error.kind()))
}

/// Sends one request that asks for the connection to be closed; status and body of the answer.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let stream = connect(address, &request(method, path, "connection: close\r\n", body)).await;
    let (answer, error) = until_end(stream).await;
    assert_eq!(error, None);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn ask_json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(address, "GET", path, "").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_good_business_answers_on_a_connection_that_stays() {
    let business = business(Temper { status: Some(204), ..Temper::default() }).await;
    let mut stream = connect(business.address(), &callback("one")).await;
    for next in ["two", "three"] {
        let mut answer = [0; 256];
        let length = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 204 No Content\r\n"));
        stream.write_all(callback(next).as_bytes()).await.unwrap();
    }
    assert!(business.received(3, PATIENCE).await);
    assert_eq!(business.counts().calls, 3);
}

#[tokio::test]
async fn a_business_in_error_answers_with_the_status_told() {
    let business = business(Temper { status: Some(503), ..Temper::of(Mode::Error) }).await;
    assert_eq!(ask(business.address(), "POST", "/callback", &record()).await.0, 503);
    business.set_temper(Temper::of(Mode::Error)).unwrap();
    assert_eq!(ask(business.address(), "POST", "/callback", &record()).await.0, 500);
}

#[tokio::test]
async fn a_business_that_resets_closes_or_breaks_off_does_so_on_the_wire() {
    let business = business(Temper::default()).await;
    let full = r#"{"message":"the business got it"}"#;
    for (mode, begins, ends, error) in [
        (Mode::Reset, "", "", Some(ErrorKind::ConnectionReset)),
        (Mode::Close, "", "", None),
        (Mode::Truncate, "HTTP/1.1 200 OK\r\n", r#"{"message":"the "#, None),
        (Mode::HalfHeaders, "HTTP/1.1 200 OK\r\ncontent-type: ", "json", None),
        (Mode::SlowBody, "HTTP/1.1 200 OK\r\n", full, None),
    ] {
        business.set_temper(Temper { slow_body_ms: 2, ..Temper::of(mode) }).unwrap();
        let stream = connect(business.address(), &callback(&mode.to_string())).await;
        let (answer, ended) = until_end(stream).await;
        assert_eq!(ended, error, "{mode}");
        assert!(answer.starts_with(begins), "{mode}: {answer}");
        let finished = mode != Mode::HalfHeaders && !ends.is_empty();
        assert_eq!(answer.contains("\r\n\r\n"), finished, "{mode}: {answer}");
        assert!(!finished || answer.ends_with(ends), "{mode}: {answer}");
        assert!(!finished || answer.contains(&format!("content-length: {}\r\n", full.len())), "{mode}: {answer}");
    }
    assert_eq!(business.counts().calls, 5, "each was counted although it was not answered well");
}

#[tokio::test]
async fn a_business_that_hangs_says_nothing_for_as_long_as_told() {
    let business = business(Temper { hang_ms: 300, ..Temper::of(Mode::Hang) }).await;
    let started = Instant::now();
    let stream = connect(business.address(), &callback("one")).await;
    assert_eq!(until_end(stream).await, (String::new(), None));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_slow_business_waits_before_it_answers() {
    let business = business(Temper { delay_ms: 300, ..Temper::default() }).await;
    let started = Instant::now();
    assert_eq!(ask(business.address(), "POST", "/callback", &record()).await.0, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn p4_a_slow_business_holds_up_no_other() {
    let business = business(Temper::default()).await;
    business.set_temper_for("slow", Temper { delay_ms: 3_600_000, ..Temper::default() }).unwrap();
    let address = business.address();
    let slow = tokio::spawn(async move { ask(address, "POST", "/slow/callback", &record()).await });
    assert!(business.received(1, PATIENCE).await);
    assert_eq!(ask(address, "POST", "/quick/callback", &record()).await.0, 200);
    assert!(!slow.is_finished());
}

#[tokio::test]
async fn tempers_change_at_run_time_each_for_its_first_segment() {
    let business = business(Temper::default()).await;
    let address = business.address();
    let put = async |path: &str, body: &str| ask(address, "PUT", path, body).await;
    assert_eq!(put("/__control/temper", r#"{"mode":"error","status":502}"#).await.0, 200);
    assert_eq!(put("/__control/temper/business-a", r#"{"status":201}"#).await.0, 200);
    let statuses = async || {
        let a = ask(address, "POST", "/business-a/callback", &record()).await.0;
        (a, ask(address, "POST", "/business-b?a", &record()).await.0)
    };
    assert_eq!(statuses().await, (201, 502));
    let tempers = ask_json(address, "/__control/temper").await;
    assert_eq!(
        (&tempers["temper"]["status"], &tempers["by_segment"]["business-a"]["status"]),
        (&502.into(), &201.into())
    );
    assert_eq!(ask(address, "DELETE", "/__control/temper/business-a", "").await.0, 204);
    assert_eq!(statuses().await, (502, 502));
    for (path, body, words) in [
        ("/__control/temper", r#"{"mode":"angry"}"#, "slow-body"),
        ("/__control/temper", r#"{"status":99}"#, "status: 99"),
        ("/__control/temper/a/b", "{}", "first segment"),
        ("/__control/tempers", "{}", "/__control/counts"),
    ] {
        let (status, answer) = put(path, body).await;
        assert!((400..500).contains(&status) && answer.contains(words), "{path} {body}: {status} {answer}");
    }
    assert_eq!(statuses().await, (502, 502), "what was refused changed nothing");
}

#[tokio::test]
async fn a_share_of_the_callbacks_fails() {
    let business = business(Temper { fail_share: Some(0.5), ..Temper::default() }).await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(ask(business.address(), "POST", "/callback", &record()).await.0 == 500);
    }
    assert!((30..=70).contains(&failed), "{failed}");
}

#[tokio::test]
async fn callbacks_are_shown_and_counted_as_they_came() {
    let business = business(Temper::default()).await;
    let address = business.address();
    let id = "000102030405060708090a0b0c0d0eff";
    for (id, body) in [(id, record()), (id, record()), ("other", "{}".to_owned())] {
        let headers = format!("webhook-id: {id}\r\nconnection: close\r\nx-tenant: demo\r\n");
        until_end(connect(address, &request("POST", "/callback", &headers, &body)).await).await;
    }
    // One that is broken off in the middle counts as incomplete, not as a callback.
    let mut broken = connect(address, "POST /callback HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    broken.shutdown().await.unwrap();
    until_end(broken).await;

    let callbacks = ask_json(address, "/__control/callbacks").await;
    let callbacks = callbacks.as_array().unwrap();
    assert_eq!(callbacks.len(), 3);
    let first = &callbacks[0];
    assert_eq!((&first["number"], &first["webhook_id"], &first["path"]), (&1.into(), &id.into(), &"/callback".into()));
    assert_eq!((&first["record_valid"], &first["signature_valid"]), (&true.into(), &Value::Null));
    assert_eq!(first["body"], record());
    assert!(first["headers"].as_array().unwrap().contains(&serde_json::json!(["x-tenant", "demo"])));
    assert!((clock::epoch_millis() - first["received_at"].as_i64().unwrap()) < 60_000);
    assert_eq!(callbacks[2]["record_problem"], "member 1 should be `id`");
    assert_eq!(ask_json(address, "/__control/callbacks?since=2").await.as_array().unwrap().len(), 1);

    let counts = ask_json(address, "/__control/counts").await;
    let numbers = ["total", "calls", "repeated", "max_per_call", "sessions", "invalid_records", "incomplete"];
    assert_eq!(numbers.map(|name| counts[name].as_u64().unwrap()), [3, 2, 1, 2, 1, 1, 1]);
    assert_eq!(counts["by_webhook_id"][id], 2);
    assert_eq!(ask_json(address, "/__control/counts?by_webhook_id=false").await.get("by_webhook_id"), None);

    assert_eq!(ask(address, "DELETE", "/__control/callbacks", "").await.0, 204);
    assert_eq!(ask_json(address, "/__control/counts").await["total"], 0);
    assert_eq!(ask(address, "GET", "/callback", "").await.0, 405);
    assert_eq!(ask_json(address, "/__control/counts").await["total"], 0, "only POST is a callback");
}

#[tokio::test]
async fn signatures_are_checked_against_every_secret() {
    let secrets: Vec<SigningSecret> =
        ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
            .map(|text| text.parse().unwrap())
            .into();
    let settings = Settings { signing_secrets: secrets.clone(), ..Settings::default() };
    let business = Business::start_with("127.0.0.1:0", settings).await.unwrap();
    let now = clock::epoch_seconds();
    let right = sign(&secrets[1..], "one", now, record().as_bytes());
    let old = sign(&secrets, "one", now - 3600, record().as_bytes());
    for (timestamp, signature) in [(now, right.as_str()), (now, "v1,AAAA"), (now - 3600, &old), (now, "")] {
        let headers = format!(
            "connection: close\r\nwebhook-id: one\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n"
        );
        until_end(connect(business.address(), &request("POST", "/", &headers, &record())).await).await;
    }
    let valid: Vec<Option<bool>> = business.callbacks().iter().map(|callback| callback.signature_valid()).collect();
    assert_eq!(valid, [Some(true), Some(false), Some(false), Some(false)]);
    assert_eq!(business.counts().invalid_signatures, 3);
}

#[tokio::test]
async fn a_business_that_stops_frees_its_address_and_drops_its_connections() {
    let business = business(Temper::of(Mode::Hang)).await;
    let address = business.address();
    let hanging = connect(address, &callback("one")).await;
    assert!(business.received(1, PATIENCE).await);
    business.stop().await;
    until_end(hanging).await;
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let again = Business::start(address, Temper::default()).await.unwrap();
    assert_eq!(ask(again.address(), "POST", "/", &record()).await.0, 200);
}
