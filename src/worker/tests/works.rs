//! Works: calls that wait in the store until a worker takes them (`docs/claim-protocol.md`, rule 20).

use std::collections::BTreeSet;

use privatenumber_contract::{Outcome, PushId, Skipped, WorkRequest, limits, paths};
use serde_json::{Value, json};

use super::super::period_of;
use crate::dispatcher::{Gauges, HttpAnswer, Refusal};
use crate::driver::{Driver, Event, Sent};
use crate::testing::{
    AK, CUT_OFF, Gateway, PUSH, TIMEOUT, at, batch_answer, config, problem, push_of, pushes, result, upstream,
    works_answer,
};

/// A gateway that takes works when an answer says that some wait, and otherwise every five seconds.
fn gateway(more: Value) -> Gateway {
    let mut all = json!({"store": {"work_interval_ms": 5_000}});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut gateway = Gateway::new("hold", all);
    gateway.serve();
    gateway
}

fn request(sent: &Sent) -> WorkRequest {
    assert_eq!(sent.path, paths::WORK_TAKE);
    serde_json::from_slice(&sent.body).unwrap()
}

fn answer(gateway: &mut Gateway, sent: &Sent, answer: &Value) {
    gateway.respond(sent, &upstream(200, answer.to_string().as_bytes()));
}

/// A gateway whose first request for works is under way.
fn asking() -> (Gateway, Sent) {
    let mut gateway = gateway(json!({}));
    let sent = gateway.next_works();
    (gateway, sent)
}

/// Answers the callbacks and reports their outcomes; returns how many there were.
fn finish(gateway: &mut Gateway) -> usize {
    let callbacks = gateway.callbacks();
    for sent in &callbacks {
        gateway.respond_status(sent, 200);
    }
    gateway.advance(10);
    gateway.report();
    callbacks.len()
}

#[test]
fn an_idle_worker_asks_every_few_seconds_for_what_it_has_room_for_and_calls_back() {
    let (mut gateway, sent) = asking();
    assert!(gateway.now() < 5_000);
    let asked = request(&sent);
    assert_eq!((asked.most as usize, asked.ttl_ms), (limits::WORKS, 900_000));
    assert_eq!(gateway.gauges(), Gauges::default(), "nearly always there is nothing: it does not count");
    answer(&mut gateway, &sent, &works_answer(&sent, 1, 2, 0));
    assert_eq!(gateway.gauges().pending_calls, 2);
    let callbacks = gateway.callbacks();
    let ids: Vec<_> = callbacks.iter().map(|sent| sent.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, [format!("{:032x}", 1), format!("{:032x}", 2)]);
    for sent in &callbacks {
        gateway.respond_status(sent, 200);
    }
    gateway.advance(10);
    let reports = gateway.depart();
    let reports: Value = serde_json::from_slice(&reports[0].body).unwrap();
    assert_eq!(reports["outcomes"][1]["pushId"], json!(asked.push_id), "under the push id of the request");
}

#[test]
fn an_idle_worker_does_not_spin_and_asks_at_moments_of_its_own() {
    let mut driver = Driver::new(config("hold", json!({"store": {"work_interval_ms": 5_000}})), at(0), 7);
    assert_eq!(driver.time(), None, "no request ever reaches the VM of Envoy's main thread");
    driver.step(1, Event::RequestHeaders { headers: &[], is_end: true });
    driver.step(1, Event::Ended);
    let (mut wakings, mut asked) = (0, Vec::new());
    while let Some(time) = driver.time().filter(|time| *time < 600_000) {
        driver.set_now(at(time));
        driver.drive();
        wakings += 1;
        for sent in driver.take_sent() {
            asked.push(request(&sent));
            driver.respond(sent.token, &upstream(200, works_answer(&sent, 0, 0, 0).to_string().as_bytes()));
        }
    }
    assert!((119..=162).contains(&asked.len()), "{} requests in ten minutes", asked.len());
    assert!(wakings <= 4 * asked.len(), "{wakings} wake-ups for {} requests", asked.len());
    let ids: BTreeSet<PushId> = asked.iter().map(|request| request.push_id).collect();
    assert_eq!(ids.len(), asked.len(), "each under an id of its own");
    assert_eq!(driver.gauges(), Gauges::default());
}

