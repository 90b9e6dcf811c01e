//! One push at a time through exchange and dispatcher, with the test in the place of Envoy, store and business.

use std::rc::Rc;

use privatenumber_contract::{CallKey, MaybeSent, NotSent, Outcome, Outcomes, Private, Push, PushId, Skipped, paths};
use serde_json::json;

use super::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, HeaderEdits, Removed};
use crate::answer::Answer;
use crate::config::Config;
use crate::dispatcher::{Departure, Dispatcher, HttpAnswer, Refusal};
use crate::journal::Event;
use crate::now::Now;

const PUSH: &str = include_str!("../../tests/samples/ax-fee-a-called-answered-recorded.json");
const BATCH: &str = include_str!("../../tests/samples/ax-fee-batch-3-mixed.json");
const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";
const SIGNED: &str = concat!(
    r#"UsernameToken Username="demoAppKey000000000000000001",PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=","#,
    r#"Nonce="00112233445566778899aabbccddeeff",Created="2026-01-05T02:30:24Z""#,
);

fn config(more: serde_json::Value) -> Rc<Config> {
    let mut config = json!({
        "applications": [{
            "app_key": "demoAppKey000000000000000001", "ak": AK, "secrets": [{"value": "fictitious-app-secret-0001"}],
        }],
        "businesses": [{"ak": AK, "cluster": "business", "authority": "business.example.com", "path": "/callback"}],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Rc::new(Config::from_json(&serde_json::to_vec(&config).unwrap(), &|_| None).unwrap())
}

fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall_ms: 1_767_580_000_000 + i64::try_from(monotonic_ms).unwrap() }
}

