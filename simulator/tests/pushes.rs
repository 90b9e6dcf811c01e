//! Pushes against a local server that answers well, badly or not at all. The library's own business is that server: it
//! shows every request it got.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use privatenumber_contract::Private;
use privatenumber_sim::business::{Business, Mode, Temper};
use privatenumber_sim::clock;
use privatenumber_sim::huawei::{
    CallGenerator, CallSettings, Push, PushSettings, Pusher, RetrySchedule, Scheme, Signer, Summary,
};

const PATIENCE: Duration = Duration::from_secs(10);

async fn gateway(temper: Temper) -> Business {
    Business::start("127.0.0.1:0", temper).await.unwrap()
}

/// Short connections, Huawei's schedule 6000 times as fast: 10 ms to 3 s.
fn settings(url: &str) -> PushSettings {
    let secret = Private::from("fictitious-app-secret-0001");
    let signer = Signer::new(Scheme::Aksk, "demoAppKey000000000000000001", &secret).unwrap();
    let target = format!("{url}/huawei/fee").parse().unwrap();
    PushSettings { retries: RetrySchedule::faster(6000.0), ..PushSettings::new(target, signer) }
}

fn pushes(number: usize, batch: usize) -> Vec<Push> {
    let mut calls = CallGenerator::new(CallSettings::default());
    (0..number).map(|_| Push::of(&calls.by_ref().take(batch).collect::<Vec<_>>()).unwrap()).collect()
}

async fn run(settings: PushSettings, pushes: Vec<Push>) -> (Arc<Pusher>, Summary) {
    let pusher = Pusher::new(settings);
    tokio::time::timeout(PATIENCE, pusher.run(pushes)).await.expect("the run ends").unwrap();
    let summary = pusher.tally().summary(Duration::ZERO);
    (pusher, summary)
}

fn answers(summary: &Summary) -> Vec<(&str, u64)> {
    summary.answers.iter().map(|(answer, count)| (answer.as_str(), *count)).collect()
}

#[tokio::test]
async fn pushes_arrive_whole_each_signed_anew_on_a_connection_of_its_own() {
    let gateway = gateway(Temper::default()).await;
    let sent = pushes(5, 20);
    let (_, summary) = run(settings(&gateway.url()), sent.clone()).await;
    assert_eq!((summary.pushes, summary.cdrs, summary.attempts, summary.accepted), (5, 100, 5, 5));
    assert_eq!(answers(&summary), [("200", 5)]);
    let received = gateway.callbacks();
    let mut nonces = Vec::new();
    for request in &received {
        assert!(sent.iter().any(|push| push.body == request.body));
        assert_eq!(request.path, "/huawei/fee");
        assert_eq!(request.header("content-type"), Some("application/json;charset=UTF-8"));
        assert_eq!(request.header("connection"), Some("close"));
        nonces.push(request.header("x-aksk").unwrap().split('"').nth(5).unwrap().to_owned());
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 5);
}

#[tokio::test]
async fn a_push_not_answered_200_is_repeated_six_times_on_huaweis_schedule() {
    // 204 is a success of HTTP, but not to Huawei.
    let gateway = gateway(Temper { status: Some(204), ..Temper::default() }).await;
    let started = clock::epoch_millis();
    let (pusher, summary) = run(settings(&gateway.url()), pushes(1, 1)).await;
    assert_eq!((summary.attempts, summary.accepted, summary.given_up), (7, 0, 1));
    assert_eq!(answers(&summary), [("204", 7)]);
    assert_eq!(pusher.tally().last_answer().unwrap().0, 204);
    let received = gateway.callbacks();
    for (request, due) in received.iter().zip([0, 10, 40, 90, 1060, 2030, 3000]) {
        let late = request.received_at - started - due;
        assert!((0..2000).contains(&late), "due {due} ms after the first, came {late} ms late");
        assert_eq!(request.body, received[0].body);
    }
}

