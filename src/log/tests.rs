use serde_json::{Value, json};

use crate::driver::Event;
use crate::metrics::{Counter, Metric};
use crate::testing::{AK, Gateway, MODES, PUSH, headers, push_of, with};

/// The lines of events of that name, of those that were logged.
fn lines<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn not_logged(lines: &[&Value]) -> u64 {
    lines.iter().filter_map(|line| line["not_logged"].as_u64()).sum()
}

/// One request of a stranger, or of a business gone mad.
type Request = fn(&mut Gateway);

/// Everything that can be provoked with a request, with the status it is answered with.
const REQUESTS: [(u16, Request); 9] = [
    (401, |gateway| {
        let mut headers = headers();
        headers.retain(|(name, _)| name != "x-aksk");
        gateway.stream(&headers, false);
    }),
    (401, |gateway| drop(gateway.stream(&with("x-aksk", b"nonsense"), false))),
    (401, |gateway| drop(gateway.stream(&with("x-aksk", b"\xff"), false))),
    (405, |gateway| drop(gateway.stream(&with(":method", b"GET"), false))),
    (413, |gateway| drop(gateway.stream(&with("content-length", b"999999999999"), false))),
    (415, |gateway| drop(gateway.stream(&with("content-type", b"text/plain"), false))),
    (400, |gateway| drop(gateway.stream(&headers(), true))),
    (400, |gateway| drop(gateway.push(b"{"))),
    (400, |gateway| drop(gateway.push(br#"{"eventType":"fee","feeLst":[]}"#))),
];

#[test]
fn p6_a_flood_writes_one_line_a_second_for_each_reason_and_says_how_many_are_missing() {
    const FLOOD: u64 = 1_000;
    const SECONDS: u64 = 5;
    for mode in MODES {
        for (number, (status, request)) in REQUESTS.into_iter().enumerate() {
            let mut gateway = Gateway::new(mode, json!({}));
            for _ in 0..SECONDS * 10 {
                (0..FLOOD / 10).for_each(|_| request(&mut gateway));
                gateway.advance(100);
            }
            gateway.advance(2_000);
            let events = gateway.events();
            let lines = lines(&events, "push_answered");
            let of_it = lines.iter().filter(|line| line["status"] == status).count();
            assert_eq!(of_it, lines.len(), "{mode} {number}: {events:#?}");
            assert!((1..=SECONDS as usize + 1).contains(&lines.len()), "{mode} {number}: {} lines", lines.len());
            assert_eq!(lines.len() as u64 + not_logged(&lines), FLOOD * SECONDS, "{mode} {number}: none is lost");
        }
    }
}

#[test]
fn reasons_do_not_hide_each_other() {
    let mut gateway = Gateway::new("hold", json!({}));
    for _ in 0..500 {
        for (_, request) in REQUESTS {
            request(&mut gateway);
        }
    }
    let events = gateway.events();
    assert_eq!(lines(&events, "push_answered").len(), REQUESTS.len(), "each at once, though others flood: {events:#?}");
}

#[test]
fn a_line_alone_is_logged_at_once_and_says_nothing_of_others() {
    let mut gateway = Gateway::new("hold", json!({}));
    for _ in 0..3 {
        (REQUESTS[0].1)(&mut gateway);
        let events = gateway.events();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].get("not_logged"), None, "{events:?}");
        gateway.advance(1_000);
        assert_eq!(gateway.count_events("push_answered"), 0);
    }
}

#[test]
fn the_metric_counts_what_is_not_logged() {
    let mut gateway = Gateway::new("hold", json!({}));
    (0..500).for_each(|_| (REQUESTS[0].1)(&mut gateway));
    gateway.advance(200);
    assert_eq!(gateway.driver.told(Metric::Counter(Counter::PushesUnauthorized)), 500);
}

#[test]
fn p4_pushes_that_give_way_or_find_no_room_are_limited_as_well() {
    let more = json!({"limits": {"pending_bytes": 2_097_152, "max_body_bytes": 65_536}});
    let mut gateway = Gateway::new("hold", more);
    for _ in 0..2_000 {
        let _ = gateway.open();
        gateway.advance(1);
    }
    gateway.advance(2_000);
    let events = gateway.events();
    for answer in ["gave_way", "busy"] {
        let lines: Vec<_> = events.iter().filter(|event| event["answer"] == answer).collect();
        assert!((1..=5).contains(&lines.len()), "{answer}: {} lines", lines.len());
    }
}

#[test]
fn what_is_withheld_when_the_configuration_is_replaced_is_logged_then() {
    let mut gateway = Gateway::new("hold", json!({}));
    (0..100).for_each(|_| (REQUESTS[0].1)(&mut gateway));
    gateway.events();
    assert!(gateway.driver.drain());
    let events = gateway.events();
    assert_eq!(lines(&events, "push_answered").len(), 1);
    assert_eq!(events[0]["not_logged"], 98);
}

#[test]
fn a_store_that_is_away_is_said_once_a_second_however_many_pushes_miss_it() {
    let mut gateway = Gateway::new("pass", json!({}));
    for number in 0..300 {
        let asked = gateway.ask(&push_of(number, 1));
        gateway.miss(&asked, 503);
    }
    let events = gateway.events();
    assert_eq!(lines(&events, "claims_missed").len(), 1, "{events:#?}");
}

/// The business answers that many callbacks with `status`; the lines of those that finished.
fn finished(calls: usize, status: u16) -> Vec<Value> {
    let mut gateway = Gateway::new("hold", json!({}));
    let mut callbacks = Vec::new();
    for number in 0..calls {
        let asked = gateway.ask(&push_of(number, 1));
        gateway.commit(&asked, "claimed");
        callbacks.extend(gateway.callbacks());
    }
    for sent in callbacks {
        gateway.respond_status(&sent, status);
    }
    gateway.advance(2_000);
    let events = gateway.events();
    lines(&events, "callback_finished").into_iter().cloned().collect()
}

#[test]
fn a_finished_callback_names_its_business_and_cluster() {
    for status in [200, 500] {
        let lines = finished(1, status);
        assert_eq!(lines.len(), 1);
        assert_eq!((&lines[0]["ak"], &lines[0]["cluster"]), (&json!(AK), &json!("business")), "{status}");
        assert!(lines[0]["call_id"].is_string() && lines[0]["outcome"].is_object(), "{lines:?}");
    }
}

#[test]
fn a_call_of_a_business_that_is_not_configured_names_none() {
    let mut gateway = Gateway::new("hold", json!({"businesses": []}));
    gateway.events();
    let asked = gateway.ask(PUSH);
    gateway.commit(&asked, "claimed");
    let events = gateway.events();
    let lines = lines(&events, "callback_finished");
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].get("ak"), lines[0].get("cluster")), (None, None), "{lines:?}");
}