#[test]
fn a_worker_that_hears_of_works_asks_at_once_and_once_at_a_time() {
    let mut gateway = gateway(json!({}));
    gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    let said = |waiting| {
        let mut said: Value =
            serde_json::from_slice(&batch_answer(&[result(&pushes(&claims)[0], "duplicate")])).unwrap();
        said["worksWaiting"] = json!(waiting);
        said.to_string()
    };
    let now = gateway.now();
    gateway.respond(&claims, &upstream(200, said(120).as_bytes()));
    let [sent] = gateway.works().try_into().unwrap();
    assert_eq!(gateway.now(), now, "at once");
    gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    let heard = said(120).replace(&pushes_id(&said(0)), &pushes_id_of(&claims));
    gateway.respond(&claims, &upstream(200, heard.as_bytes()));
    assert!(gateway.works().is_empty(), "one at a time");
    answer(&mut gateway, &sent, &works_answer(&sent, 0, 50, 70));
    let [next] = gateway.works().try_into().unwrap();
    assert_ne!(request(&next).push_id, request(&sent).push_id);
    answer(&mut gateway, &next, &works_answer(&next, 50, 20, 0));
    assert!(gateway.works().is_empty(), "nothing waits any more");
    assert_eq!(finish(&mut gateway), 70);
}

fn pushes_id(said: &str) -> String {
    serde_json::from_str::<Value>(said).unwrap()["pushes"][0]["pushId"].as_str().unwrap().to_owned()
}

fn pushes_id_of(claims: &Sent) -> String {
    super::ids(claims)[0].to_string()
}

#[test]
fn where_others_were_faster_a_worker_pauses_before_it_asks_again() {
    let (mut gateway, sent) = asking();
    let began = gateway.now();
    answer(&mut gateway, &sent, &works_answer(&sent, 0, 0, 9));
    assert!(gateway.works().is_empty());
    let again = gateway.next_works();
    assert!((1_000..1_010).contains(&(gateway.now() - began)), "{} ms", gateway.now() - began);
    answer(&mut gateway, &again, &works_answer(&again, 0, 0, 0));
}

#[test]
fn p8_rule_20_a_request_whose_answer_was_missed_is_repeated_with_its_id_until_the_store_answers() {
    let misses = [
        TIMEOUT,
        CUT_OFF,
        upstream(500, b""),
        upstream(503, b""),
        upstream(401, b""),
        upstream(429, b""),
        problem(422),
    ];
    let (mut gateway, mut sent) = asking();
    let first = request(&sent);
    for missed in misses {
        gateway.respond(&sent, &missed);
        assert_eq!(gateway.gauges().pending_calls, limits::WORKS, "it keeps its room");
        sent = gateway.next_works();
        assert_eq!(request(&sent), first, "{missed:?}");
    }
    // Now that the store may have granted something, not even a 404 ends the asking.
    gateway.respond_status(&sent, 404);
    sent = gateway.next_works();
    assert_eq!(request(&sent), first);
    answer(&mut gateway, &sent, &works_answer(&sent, 0, 3, 0));
    assert_eq!(finish(&mut gateway), 3);
    assert!(gateway.is_idle());
}

#[test]
fn a_store_that_was_replaced_by_an_older_one_does_not_keep_a_worker_from_being_drained() {
    let (mut gateway, mut sent) = asking();
    gateway.respond(&sent, &TIMEOUT);
    gateway.driver.drain();
    for _ in 0..5 {
        assert!(!gateway.driver.is_drained());
        sent = gateway.next_works();
        gateway.respond_status(&sent, 404);
    }
    gateway.drive();
    assert!(gateway.driver.is_drained() && gateway.is_idle());
}

