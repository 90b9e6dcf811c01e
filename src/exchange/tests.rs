//! What the exchange of one push does, in either header mode, with the test in the place of Envoy, store and business.

use privatenumber_contract::{
    CallKey, MaybeSent, NotSent, OnReplay, Outcome, Outcomes, Private, Push, Skipped, WithoutBinding,
};
use serde_json::json;

use super::{HeaderEdits, Removed};
use crate::dispatcher::Refusal;
use crate::driver::{Action, Event};
use crate::reply::Reply;
use crate::testing::{
    AK, APP_KEY, BATCH, CUT_OFF, Gateway, MODES, PROBLEM, PUSH, SIGNED, TIMEOUT, at, headers, problem, upstream, with,
};

/// The response headers of somebody else.
fn response(status: Option<u16>, content_type: Option<&[u8]>, is_end: bool) -> Event<'_> {
    Event::ResponseHeaders { status, content_type, committed: None, is_end }
}

#[test]
fn one_push_becomes_one_callback_and_one_outcome() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let asked = gateway.ask(PUSH);
        gateway.commit(&asked, "claimed");
        let callbacks = gateway.callbacks();
        let [callback] = callbacks.as_slice() else { panic!("{mode}: one callback, found {}", callbacks.len()) };
        let key = CallKey {
            app_key: "demoAppKey000000000000000001",
            session_id: Private::new("1200_1802_4294967295_20260105023003@callenabler001.example.com"),
            icid: "0123456789abcdef0123456789abcdef.3900000002.100000002.5",
        };
        assert_eq!((callback.cluster.as_str(), callback.path.as_str()), ("business", "/callback"));
        assert_eq!(callback.header("webhook-id"), Some(key.id().as_str()));
        assert!(!callback.headers.iter().any(|(name, _)| name.starts_with("x-envoy-")), "{:?}", callback.headers);

        gateway.respond(callback, &upstream(204, b""));
        assert!(gateway.depart().is_empty(), "the outcome waits for others");
        gateway.advance(20);
        assert_eq!(gateway.report(), [Outcome::Delivered { status: 204 }]);
        gateway.end(asked.stream);
        assert!(gateway.is_idle(), "{mode}: {:?}", gateway.gauges());
    }
}

#[test]
fn a_push_says_what_is_to_be_done_with_calls_without_a_binding() {
    let table = [
        (json!(null), WithoutBinding::Deliver),
        (json!("deliver"), WithoutBinding::Deliver),
        (json!("skip"), WithoutBinding::Skip),
        (json!({"hold_seconds": 60.0}), WithoutBinding::Hold(60)),
    ];
    for mode in MODES {
        for ak in [json!(AK), json!(null)] {
            for (without_binding, expected) in &table {
                let secrets = json!([{"value": "fictitious-app-secret-0001"}]);
                let application =
                    json!({"app_key": APP_KEY, "ak": ak, "secrets": secrets, "without_binding": without_binding});
                let mut gateway = Gateway::new(mode, json!({"applications": [application]}));
                let asked = gateway.ask(PUSH);
                let push: Push<'_> = serde_json::from_str(&asked.json).unwrap();
                let application = push.application.unwrap_or_default();
                assert_eq!(
                    (application.ak.as_deref(), application.without_binding),
                    (ak.as_str(), *expected),
                    "{mode}"
                );
            }
        }
    }
}

#[test]
fn the_store_is_told_what_was_signed_and_what_a_replay_comes_to() {
    for mode in MODES {
        for (authentication, on_replay) in [(json!({}), OnReplay::Report), (json!({"replay": "park"}), OnReplay::Park)]
        {
            let mut gateway = Gateway::new(mode, json!({"authentication": authentication}));
            let asked = gateway.ask(PUSH);
            let push: Push<'_> = serde_json::from_str(&asked.json).unwrap();
            let application = push.application.unwrap();
            assert_eq!((application.ak.as_deref(), application.on_replay), (Some(AK), on_replay), "{mode}");
            let signature = push.signature.unwrap();
            assert_eq!((signature.scheme.as_ref(), signature.hash.len()), ("aksk", 32), "{mode}");
            // Every text that the store hashes is there.
            assert!(push.calls.iter().all(|call| call.cdr.is_some()), "{mode}");
        }
    }
}

#[test]
fn p1_a_duplicate_is_not_called_back() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let asked = gateway.ask(BATCH);
        gateway.commit(&asked, "duplicate");
        gateway.advance(1_000);
        assert!(gateway.depart().is_empty() && gateway.gauges().pending_calls == 0, "{mode}");
    }
}

