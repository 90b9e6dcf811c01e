//! Keeps the fixtures what the simulator pushes and the real store answers.
//!
//! `UPDATE_FIXTURES=1 cargo test -p core-bench --test fixtures` writes them anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use core_bench::input::{AK, ARRIVAL, COMMITTED, SHAPES, Setting, Shape, push_id};
use http_body_util::BodyExt as _;
use private_number_gateway::dispatcher::HttpAnswer;
use private_number_gateway::driver::{Action, Driver, Event, Sent};
use private_number_gateway::now::Now;
use privatenumber_contract::{Binding, Private, paths};
use privatenumber_sim::clock::created_time;
use privatenumber_sim::huawei::{CallGenerator, CallSettings, Cdr, Scheme, Signer, Stamp, push_body};
use privatenumber_store::clock::Clock;
use privatenumber_store::database::Database;
use privatenumber_store::http::body::BodyLimits;
use privatenumber_store::http::slow::SlowBodies;
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
    let clock = Clock::new(|| ARRIVAL.wall_ms, Duration::default);
    let metrics = Arc::new(Metrics::default());
    let (writer, _task) = Writer::start(database.clone(), clock.clone(), Arc::clone(&metrics), 10_000);
    let body_limits = BodyLimits {
        bytes: 4 << 20,
        time: Duration::from_secs(60),
        budget: Arc::new(Semaphore::new(64 << 20)),
        slow: Arc::new(SlowBodies::new(usize::MAX)),
    };
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

/// The filter, given these pushes at once.
struct Filter(Driver);

impl Filter {
    fn new(setting: Setting, pushes: &[Vec<u8>]) -> Result<(Self, Vec<Action>)> {
        let mut driver = Driver::new(setting.config()?, ARRIVAL, 0);
        // The first request of all draws when the worker asks for works: late. The pushes draw from 0 on.
        let mut next = u8::MAX;
        driver.draw(move || {
            let drawn = push_id(next);
            next = next.wrapping_add(1);
            Some(*drawn.as_bytes())
        });
        let pseudo = [(":method", "POST".to_owned()), (":path", "/huawei/fee".to_owned())];
        let headers = pseudo.into_iter().chain(signed(Scheme::Aksk)?);
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
        let mut actions = Vec::new();
        for (body, stream) in pushes.iter().zip(0..) {
            driver.step(stream, Event::RequestHeaders { headers: &headers, is_end: false });
            driver.step(stream, Event::RequestBody(body.len()));
            actions.push(driver.step(stream, Event::RequestEnd(body)));
        }
        Ok((Self(driver), actions))
    }

    /// What is sent next.
    fn sends(&mut self) -> Result<Vec<Sent>> {
        loop {
            let sent = self.0.take_sent();
            if !sent.is_empty() {
                return Ok(sent);
            }
            let at = self.0.time().context("the filter has nothing to do")?;
            self.0.set_now(Now { monotonic_ms: at, ..self.0.now() });
            self.0.drive();
        }
    }

    fn answer(&mut self, token: u32, body: &[u8]) {
        let answer = HttpAnswer { status: Some(200), from_upstream: true, content_type: None, committed: None, body };
        self.0.respond(token, &answer);
    }
}

/// A store that knows the calls' binding.
async fn store_with_binding() -> Result<Router> {
    let store = store().await?;
    let registered = serde_json::to_vec(&binding())?;
    ask(&store, "PUT", &format!("{}/{SUBSCRIPTION}", paths::BINDINGS), &registered).await?;
    Ok(store)
}

#[tokio::test]
async fn pushes_are_the_simulators_and_answers_the_stores() -> Result<()> {
    for Shape { size, pushes } in SHAPES {
        let (name, extension) =
            if pushes == 1 { (size.to_string(), "json") } else { (format!("{size}x{pushes}"), "jsonl") };
        let bodies = cdrs(size * pushes).chunks(size).map(push_body).collect::<Result<Vec<_>, _>>()?;
        check(&format!("push-{name}.{extension}"), &bodies.join(&b'\n'))?;

        let store = store_with_binding().await?;
        let (mut filter, _) = Filter::new(Setting::SHIPPED, &bodies)?;
        let [claims] = &filter.sends()?[..] else { panic!("the pushes are asked for in one batch") };
        assert_eq!(claims.path, paths::PUSH_BATCHES);
        let (answer, _) = ask(&store, "POST", paths::PUSH_BATCHES, &claims.body).await?;
        check(&format!("batch-{name}.json"), &answer)?;

        filter.answer(claims.token, &answer);
        let callbacks = filter.sends()?;
        assert_eq!(callbacks.len(), size * pushes, "a callback for each call");
        callbacks.iter().for_each(|callback| filter.answer(callback.token, b""));
        let [outcomes] = &filter.sends()?[..] else { panic!("the outcomes leave in one batch") };
        let (receipt, _) = ask(&store, "POST", paths::OUTCOMES, &outcomes.body).await?;
        check(&format!("receipt-{name}.json"), &receipt)?;

        if pushes == 1 {
            let store = store_with_binding().await?;
            let (_, actions) = Filter::new(Setting { passes: true, ..Setting::SHIPPED }, &bodies)?;
            let [Action::Forward(request)] = &actions[..] else { panic!("the push does not go on to the store") };
            let (claims, committed) = ask(&store, "POST", paths::PUSHES, request).await?;
            assert_eq!(committed.as_deref(), Some(COMMITTED));
            check(&format!("claims-{name}.json"), &claims)?;
        }
    }
    Ok(())
}
