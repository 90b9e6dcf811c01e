//! Keeps the fixtures what the simulator pushes and the real store answers.
//!
//! `UPDATE_FIXTURES=1 cargo test -p core-bench --test fixtures` writes them anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use core_bench::input::{AK, ARRIVAL, COMMITTED, PUSH_ID, SIZES, Setting};
use http_body_util::BodyExt as _;
use private_number_gateway::dispatcher::{Dispatcher, HttpAnswer};
use private_number_gateway::exchange::{AtEnd, AtHeaders, Exchange};
use private_number_gateway::now::Now;
use privatenumber_contract::{Binding, Private, paths};
use privatenumber_sim::clock::created_time;
use privatenumber_sim::huawei::{CallGenerator, CallSettings, Cdr, Scheme, Signer, Stamp, push_body};
use privatenumber_store::clock::Clock;
use privatenumber_store::database::Database;
use privatenumber_store::http::body::BodyLimits;
use privatenumber_store::http::{App, router};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::Writer;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

const SUBSCRIPTION: &str = "11111111-2222-4333-8444-555555555501";
const USER_DATA: &str = "1499268874687315968";

/// Compares a fixture with what it should be; writes it when asked to.
fn check(name: &str, expected: &[u8]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, expected)?;
    }
    ensure!(
        fs::read(&path).unwrap_or_default() == expected,
        "{} is out of date; run: UPDATE_FIXTURES=1 cargo test -p core-bench --test fixtures",
        path.display()
    );
    Ok(())
}

/// Answered and recorded calls over one binding, all different.
fn cdrs(count: usize) -> Vec<Cdr> {
    let settings =
        CallSettings { seed: 1, user_data: Some(USER_DATA.into()), answered_share: 1.0, ..CallSettings::default() };
    CallGenerator::new(settings).filter(|cdr| cdr.record_flag == 1).take(count).collect()
}

fn signed(scheme: Scheme) -> Result<Vec<(&'static str, String)>> {
    let secret = Private::from("fictitious-app-secret-0001");
    let signer = Signer::new(scheme, "demoAppKey000000000000000001", &secret)?;
    let stamp = Stamp::fresh()?.with_nonce("00112233445566778899AABBCCDDEEFF")?;
    let stamp = stamp.with_created(&created_time(ARRIVAL.wall_ms / 1_000))?;
    Ok(signer.headers(&stamp).to_vec())
}

/// A binding as a binding service registers it, with nothing left out.
fn binding() -> Binding {
    Binding {
        id: Some(1),
        ak: Some(AK.to_owned()),
        orig_num: Some("+8617010000011".into()),
        private_num: Some("+8617010000001".into()),
        record_flag: Some(true),
        record_hint_tone: Some("recordHintTone.wav".to_owned()),
        max_duration: Some(60),
        last_min_voice: Some("lastMinVoice.wav".to_owned()),
        user_data: Some(USER_DATA.into()),
        call_direction: Some(0),
        subscription_id: Some(SUBSCRIPTION.to_owned()),
        status: Some(1),
        business_type: None,
        bind_response: Some(
            format!(
                r#"{{"origNum":"+8617010000011","resultcode":"0","subscriptionId":"{SUBSCRIPTION}","privateNum":"+8617010000001","resultdesc":"Success"}}"#
            )
            .as_str()
            .into(),
        ),
        unbind_response: None,
        binding_duration: Some(5),
        bind_time: Some(1_767_578_000_000),
        unbind_time: None,
        created_at: Some(1_767_578_000_000),
        remark: None,
    }
}

/// The real store, in memory, at [`ARRIVAL`].
async fn store() -> Result<Router> {
    let database = Database::open_in_memory().await?;
    let clock = Clock::new(|| ARRIVAL.wall_ms);
    let metrics = Arc::new(Metrics::default());
    let (writer, _task) = Writer::start(database.clone(), clock.clone(), Arc::clone(&metrics), 10_000);
    let body_limits =
        BodyLimits { bytes: 4 << 20, time: Duration::from_secs(60), budget: Arc::new(Semaphore::new(64 << 20)) };
    Ok(router(Arc::new(App {
        database,
        writer,
        clock,
        metrics,
        body_limits,
        ready_timeout: Duration::from_secs(60),
        token: None,
        room: Semaphore::new(8_192),
        stopping: AtomicBool::new(false),
    })))
}

/// The body and the committed push of the store's answer, which must be a success.
async fn ask(store: &Router, method: &str, path: &str, body: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let response = store.clone().oneshot(request.body(Body::from(body.to_vec()))?).await?;
    ensure!(response.status().is_success(), "{method} {path}: {}", response.status());
    let committed = response.headers().get(paths::COMMITTED_HEADER).map(|value| value.as_bytes().to_vec());
    Ok((response.into_body().collect().await?.to_bytes().to_vec(), committed))
}

#[test]
fn the_headers_are_signed_by_the_simulator() -> Result<()> {
    for (name, scheme) in [("headers-aksk.txt", Scheme::Aksk), ("headers-wsse.txt", Scheme::Wsse)] {
        let lines: String = signed(scheme)?.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        check(name, lines.as_bytes())?;
    }
    Ok(())
}

#[tokio::test]
async fn pushes_are_the_simulators_and_answers_the_stores() -> Result<()> {
    for size in SIZES {
        let body = push_body(&cdrs(size))?;
        check(&format!("push-{size}.json"), &body)?;

        let store = store().await?;
        let registered = serde_json::to_vec(&binding())?;
        ask(&store, "PUT", &format!("{}/{SUBSCRIPTION}", paths::BINDINGS), &registered).await?;

        let config = Setting::SHIPPED.config()?;
        let (mut dispatcher, mut exchange) = (Dispatcher::new(config.clone()), Exchange::default());
        let pseudo = [(":method", "POST".to_owned()), (":path", "/huawei/fee".to_owned())];
        let headers: Vec<_> = pseudo
            .into_iter()
            .chain(signed(Scheme::Aksk)?)
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect();
        let decision = exchange.request_headers(&config, &mut dispatcher, &headers, false, ARRIVAL);
        assert!(matches!(decision, AtHeaders::ReadBody(_)), "{decision:?}");
        let AtEnd::Forward(request) = exchange.request_end(&config, &mut dispatcher, &body, PUSH_ID, ARRIVAL) else {
            panic!("the push does not go on to the store");
        };
        let (claims, committed) = ask(&store, "POST", paths::PUSHES, request).await?;
        assert_eq!(committed.as_deref(), Some(COMMITTED));
        check(&format!("claims-{size}.json"), &claims)?;

        let _ = exchange.response_headers(&mut dispatcher, Some(200), None, Some(COMMITTED), false, ARRIVAL);
        let _ = exchange.response_end(&mut dispatcher, &claims, ARRIVAL);
        for token in 0..u32::try_from(size)? {
            let departure = dispatcher.poll(ARRIVAL).expect("a callback for each call");
            dispatcher.sent(departure.ticket, token, ARRIVAL);
            let answer =
                HttpAnswer { status: Some(200), from_upstream: true, content_type: None, committed: None, body: b"" };
            dispatcher.answered(token, &answer, ARRIVAL);
        }
        let later = Now { monotonic_ms: ARRIVAL.monotonic_ms + config.store.outcome_batch_delay_ms, ..ARRIVAL };
        let departure = dispatcher.poll(later).expect("a batch of outcomes");
        let (receipt, _) = ask(&store, "POST", paths::OUTCOMES, departure.body()).await?;
        check(&format!("receipt-{size}.json"), &receipt)?;
    }
    Ok(())
}