#[test]
fn p1_nothing_is_sent_again_after_a_timeout_or_an_answer_that_comes_twice() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let asked = gateway.ask(PUSH);
        gateway.commit(&asked, "claimed");
        let callback = gateway.callbacks().pop().unwrap();
        gateway.respond(&callback, &TIMEOUT);
        gateway.respond(&callback, &TIMEOUT);
        gateway.advance(20);
        assert_eq!(gateway.report(), [Outcome::MaybeSent { reason: MaybeSent::Timeout }]);
        gateway.advance(100_000);
        assert!(gateway.depart().is_empty(), "{mode}");
    }
}

#[test]
fn p1_a_refused_callback_is_tried_a_bounded_number_of_times_and_then_is_not_sent() {
    let mut gateway = Gateway::new("hold", json!({}));
    let asked = gateway.ask(PUSH);
    let tries = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&tries);
    gateway.driver.refuse(move |request| {
        if &*request.head.cluster == "store" {
            return None;
        }
        count.set(count.get() + 1);
        Some(Refusal::NoHealthyHost)
    });
    gateway.commit(&asked, "claimed");
    gateway.advance(60_000);
    assert_eq!(tries.get(), 5);
    assert_eq!(gateway.report(), [Outcome::NotSent { reason: NotSent::NoHealthyHost }]);
    gateway.end(asked.stream);
    assert!(gateway.is_idle());
}

#[test]
fn p8_a_pusher_that_leaves_before_the_stores_answer_has_its_push_asked_again_with_the_same_id() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(PUSH);
    gateway.end(asked.stream);
    gateway.end(asked.stream);
    let again = gateway.next_claims();
    assert_eq!(crate::testing::ids(&again), [asked.push_id]);
    gateway.answer_all(&again, "claimed");
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p8_a_missed_answer_is_asked_for_until_the_store_answers() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let asked = gateway.ask(PUSH);
        gateway.miss(&asked, 503);
        for attempt in 0..40 {
            let again = gateway.next_claims();
            assert_eq!(crate::testing::ids(&again), [asked.push_id], "{mode}, attempt {attempt}");
            gateway.respond(&again, &CUT_OFF);
        }
        assert!(!gateway.is_idle());
        let again = gateway.next_claims();
        gateway.answer_all(&again, "claimed");
        assert_eq!(gateway.callbacks().len(), 1, "{mode}");
    }
}

#[test]
fn p2_a_success_of_a_stream_lets_new_pushes_in_again() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked: Vec<_> = (0..4).map(|number| gateway.ask(&crate::testing::push_of(number, 1))).collect();
    for asked in &asked[..3] {
        gateway.end(asked.stream);
        gateway.advance(2);
        for again in gateway.claims() {
            gateway.respond(&again, &problem(503));
        }
    }
    assert!(gateway.open().is_ok(), "one is let in");
    assert_eq!(gateway.open(), Err(Reply::StoreUnavailable), "batches fail");
    gateway.commit(&asked[3], "duplicate");
    assert!(gateway.open().is_ok() && gateway.open().is_ok());
}

#[test]
fn p8_a_committed_answer_whose_claims_are_cut_off_is_200_and_asked_again() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(PUSH);
    let id = asked.push_id.to_string();
    let committed = Some(id.as_bytes());
    let headers = Event::ResponseHeaders { status: Some(200), content_type: None, committed, is_end: false };
    gateway.driver.step(asked.stream, headers);
    let body = gateway.driver.step(asked.stream, Event::ResponseEnd(br#"{"calls":[{"verdict":"#));
    assert_eq!(body, Action::Body(Reply::Recorded.body()), "the store has it: Huawei need not push again");
    assert_eq!(crate::testing::ids(&gateway.next_claims()), [asked.push_id], "asked again");
}

#[test]
fn p2_a_200_of_somebody_else_is_not_passed_on_as_a_success() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(PUSH);
    let Action::Become(edits) = gateway.driver.step(asked.stream, response(Some(200), None, false)) else {
        panic!("it is passed on")
    };
    assert!(edits.set.contains(&(":status", "503".into())));
}