#[tokio::test]
async fn repetition_ends_with_the_first_200() {
    let gateway = gateway(Temper { status: Some(503), ..Temper::of(Mode::Error) }).await;
    let address = gateway.url();
    let pushing = tokio::spawn(async move { run(settings(&address), pushes(3, 1)).await.1 });
    assert!(gateway.received(9, PATIENCE).await);
    gateway.set_temper(Temper::default()).unwrap();
    let summary = pushing.await.unwrap();
    assert_eq!((summary.accepted, summary.given_up), (3, 0));
    assert_eq!(summary.answers.get("200"), Some(&3));
    assert!(summary.answers.get("503").is_some_and(|refused| *refused >= 9));
}

#[tokio::test]
async fn every_way_of_not_answering_is_told_apart() {
    let gateway = gateway(Temper::default()).await;
    for (mode, answer) in [
        (Mode::Hang, "time-out"),
        (Mode::Reset, "connection lost"),
        (Mode::Close, "connection lost"),
        (Mode::Truncate, "connection lost"),
        (Mode::HalfHeaders, "connection lost"),
    ] {
        gateway.set_temper(Temper::of(mode)).unwrap();
        let timeout = if mode == Mode::Hang { Duration::from_millis(200) } else { PATIENCE };
        let settings = PushSettings { retries: None, timeout, ..settings(&gateway.url()) };
        let (_, summary) = run(settings, pushes(1, 1)).await;
        assert_eq!((answers(&summary), summary.given_up), (vec![(answer, 1)], 1), "{mode}");
        assert_eq!(summary.latency, None);
    }
    let address = gateway.url();
    gateway.stop().await;
    let (_, summary) = run(PushSettings { retries: None, ..settings(&address) }, pushes(1, 1)).await;
    assert_eq!(answers(&summary), [("no connection", 1)]);
}

#[tokio::test]
async fn a_share_of_the_pushes_is_sent_twice() {
    let gateway = gateway(Temper::default()).await;
    let settings = PushSettings { duplicates: 1.0, keep_alive: true, ..settings(&gateway.url()) };
    let (_, summary) = run(settings, pushes(10, 2)).await;
    assert_eq!((summary.pushes, summary.copies, summary.cdrs, summary.accepted), (20, 10, 20, 20));
    let mut bodies: Vec<_> = gateway.callbacks().iter().map(|request| request.body.clone()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 10);
}

#[tokio::test]
async fn a_fixed_rate_is_kept_whatever_the_answers_take() {
    let gateway = gateway(Temper { delay_ms: 300, ..Temper::default() }).await;
    let settings = PushSettings { rate: Some(100.0), concurrency: 50, ..settings(&gateway.url()) };
    let started = clock::epoch_millis();
    let (_, summary) = run(settings, pushes(30, 1)).await;
    assert_eq!(summary.accepted, 30);
    assert!(summary.latency.is_some_and(|latency| latency.p50_ms >= 300.0));
    let received = gateway.callbacks();
    let span = received[29].received_at - started;
    assert!((290..5000).contains(&span), "one after the other they would take 9000 ms; these took {span} ms");
}

#[tokio::test]
async fn kept_connections_are_used_again_and_replaced_when_they_break() {
    let gateway = gateway(Temper::default()).await;
    let address = gateway.address();
    let pusher = Pusher::new(PushSettings { keep_alive: true, concurrency: 1, ..settings(&gateway.url()) });
    pusher.run(pushes(20, 1)).await.unwrap();
    assert!(gateway.callbacks().iter().all(|request| request.header("connection").is_none()));
    gateway.stop().await;
    let gateway = Business::start(address, Temper::default()).await.unwrap();
    pusher.run(pushes(5, 1)).await.unwrap();
    assert_eq!(gateway.counts().total, 5);
    assert_eq!(pusher.tally().summary(Duration::ZERO).accepted, 25);
}

#[tokio::test]
async fn p8_a_pusher_that_hangs_up_comes_back_and_waits_for_the_answer() {
    let gateway = gateway(Temper { delay_ms: 200, ..Temper::default() }).await;
    let settings = PushSettings { abandon_after: Some(Duration::from_millis(20)), ..settings(&gateway.url()) };
    let (_, summary) = run(settings, pushes(1, 1)).await;
    assert_eq!(answers(&summary), [("200", 1), ("abandoned", 1)]);
    let received = gateway.callbacks();
    assert_eq!(received.len(), 2, "the abandoned push was sent in full");
    assert_eq!(received[0].body, received[1].body);
}