fn headers() -> Vec<(String, Vec<u8>)> {
    [
        (":method", "POST"),
        (":path", "/huawei/fee"),
        ("content-type", "application/json;charset=UTF-8"),
        ("x-aksk", SIGNED),
        ("accept-encoding", "gzip"),
        ("x-envoy-retry-on", "5xx"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .to_vec()
}

fn with(name: &str, value: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut headers = headers();
    headers.retain(|(other, _)| other != name);
    headers.push((name.to_owned(), value.to_vec()));
    headers
}

/// A gateway of one worker, and one push.
struct Gateway {
    config: Rc<Config>,
    dispatcher: Dispatcher,
    tokens: u32,
    pushes: u8,
}

/// A push the store has been asked about.
struct Asked {
    exchange: Exchange,
    push_id: PushId,
    body: Vec<u8>,
}

impl Gateway {
    fn new(more: serde_json::Value) -> Self {
        let config = config(more);
        let mut dispatcher = Dispatcher::new(Rc::clone(&config));
        let told = dispatcher.take_journal();
        assert!(matches!(told.as_slice(), [Event::Configured { .. }]), "{told:?}");
        Self { dispatcher, config, tokens: 0, pushes: 0 }
    }

    fn answer_at_headers(&mut self, headers: &[(String, Vec<u8>)], is_end: bool) -> Answer {
        let mut exchange = Exchange::default();
        match exchange.request_headers(&self.config, &mut self.dispatcher, headers, is_end, at(0)) {
            AtHeaders::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn push(&mut self, body: &[u8], now: Now) -> Result<Asked, Answer> {
        self.pushes += 1;
        let push_id = PushId::from_bytes([self.pushes; 16]);
        let mut exchange = Exchange::default();
        let decision = exchange.request_headers(&self.config, &mut self.dispatcher, &headers(), false, now);
        assert!(matches!(decision, AtHeaders::ReadBody(_)), "{decision:?}");
        assert_eq!(exchange.request_body(&self.config, &mut self.dispatcher, body.len()), AtBody::Wait);
        match exchange.request_end(&self.config, &mut self.dispatcher, body, push_id, now) {
            AtEnd::Forward(body) => {
                let body = body.to_vec();
                Ok(Asked { exchange, push_id, body })
            }
            AtEnd::Answer(answer) => Err(answer),
            other => panic!("{other:?}"),
        }
    }

    /// The store commits, and the stream sees all of its answer.
    fn commit(&mut self, asked: &mut Asked, verdict: &str, now: Now) {
        let id = asked.push_id.to_string();
        let decision =
            asked.exchange.response_headers(&mut self.dispatcher, Some(200), None, Some(id.as_bytes()), false, now);
        let AtResponse::Become(edits) = decision else { panic!("{decision:?}") };
        assert!(edits.set.contains(&(":status", "200".into())), "{edits:?}");
        let body = asked.exchange.response_end(&mut self.dispatcher, &store_answer(&asked.body, verdict), now);
        assert_eq!(body.unwrap(), Answer::Recorded.body());
    }

    /// Everything that leaves now, known by the tokens it comes with.
    fn depart(&mut self, now: Now) -> Vec<(u32, Sent)> {
        let mut all = Vec::new();
        while let Some(departure) = self.dispatcher.poll(now) {
            self.tokens += 1;
            all.push((self.tokens, Sent::from(&departure)));
            self.dispatcher.sent(departure.ticket, self.tokens, now);
        }
        all
    }

    fn answered(&mut self, token: u32, status: u16, now: Now) {
        let answer =
            HttpAnswer { status: Some(status), from_upstream: true, content_type: None, committed: None, body: b"" };
        self.dispatcher.answered(token, &answer, now);
    }

    /// The outcomes that are reported at `now`, and the store's receipt for them.
    fn report(&mut self, now: Now) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (token, sent) in self.depart(now) {
            assert_eq!(sent.path, paths::OUTCOMES);
            let batch: Outcomes = serde_json::from_slice(&sent.body).unwrap();
            let receipt = format!(r#"{{"recorded":{},"repeated":0,"refused":0}}"#, batch.outcomes.len());
            let answer = HttpAnswer {
                status: Some(200),
                from_upstream: true,
                content_type: None,
                committed: None,
                body: receipt.as_bytes(),
            };
            self.dispatcher.answered(token, &answer, now);
            outcomes.extend(batch.outcomes.iter().map(|report| report.outcome));
        }
        outcomes
    }
}

struct Sent {
    cluster: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl From<&Departure> for Sent {
    fn from(departure: &Departure) -> Self {
        let headers: Vec<_> = departure
            .head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
            .collect();
        let path = headers.iter().find(|(name, _)| name == ":path").unwrap().1.clone();
        Self { cluster: departure.head.cluster.to_string(), path, headers, body: departure.body().to_vec() }
    }
}

/// What a store says to this claim request if every call gets `verdict`.
fn store_answer(body: &[u8], verdict: &str) -> Vec<u8> {
    let push: Push<'_> = serde_json::from_slice(body).unwrap();
    let calls: Vec<_> = push
        .calls
        .iter()
        .map(|call| {
            let record = (verdict == "claimed").then(|| json!({"sessionId": call.session_id}));
            json!({"verdict": verdict, "callId": call.key().id(), "ak": call.ak, "record": record})
        })
        .collect();
    serde_json::to_vec(&json!({"calls": calls})).unwrap()
}

#[test]
fn one_push_becomes_one_callback_and_one_outcome() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(3));
    assert!(gateway.dispatcher.take_stirred(), "the root must be woken");

    let departures = gateway.depart(at(3));
    let [(token, callback)] = departures.as_slice() else { panic!("one callback") };
    let key = CallKey {
        app_key: "demoAppKey000000000000000001",
        session_id: Private::new("1200_1802_4294967295_20260105023003@callenabler001.example.com"),
        icid: "0123456789abcdef0123456789abcdef.3900000002.100000002.5",
    };
    assert_eq!((callback.cluster.as_str(), callback.path.as_str()), ("business", "/callback"));
    assert!(callback.headers.contains(&("webhook-id".to_owned(), key.id())));
    assert!(!callback.headers.iter().any(|(name, _)| name.starts_with("x-envoy-")), "{:?}", callback.headers);

    gateway.answered(*token, 204, at(10));
    assert!(gateway.depart(at(10)).is_empty(), "the outcome waits for others");
    assert_eq!(gateway.dispatcher.next_wake_up(at(10)), Some(5));
    assert_eq!(gateway.report(at(15)), [Outcome::Answered { status: 204 }]);
    assert!(gateway.dispatcher.is_idle());
    drop(asked);
    assert_eq!(gateway.dispatcher.gauges(), crate::dispatcher::Gauges::default());
}

#[test]
fn p1_a_duplicate_is_not_called_back() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(BATCH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "duplicate", at(1));
    assert!(gateway.depart(at(1_000)).is_empty());
    assert!(gateway.dispatcher.is_idle());
}

#[test]
fn p1_nothing_is_sent_again_after_a_time_out_or_an_answer_that_comes_twice() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(1));
    let (token, _) = gateway.depart(at(1)).pop().unwrap();
    let time_out =
        HttpAnswer { status: Some(504), from_upstream: false, content_type: None, committed: None, body: b"" };
    gateway.dispatcher.answered(token, &time_out, at(5_000));
    gateway.dispatcher.answered(token, &time_out, at(5_001));
    assert_eq!(gateway.report(at(5_010)), [Outcome::MaybeSent { reason: MaybeSent::Timeout }]);
    assert!(gateway.depart(at(1_000_000)).is_empty());
}