/// The names of headers that are left of an upstream's response.
fn left(edits: &HeaderEdits) -> Vec<String> {
    let sent =
        [":status", "content-type", "content-length", "date", "server", "location", "set-cookie", "x-secret", "etag"];
    let sent = sent.map(|name| (name, "internal"));
    edits.applied(&sent).into_iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn p7_an_upstreams_response_keeps_only_the_headers_http_needs() {
    for status in [200, 204, 302, 401, 404, 500, 503] {
        let mut gateway = Gateway::new("pass", json!({}));
        let asked = gateway.ask(PUSH);
        let action = gateway.driver.step(asked.stream, response(Some(status), None, false));
        let Action::Become(edits) = action else { panic!("{status}: {action:?}") };
        assert_eq!(left(&edits), [":status", "content-type", "content-length", "retry-after"], "{status}");
        assert!(edits.applied(&[("content-length", "internal")]).iter().all(|(_, value)| *value != b"internal"));
    }
}

#[test]
fn p2_a_success_that_comes_before_the_push_is_complete_is_not_passed_on_and_the_push_goes_nowhere() {
    for mode in MODES {
        for (status, is_end) in [(Some(200), false), (Some(204), true), (Some(302), true), (None, false)] {
            let mut gateway = Gateway::new(mode, json!({}));
            let stream = gateway.open().unwrap();
            let action = gateway.driver.step(stream, response(status, None, is_end));
            let Action::Become(edits) = action else { panic!("{mode}, {status:?}: {action:?}") };
            assert!(edits.set.contains(&(":status", "503".into())), "{edits:?}");
            let end = gateway.finish(stream, PUSH.as_bytes());
            assert_eq!(end, if is_end { Action::Hold } else { Action::HoldAndReset }, "{mode}, {status:?}");
            assert_eq!(gateway.driver.awaits_response_body(stream), !is_end);
            let body = gateway.driver.step(stream, Event::ResponseEnd(b"ok"));
            let ours = Action::Body(Reply::StoreUnavailable.body());
            assert_eq!(body, if is_end { Action::LeaveAlone } else { ours });
            gateway.end(stream);
            assert!(gateway.is_idle());
            gateway.advance(1_000);
            assert!(gateway.depart().is_empty(), "nothing is asked");
        }
    }
}

/// Envoy's own where nothing is forwarded; otherwise it may be an upstream's, whose headers are not Huawei's business (P7).
#[test]
fn p7_an_error_that_comes_before_the_push_is_complete_keeps_its_status_and_body_and_no_headers_of_an_upstream() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let stream = gateway.open().unwrap();
        match gateway.respond_to(stream, 408) {
            Action::Reduce(edits) => {
                assert_eq!(mode, "pass");
                assert_eq!(left(&edits), [":status", "content-type", "content-length"]);
                assert_eq!(edits.set, []);
            }
            action => assert_eq!((mode, action), ("hold", Action::LeaveAlone)),
        }
        assert!(!gateway.driver.awaits_response_body(stream));
        gateway.end(stream);
        assert!(gateway.is_idle());
    }
}

#[test]
fn a_push_the_store_rejects_for_good_is_not_asked_again() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(PUSH);
    gateway.driver.step(asked.stream, response(Some(422), Some(PROBLEM.as_bytes()), false));
    gateway.driver.step(asked.stream, Event::ResponseEnd(b"{}"));
    gateway.end(asked.stream);
    gateway.advance(100_000);
    assert!(gateway.depart().is_empty() && gateway.is_idle());
    assert_eq!(gateway.count_events("push_rejected"), 1);

    let mut gateway = Gateway::new("hold", json!({}));
    let stream = gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    gateway.respond(&claims, &problem(422));
    assert_eq!(gateway.replies(), [(stream, Reply::StoreUnavailable)]);
    gateway.end(stream);
    gateway.advance(100_000);
    assert!(gateway.depart().is_empty() && gateway.is_idle());
}

#[test]
fn p3_a_call_of_nobody_is_skipped_with_its_reason() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({"businesses": []}));
        let asked = gateway.ask(PUSH);
        gateway.commit(&asked, "claimed");
        gateway.advance(20);
        assert_eq!(gateway.report(), [Outcome::Skipped { reason: Skipped::NoCallback }]);

        let asked = gateway.ask(&crate::testing::push_of(1, 1));
        let mut calls = asked.calls("claimed");
        calls[0]["ak"] = json!(null);
        gateway.commit_with(&asked, &calls);
        gateway.advance(20);
        assert_eq!(gateway.report(), [Outcome::Skipped { reason: Skipped::NoBinding }]);
    }
}

#[test]
fn p3_an_erased_call_ends_as_not_sent_and_a_held_one_waits_in_the_store() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        let asked = gateway.ask(BATCH);
        let mut calls = asked.calls("duplicate");
        calls[0]["verdict"] = json!("erased");
        calls[1]["verdict"] = json!("held");
        gateway.commit_with(&asked, &calls);
        gateway.advance(20);
        assert_eq!(gateway.report(), [Outcome::NotSent { reason: NotSent::Erased }]);
        assert!(gateway.callbacks().is_empty());
        gateway.end(asked.stream);
        assert!(gateway.is_idle(), "{mode}");
    }
}