#[test]
fn p1_rule_20_an_answer_counts_as_a_whole_or_not_at_all() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("for another push", |answer| answer["pushId"] = json!(PushId::from_bytes([9; 16]))),
        ("with a call twice", |answer| answer["calls"][1] = answer["calls"][0].clone()),
        ("with a duplicate", |answer| answer["calls"][1]["verdict"] = json!("duplicate")),
        ("with a held call", |answer| answer["calls"][1]["verdict"] = json!("held")),
        ("without a record", |answer| drop(answer["calls"][1].as_object_mut().unwrap().remove("record"))),
        ("with an id that is none", |answer| answer["calls"][1]["callId"] = json!("a: b")),
        ("with an unknown verdict", |answer| answer["calls"][1]["verdict"] = json!("unheard-of")),
        ("with more works than asked for", |answer| {
            let call = |number: usize| json!({"verdict": "claimed", "callId": format!("{number:032x}"), "ak": AK, "record": {}});
            answer["calls"] = (0..=limits::WORKS).map(call).collect();
        }),
        ("that is none", |answer| *answer = json!([])),
    ];
    for (name, change) in changes {
        let (mut gateway, sent) = asking();
        let mut changed = works_answer(&sent, 0, 2, 0);
        change(&mut changed);
        answer(&mut gateway, &sent, &changed);
        assert!(gateway.callbacks().is_empty(), "{name}");
        let again = gateway.next_works();
        assert_eq!(request(&again), request(&sent), "{name}: it is repeated");
        answer(&mut gateway, &again, &works_answer(&again, 0, 2, 0));
        // A late copy of it changes nothing.
        answer(&mut gateway, &again, &works_answer(&again, 0, 2, 0));
        assert_eq!(finish(&mut gateway), 2, "{name}");
        assert!(gateway.is_idle(), "{name}");
    }
}

#[test]
fn p3_a_work_that_was_erased_or_is_nobodys_ends_with_its_reason() {
    let (mut gateway, sent) = asking();
    let mut said = works_answer(&sent, 0, 3, 0);
    said["calls"][0] = json!({"verdict": "erased", "callId": format!("{:032x}", 0)});
    said["calls"][1]["ak"] = json!("of-another-gateway");
    said["calls"][2]["ak"] = json!(null);
    answer(&mut gateway, &sent, &said);
    assert!(gateway.callbacks().is_empty());
    gateway.advance(10);
    let reasons = gateway.report();
    assert_eq!(
        reasons[1..],
        [Outcome::Skipped { reason: Skipped::NoCallback }, Outcome::Skipped { reason: Skipped::NoBinding },]
    );
    assert!(matches!(reasons[0], Outcome::NotSent { .. }));
    assert!(gateway.is_idle());
}

#[test]
fn p8_rule_20_a_request_that_certainly_granted_nothing_gives_its_room_back() {
    let unreachable = HttpAnswer {
        from_upstream: false,
        ..upstream(
            503,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        )
    };
    for missed in [unreachable, upstream(404, b"")] {
        let (mut gateway, sent) = asking();
        gateway.respond(&sent, &missed);
        assert!(gateway.is_idle(), "{missed:?}");
        let again = gateway.next_works();
        assert_ne!(request(&again).push_id, request(&sent).push_id, "{missed:?}");
    }
    let mut gateway = gateway(json!({}));
    gateway.driver.refuse(|_| Some(Refusal::NoHealthyHost));
    gateway.advance(20_000);
    assert!(gateway.works().is_empty() && gateway.is_idle());
    gateway.driver.refuse(|_| None);
    gateway.next_works();
}

#[test]
fn a_store_that_does_not_know_works_is_asked_once_a_minute_and_reported_as_often() {
    let (mut gateway, mut sent) = asking();
    gateway.events();
    for _ in 0..3 {
        let now = gateway.now();
        gateway.respond_status(&sent, 404);
        // Nor do the answers to pushes change that.
        let asked = gateway.ask(PUSH);
        gateway.commit(&asked, "duplicate");
        sent = gateway.next_works();
        assert!((60_000..61_000).contains(&(gateway.now() - now)), "{} ms", gateway.now() - now);
    }
    assert_eq!(gateway.count_events("works_unknown"), 3);
}