#[test]
fn p1_a_refused_callback_is_tried_a_bounded_number_of_times_and_then_is_not_sent() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(0));
    let mut now = at(0);
    for _ in 0..5 {
        let departure = gateway.dispatcher.poll(now).expect("another try");
        assert!(gateway.dispatcher.poll(now).is_none());
        gateway.dispatcher.refused(departure.ticket, Refusal::NoHealthyHost, now);
        now = at(now.monotonic_ms + gateway.dispatcher.next_wake_up(now).unwrap());
    }
    assert_eq!(gateway.report(now), [Outcome::NotSent { reason: NotSent::NoHealthyHost }]);
    assert!(gateway.dispatcher.is_idle());
}

#[test]
fn p8_a_pusher_that_leaves_before_the_stores_answer_has_its_push_asked_again_with_the_same_id() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    asked.exchange.gone(&mut gateway.dispatcher, at(2));
    asked.exchange.gone(&mut gateway.dispatcher, at(2));
    let departures = gateway.depart(at(2));
    let [(token, again)] = departures.as_slice() else { panic!("one repeat, found {}", departures.len()) };
    assert_eq!((again.cluster.as_str(), again.path.as_str(), &again.body), ("store", paths::PUSHES, &asked.body));

    let id = asked.push_id.to_string();
    let body = store_answer(&again.body, "claimed");
    let answer = HttpAnswer {
        status: Some(200),
        from_upstream: true,
        content_type: None,
        committed: Some(id.as_bytes()),
        body: &body,
    };
    gateway.dispatcher.answered(*token, &answer, at(4));
    assert_eq!(gateway.depart(at(4)).len(), 1, "the callback");
}

#[test]
fn p8_a_missed_answer_is_asked_for_until_the_store_answers() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    let decision = asked.exchange.response_headers(&mut gateway.dispatcher, Some(503), None, None, false, at(1));
    let AtResponse::Become(edits) = decision else { panic!("{decision:?}") };
    assert!(edits.set.contains(&(":status", "503".into())));
    assert_eq!(
        asked.exchange.response_end(&mut gateway.dispatcher, b"upstream connect error", at(1)).unwrap(),
        Answer::StoreUnavailable.body()
    );
    asked.exchange.gone(&mut gateway.dispatcher, at(1));

    let mut now = at(1);
    for attempt in 0..40 {
        now = at(now.monotonic_ms + gateway.dispatcher.next_wake_up(now).expect("it is never given up"));
        let departures = gateway.depart(now);
        assert_eq!(departures.len(), 1, "attempt {attempt}");
        assert_eq!(departures[0].1.body, asked.body);
        let cut_off = HttpAnswer { status: None, from_upstream: false, content_type: None, committed: None, body: b"" };
        gateway.dispatcher.answered(departures[0].0, &cut_off, now);
    }
    assert!(!gateway.dispatcher.is_idle());
}