#[test]
fn p3_outcomes_are_kept_in_order_and_sent_again_while_the_store_is_away() {
    let mut gateway = Gateway::new("hold", json!({"store": {"outcome_batch_size": 2}}));
    let asked = gateway.ask(BATCH);
    gateway.commit(&asked, "claimed");
    for callback in gateway.callbacks() {
        gateway.respond(&callback, &upstream(200, b""));
    }
    for _ in 0..10 {
        gateway.advance_to_sent();
        let sent = gateway.depart();
        let [reports] = sent.as_slice() else { panic!("one batch at a time") };
        let batch: Outcomes = serde_json::from_slice(&reports.body).unwrap();
        assert_eq!(batch.outcomes.len(), 2);
        gateway.respond_status(reports, 500);
        assert_eq!(gateway.gauges().outcome_backlog, 3);
    }
    gateway.advance(20_000);
    let mut reported = gateway.report().len();
    gateway.advance(100);
    reported += gateway.report().len();
    assert_eq!(reported, 3);
    gateway.end(asked.stream);
    assert!(gateway.is_idle());
}

#[test]
fn p4_a_business_at_its_limit_holds_up_nobody_else() {
    let other = "B0000000000000000000000000000000";
    let business = |ak: &str, cluster: &str| json!({"ak": ak, "cluster": cluster, "authority": "business.example.com", "path": "/", "concurrency": 1, "pending_calls": 50});
    let mut gateway = Gateway::new("hold", json!({"businesses": [business(AK, "slow"), business(other, "quick")]}));
    let (slow, quick) = (gateway.ask(BATCH), gateway.ask(&crate::testing::push_of(1, 1)));
    gateway.commit(&slow, "claimed");
    let mut calls = quick.calls("claimed");
    calls[0]["ak"] = json!(other);
    gateway.commit_with(&quick, &calls);

    let callbacks = gateway.callbacks();
    let clusters: Vec<_> = callbacks.iter().map(|sent| sent.cluster.as_str()).collect();
    assert_eq!(clusters, ["slow", "quick"]);
    assert_eq!(gateway.gauges().callback_queue, 2);
    gateway.respond(&callbacks[0], &upstream(200, b""));
    assert_eq!(gateway.callbacks().len(), 1, "the next one of the slow business");
}

/// One application serves four businesses, which bindings name. Three of them never answer.
#[test]
fn p4_three_businesses_that_hang_do_not_close_the_gateway_for_a_fourth() {
    for mode in MODES {
        let names = ["HANGS0", "HANGS1", "HANGS2", "HEALTHY"];
        let business = |ak: &str| json!({"ak": ak, "cluster": ak, "authority": "business.example.com", "path": "/"});
        let mut gateway = Gateway::new(mode, json!({"businesses": names.map(business)}));
        // Pushes 50 calls of a business. Returns its callbacks, and how many calls got no place.
        let mut number = 0;
        let mut push = |gateway: &mut Gateway, ak: &str| {
            number += 1;
            let asked = gateway.ask(&crate::testing::push_of(number, 50));
            let mut calls = asked.calls("claimed");
            calls.as_array_mut().unwrap().iter_mut().for_each(|call| call["ak"] = json!(ak));
            gateway.commit_with(&asked, &calls);
            gateway.end(asked.stream);
            let callbacks = gateway.callbacks();
            gateway.advance(20);
            let full = Outcome::NotSent { reason: NotSent::QueueFull };
            let not_sent = gateway.report().iter().filter(|outcome| **outcome == full).count();
            (callbacks, not_sent)
        };
        let (mut sent, mut full) = (0, 0);
        for ak in names[..3].iter().cycle().take(300) {
            let (callbacks, not_sent) = push(&mut gateway, ak);
            sent += callbacks.len();
            full += not_sent;
        }
        assert_eq!(sent, 300, "the default concurrency of each");
        assert!((7_400..=7_600).contains(&(15_000 - full)), "{full} of 15000 calls got no place");

        let (callbacks, full) = push(&mut gateway, names[3]);
        assert_eq!((callbacks.len(), full), (50, 0), "{mode}");
        assert!(callbacks.iter().all(|sent| sent.cluster == names[3]), "{mode}");
    }
}