#[test]
fn a_business_that_fails_gets_twenty_lines_a_second() {
    let lines = finished(300, 500);
    assert_eq!(lines.len(), 21, "twenty at once, one after a second");
    assert_eq!(lines.iter().filter_map(|line| line["not_logged"].as_u64()).sum::<u64>(), 279);
}

#[test]
fn a_refused_callback_names_its_business_and_cluster() {
    let mut gateway = Gateway::new("hold", json!({}));
    let asked = gateway.ask(PUSH);
    gateway
        .driver
        .refuse(|request| (*request.head.cluster == *"business").then_some(crate::dispatcher::Refusal::NoCluster));
    gateway.commit(&asked, "claimed");
    gateway.drive();
    let events = gateway.events();
    let lines = lines(&events, "callback_refused");
    assert_eq!(lines.len(), 1, "{events:#?}");
    assert_eq!((&lines[0]["ak"], &lines[0]["cluster"]), (&json!(AK), &json!("business")));
}

#[test]
fn a_withheld_line_wakes_the_worker_once_and_not_for_ever() {
    let mut gateway = Gateway::new("hold", json!({}));
    let mut headers = headers();
    headers.retain(|(name, _)| name != "x-aksk");
    for stream in 1..=10 {
        gateway.driver.step(stream, Event::RequestHeaders { headers: &headers, is_end: false });
    }
    gateway.advance(5_000);
    assert_eq!(gateway.count_events("push_answered"), 2);
    assert_eq!(gateway.driver.time(), None, "no timer runs when there is nothing to say");
}