#[test]
fn p8_a_committed_answer_whose_claims_are_cut_off_is_200_and_asked_again() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    let id = asked.push_id.to_string();
    asked.exchange.response_headers(&mut gateway.dispatcher, Some(200), None, Some(id.as_bytes()), false, at(1));
    let body = asked.exchange.response_end(&mut gateway.dispatcher, br#"{"calls":[{"verdict":"#, at(1));
    assert_eq!(body.unwrap(), Answer::Recorded.body(), "the store has it: Huawei need not push again");
    let now = at(1 + gateway.dispatcher.next_wake_up(at(1)).unwrap());
    assert_eq!(gateway.depart(now).len(), 1, "asked again");
}

#[test]
fn p2_a_200_of_somebody_else_is_not_passed_on_as_a_success() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    let decision = asked.exchange.response_headers(&mut gateway.dispatcher, Some(200), None, None, false, at(1));
    let AtResponse::Become(edits) = decision else { panic!("{decision:?}") };
    assert!(edits.set.contains(&(":status", "503".into())));
}

#[test]
fn p2_a_success_that_comes_before_the_push_is_complete_is_not_passed_on_and_the_push_goes_nowhere() {
    for (status, is_end) in [(Some(200), false), (Some(204), true), (Some(302), true), (None, false)] {
        let mut gateway = Gateway::new(json!({}));
        let (mut exchange, id) = (Exchange::default(), [7; 16]);
        exchange.request_headers(&gateway.config, &mut gateway.dispatcher, &headers(), false, at(0));
        let decision = exchange.response_headers(&mut gateway.dispatcher, status, None, None, is_end, at(1));
        let AtResponse::Become(edits) = decision else { panic!("{status:?}: {decision:?}") };
        assert!(edits.set.contains(&(":status", "503".into())), "{edits:?}");
        assert_eq!(exchange.request_body(&gateway.config, &mut gateway.dispatcher, PUSH.len()), AtBody::Wait);
        let push_id = PushId::from_bytes(id);
        let end = exchange.request_end(&gateway.config, &mut gateway.dispatcher, PUSH.as_bytes(), push_id, at(1));
        assert_eq!(end, AtEnd::Hold);
        assert_eq!(exchange.awaits_response_body(), !is_end);
        let body = exchange.response_end(&mut gateway.dispatcher, b"ok", at(1));
        assert_eq!(body, (!is_end).then(|| Answer::StoreUnavailable.body()));
        exchange.gone(&mut gateway.dispatcher, at(2));
        assert!(gateway.dispatcher.is_idle());
    }
}

#[test]
fn what_envoy_answers_before_the_push_is_complete_is_left_as_it_is() {
    let mut gateway = Gateway::new(json!({}));
    let mut exchange = Exchange::default();
    exchange.request_headers(&gateway.config, &mut gateway.dispatcher, &headers(), false, at(0));
    let decision = exchange.response_headers(&mut gateway.dispatcher, Some(408), None, None, false, at(1));
    assert_eq!(decision, AtResponse::LeaveAlone);
    assert!(!exchange.awaits_response_body());
}