#[test]
fn missed_answers_are_reported_as_news_once_a_minute() {
    let (mut gateway, mut sent) = asking();
    gateway.events();
    let end = gateway.now() + 600_000;
    while gateway.now() < end {
        gateway.respond_status(&sent, 503);
        sent = gateway.next_works();
    }
    let events = gateway.events();
    let missed: Vec<_> = events.iter().filter(|event| event["event"] == "works_missed").collect();
    let news = missed.iter().filter(|event| event["repeated"] == json!(false)).count();
    assert!(missed.len() > 50 && (9..=11).contains(&news), "{news} of {}", missed.len());
}

#[test]
fn p4_works_take_a_quarter_of_the_room_and_wait_for_more() {
    let mut gateway = gateway(json!({"limits": {"pending_calls": 50}}));
    let sent = gateway.next_works();
    assert_eq!(request(&sent).most, 12);
    let other = (0..39).map_while(|number| gateway.push(push_of(number, 1).as_bytes()).ok()).count();
    assert_eq!(other, 38, "room is taken before the store is asked");
    gateway.advance(5);
    for claims in gateway.claims() {
        gateway.answer_all(&claims, "duplicate");
    }
    assert_eq!(gateway.replies().len(), 38);
    answer(&mut gateway, &sent, &works_answer(&sent, 0, 12, 30));
    assert!(gateway.works().is_empty(), "no room");
    gateway.advance(20_000);
    assert!(gateway.works().is_empty(), "nor later");
    let callbacks = gateway.callbacks();
    assert_eq!(callbacks.len(), 12);
    // Pushes find room meanwhile.
    let asked = gateway.ask(PUSH);
    gateway.commit(&asked, "duplicate");
    for sent in callbacks.iter().take(5) {
        gateway.respond_status(sent, 200);
    }
    gateway.advance(10);
    gateway.report();
    let sent = gateway.next_works();
    assert_eq!(request(&sent).most, 5, "as soon as there is room");
}

#[test]
fn p8_rule_9_a_draining_worker_begins_nothing_and_finishes_what_it_asked() {
    let mut idle = gateway(json!({}));
    assert!(idle.driver.drain(), "nothing is pending");

    let (mut gateway, sent) = asking();
    assert!(!gateway.driver.drain(), "what is asked for may be granted");
    gateway.respond(&sent, &TIMEOUT);
    let again = gateway.next_works();
    assert_eq!(request(&again), request(&sent));
    answer(&mut gateway, &again, &works_answer(&again, 0, 1, 7));
    assert!(!gateway.driver.is_drained());
    assert_eq!(finish(&mut gateway), 1);
    gateway.advance(600_000);
    assert!(gateway.works().is_empty() && gateway.driver.is_drained());
    assert_eq!(gateway.driver.time(), None);
}

#[test]
fn a_gateway_that_takes_no_works_never_asks() {
    let mut gateway = Gateway::new("hold", json!({"store": {"work_interval_ms": 0}}));
    assert_eq!(gateway.driver.time(), None, "an idle worker is not woken at all");
    let asked = gateway.ask(PUSH);
    gateway.commit(&asked, "duplicate");
    gateway.advance(600_000);
    assert!(gateway.works().is_empty());
}

#[test]
fn p1_without_random_bits_no_works_are_asked_for() {
    let mut gateway = gateway(json!({}));
    gateway.driver.draw(|| None);
    gateway.advance(60_000);
    assert!(gateway.works().is_empty() && gateway.is_idle());
}

#[test]
fn a_long_pause_is_waited_for_as_a_whole() {
    assert_eq!([1, 4, 50, 300, 999, 1_000, 4_321].map(period_of), [1, 5, 20, 100, 500, 1_000, 4_321]);
}