#[test]
fn a_business_is_sent_no_more_than_its_rate_allows_and_all_of_it_in_the_end() {
    let business = json!({"ak": AK, "cluster": "b", "authority": "b.example.com", "path": "/", "rate": 20});
    let mut gateway = Gateway::new("hold", json!({"businesses": [business]}));
    let asked = gateway.ask(&crate::testing::push_of(1, 50));
    gateway.commit(&asked, "claimed");
    let mut sent = gateway.callbacks().len();
    assert_eq!(sent, 2, "a tenth of a second's worth at once");
    for second in 1..=3 {
        for _ in 0..100 {
            gateway.advance(10);
            sent += gateway.callbacks().len();
        }
        assert_eq!(sent, (2 + 20 * second).min(50));
    }
}

#[test]
fn too_many_pending_calls_are_answered_503_and_none_is_dropped() {
    let mut gateway = Gateway::new("pass", json!({"limits": {"pending_calls": 50}}));
    let asked: Vec<_> = (0..50).map(|number| gateway.ask(&crate::testing::push_of(number, 1))).collect();
    assert_eq!(gateway.try_ask(PUSH.as_bytes()).err(), Some(Reply::Busy));
    gateway.commit(&asked[0], "duplicate");
    assert!(gateway.try_ask(PUSH.as_bytes()).is_ok());

    let mut gateway = Gateway::new("hold", json!({"limits": {"pending_calls": 50}}));
    gateway.push_many(0, 50);
    assert_eq!(gateway.push(PUSH.as_bytes()), Err(Reply::Busy));
    assert_eq!(gateway.gauges().pending_calls, 50);
}

#[test]
fn each_refusal_at_the_headers_has_its_reply() {
    let mut gateway = Gateway::new("hold", json!({"limits": {"max_body_bytes": 2048}}));
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
        let (_, Action::Reply(reply)) = gateway.stream(&headers, is_end) else { panic!("{headers:?}") };
        assert_eq!(reply.status(), status, "{headers:?}");
    }
    assert!(gateway.is_idle());
}

#[test]
fn p5_another_path_is_left_alone() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        for path in ["/", "/huawei/fee/", "/huawei/fe", "/huawei/feed", "/HUAWEI/FEE", "", "/x?/huawei/fee", "\u{fffd}"]
        {
            let (stream, action) = gateway.stream(&with(":path", path.as_bytes()), false);
            assert_eq!(action, Action::LeaveAlone, "{path}");
            let events = [
                Event::RequestBody(9),
                Event::RequestEnd(b"x"),
                response(Some(200), None, false),
                Event::ResponseEnd(b"y"),
            ];
            for event in events {
                assert_eq!(gateway.driver.step(stream, event), Action::LeaveAlone, "{path}: {event:?}");
            }
            gateway.end(stream);
        }
        assert!(gateway.events().is_empty());
    }
}

#[test]
fn p7_credentials_and_instructions_to_envoy_do_not_go_on_to_the_store() {
    let mut gateway = Gateway::new("pass", json!({"store": {"token": {"value": "fictitious-token-0001"}}}));
    let (_, Action::Pass(edits)) = gateway.stream(&headers(), false) else { panic!("the headers do not go ahead") };
    for name in ["x-aksk", "accept-encoding", "x-envoy-retry-on"] {
        assert!(edits.remove.has(name), "{name}");
    }
    assert!(edits.set.contains(&("authorization", "Bearer fictitious-token-0001".into())));
}

#[test]
fn a_draining_worker_sends_outcomes_at_once_and_is_drained_only_when_all_is_accounted_for() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({"store": {"outcome_batch_delay_ms": 10_000}}));
        let asked = gateway.ask(PUSH);
        assert!(!gateway.driver.drain(), "a push is open");
        gateway.commit(&asked, "claimed");
        gateway.end(asked.stream);
        let callback = gateway.callbacks().pop().unwrap();
        gateway.advance(100);
        assert!(!gateway.driver.is_drained(), "a callback is under way");
        gateway.respond(&callback, &upstream(200, b""));
        assert!(!gateway.driver.is_drained(), "an outcome waits");
        assert_eq!(gateway.report().len(), 1);
        gateway.advance(100);
        assert!(gateway.driver.is_drained(), "{mode}");
    }
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

#[test]
fn p2_without_random_bits_a_push_is_not_claimed() {
    for mode in MODES {
        let mut gateway = Gateway::new(mode, json!({}));
        gateway.driver.draw(|| None);
        assert_eq!(gateway.try_ask(PUSH.as_bytes()).err(), Some(Reply::StoreUnavailable), "{mode}");
        assert_eq!(gateway.now(), at(0).monotonic_ms);
    }
}