#[test]
fn a_push_the_store_rejects_for_good_is_not_asked_again() {
    let mut gateway = Gateway::new(json!({}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    let problem = Some(b"application/problem+json".as_slice());
    asked.exchange.response_headers(&mut gateway.dispatcher, Some(422), problem, None, false, at(1));
    asked.exchange.response_end(&mut gateway.dispatcher, b"{}", at(1));
    asked.exchange.gone(&mut gateway.dispatcher, at(1));
    assert!(gateway.depart(at(100_000)).is_empty());
    assert!(gateway.dispatcher.is_idle());
    let journal = gateway.dispatcher.take_journal();
    assert!(journal.iter().any(|event| matches!(event, Event::PushRejected { status: 422, .. })), "{journal:?}");
}

#[test]
fn p3_a_call_of_nobody_is_skipped_with_its_reason() {
    let mut gateway = Gateway::new(json!({"businesses": []}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(0));
    assert_eq!(gateway.report(at(10)), [Outcome::Skipped { reason: Skipped::NoCallback }]);

    let mut asked = gateway.push(PUSH.as_bytes(), at(20)).unwrap();
    let id = asked.push_id.to_string();
    asked.exchange.response_headers(&mut gateway.dispatcher, Some(200), None, Some(id.as_bytes()), false, at(20));
    let body = br#"{"calls":[{"verdict":"claimed","callId":"00112233445566778899aabbccddeeff","record":{}}]}"#;
    asked.exchange.response_end(&mut gateway.dispatcher, body, at(20));
    assert_eq!(gateway.report(at(30)), [Outcome::Skipped { reason: Skipped::NoBinding }]);
}

#[test]
fn p3_outcomes_are_kept_in_order_and_sent_again_while_the_store_is_away() {
    let mut gateway = Gateway::new(json!({"store": {"outcome_batch_size": 2}}));
    let mut asked = gateway.push(BATCH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(0));
    for (token, _) in gateway.depart(at(0)) {
        gateway.answered(token, 200, at(1));
    }
    let mut now = at(1);
    for _ in 0..10 {
        now = at(now.monotonic_ms + gateway.dispatcher.next_wake_up(now).unwrap());
        let departures = gateway.depart(now);
        assert_eq!(departures.len(), 1, "one batch at a time");
        let batch: Outcomes = serde_json::from_slice(&departures[0].1.body).unwrap();
        assert_eq!(batch.outcomes.len(), 2);
        gateway.answered(departures[0].0, 500, now);
        assert_eq!(gateway.dispatcher.gauges().outcome_backlog, 3);
    }
    now = at(now.monotonic_ms + gateway.dispatcher.next_wake_up(now).unwrap());
    assert_eq!(gateway.report(now).len() + gateway.report(at(now.monotonic_ms + 5)).len(), 3);
    assert!(gateway.dispatcher.is_idle());
}

#[test]
fn p4_a_business_at_its_limit_holds_up_nobody_else() {
    let other = "B0000000000000000000000000000000";
    let business = |ak: &str, cluster: &str| json!({"ak": ak, "cluster": cluster, "authority": "business.example.com", "path": "/", "concurrency": 1});
    let mut gateway = Gateway::new(json!({"businesses": [business(AK, "slow"), business(other, "quick")]}));
    let mut asked = gateway.push(BATCH.as_bytes(), at(0)).unwrap();
    gateway.commit(&mut asked, "claimed", at(0));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    let id = asked.push_id.to_string();
    asked.exchange.response_headers(&mut gateway.dispatcher, Some(200), None, Some(id.as_bytes()), false, at(0));
    let answer = String::from_utf8(store_answer(&asked.body, "claimed")).unwrap().replace(AK, other);
    asked.exchange.response_end(&mut gateway.dispatcher, answer.as_bytes(), at(0));

    let departures = gateway.depart(at(0));
    let clusters: Vec<_> = departures.iter().map(|(_, sent)| sent.cluster.as_str()).collect();
    assert_eq!(clusters, ["slow", "quick"]);
    assert_eq!(gateway.dispatcher.gauges().callback_queue, 2);
    gateway.answered(departures[0].0, 200, at(1));
    assert_eq!(gateway.depart(at(1)).len(), 1, "the next one of the slow business");
}

#[test]
fn too_many_pending_calls_are_answered_503_and_none_is_dropped() {
    let mut gateway = Gateway::new(json!({"limits": {"pending_calls": 50}}));
    let mut asked: Vec<_> = (0..50).map(|_| gateway.push(PUSH.as_bytes(), at(0)).unwrap()).collect();
    assert_eq!(gateway.push(PUSH.as_bytes(), at(0)).err(), Some(Answer::Busy));
    gateway.commit(&mut asked[0], "duplicate", at(1));
    assert!(gateway.push(PUSH.as_bytes(), at(1)).is_ok());
}

#[test]
fn each_refusal_at_the_headers_has_its_answer() {
    let mut gateway = Gateway::new(json!({"limits": {"max_body_bytes": 2048}}));
    let table = [
        (with(":method", b"GET"), true, 405),
        (with("content-type", b"text/plain"), false, 415),
        (with("content-type", b""), false, 415),
        (with("content-length", b"2049"), false, 413),
        (with("x-aksk", b"UsernameToken"), false, 401),
        (with("x-aksk", SIGNED.replace("z0yt", "z0yu").as_bytes()), false, 401),
        (with("x-aksk", b"\xff\xfe"), false, 401),
        (with("x-aksk", b""), false, 401),
        (headers(), true, 400),
    ];
    for (headers, is_end, status) in table {
        assert_eq!(gateway.answer_at_headers(&headers, is_end).status(), status, "{headers:?}");
    }
}

#[test]
fn p5_another_path_is_left_alone() {
    let mut gateway = Gateway::new(json!({}));
    for path in ["/", "/huawei/fee/", "/huawei/fe", "/huawei/feed", "/HUAWEI/FEE", "", "/x?/huawei/fee", "\u{fffd}"] {
        let mut exchange = Exchange::default();
        let headers = with(":path", path.as_bytes());
        let decision = exchange.request_headers(&gateway.config, &mut gateway.dispatcher, &headers, false, at(0));
        assert_eq!(decision, AtHeaders::LeaveAlone, "{path}");
        assert_eq!(exchange.request_body(&gateway.config, &mut gateway.dispatcher, 9), AtBody::LeaveAlone);
        let push_id = PushId::from_bytes([1; 16]);
        let end = exchange.request_end(&gateway.config, &mut gateway.dispatcher, b"x", push_id, at(0));
        assert_eq!(end, AtEnd::LeaveAlone);
        let response = exchange.response_headers(&mut gateway.dispatcher, Some(200), None, None, false, at(0));
        assert_eq!(response, AtResponse::LeaveAlone);
        assert_eq!(exchange.response_end(&mut gateway.dispatcher, b"y", at(0)), None);
    }
    assert!(gateway.dispatcher.take_journal().is_empty());
}

#[test]
fn p7_credentials_and_instructions_to_envoy_do_not_go_on_to_the_store() {
    let mut gateway = Gateway::new(json!({"store": {"token": {"value": "fictitious-token-0001"}}}));
    let mut exchange = Exchange::default();
    let decision = exchange.request_headers(&gateway.config, &mut gateway.dispatcher, &headers(), false, at(0));
    let AtHeaders::ReadBody(edits) = decision else { panic!("{decision:?}") };
    for name in ["x-aksk", "accept-encoding", "x-envoy-retry-on"] {
        assert!(edits.remove.has(name), "{name}");
    }
    assert!(edits.set.contains(&("authorization", "Bearer fictitious-token-0001".into())));
}

#[test]
fn a_draining_root_sends_outcomes_at_once_and_is_idle_only_when_all_is_accounted_for() {
    let mut gateway = Gateway::new(json!({"store": {"outcome_batch_delay_ms": 10_000}}));
    let mut asked = gateway.push(PUSH.as_bytes(), at(0)).unwrap();
    gateway.dispatcher.drain();
    assert!(!gateway.dispatcher.is_idle(), "a push is open");
    gateway.commit(&mut asked, "claimed", at(1));
    let (token, _) = gateway.depart(at(1)).pop().unwrap();
    assert!(!gateway.dispatcher.is_idle(), "a callback is under way");
    gateway.answered(token, 200, at(2));
    assert!(!gateway.dispatcher.is_idle(), "an outcome waits");
    assert_eq!(gateway.report(at(2)).len(), 1);
    assert!(gateway.dispatcher.is_idle());
}

#[test]
fn edited_headers_are_one_list_in_which_what_is_set_stands_once() {
    let edits = HeaderEdits {
        remove: Removed::OfPush,
        set: vec![
            ("content-type", "application/json".into()),
            ("content-length", "7".into()),
            (":status", "200".into()),
        ],
    };
    let headers =
        [(":path", "/"), ("x-aksk", "a"), ("x-aksk", "b"), ("content-length", "9"), ("via", "1"), ("via", "2")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let applied: Vec<_> =
        edits.applied(&headers).into_iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect();
    assert_eq!(
        applied,
        [
            (":status", "200"),
            (":path", "/"),
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("via", "1"),
            ("via", "2"),
        ]
    );
}
