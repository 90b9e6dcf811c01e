//! Pushes that are held: batches of claim requests, verdicts, retries and room (`docs/claim-protocol.md`, rules 1 to 11).

mod works;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use privatenumber_contract::{CdrText, Push, PushId, limits, paths};
use serde_json::{Value, json};

use crate::admission::FIRST_BYTES;
use crate::dispatcher::{HttpAnswer, Refusal};
use crate::driver::{Action, Event, Sent};
use crate::metrics::{CALLBACKS, Counter, Metric};
use crate::reply::Reply;
use crate::streams::StreamId;
use crate::testing::{
    AK, CUT_OFF, Gateway, PUSH, TIMEOUT, at, batch_answer, cdr, config, fee, ids, problem, push_of, pushes, result,
    upstream, with,
};

fn gateway(more: Value) -> Gateway {
    Gateway::new("hold", more)
}

/// The store's answer with these results.
fn answer(gateway: &mut Gateway, sent: &Sent, results: &[Value]) {
    gateway.respond(sent, &upstream(200, &batch_answer(results)));
}

fn sizes(sent: &[Sent]) -> Vec<usize> {
    sent.iter().map(|sent| ids(sent).len()).collect()
}

#[test]
fn a_batch_leaves_when_it_is_full_or_its_oldest_push_has_waited() {
    let mut gateway = gateway(json!({}));
    gateway.push_many(0, 3);
    assert!(gateway.claims().is_empty(), "they wait for others");
    gateway.advance(2);
    assert_eq!(sizes(&gateway.claims()), [3]);
    gateway.push_many(10, 16);
    assert_eq!(sizes(&gateway.claims()), [16], "without waiting");
}

#[test]
fn p2_rule_1_verdicts_are_matched_by_push_id_in_any_order() {
    let mut gateway = gateway(json!({}));
    let streams = gateway.push_many(0, 3);
    let claims = gateway.next_claims();
    let texts = pushes(&claims);
    let results = [result(&texts[2], "claimed"), result(&texts[0], "refused"), result(&texts[1], "duplicate")];
    answer(&mut gateway, &claims, &results);
    let mut statuses = gateway.statuses();
    statuses.sort_unstable();
    assert_eq!(statuses, [(streams[0], 503), (streams[1], 200), (streams[2], 200)]);
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p2_rule_1_a_verdict_for_another_push_or_that_is_not_whole_counts_for_nothing() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("for another push", |result| result["pushId"] = json!(PushId::from_bytes([9; 16]))),
        ("with too few calls", |result| result["calls"] = json!([])),
        ("with too many calls", |result| {
            let mut more = result["calls"][0].clone();
            more["callId"] = json!("00112233445566778899aabbccddeeff");
            result["calls"].as_array_mut().unwrap().push(more);
        }),
        ("without a record", |result| drop(result["calls"][0].as_object_mut().unwrap().remove("record"))),
        ("with a null record", |result| result["calls"][0]["record"] = json!(null)),
        ("with an id that is none", |result| result["calls"][0]["callId"] = json!("a: b")),
    ];
    for (name, change) in changes {
        let mut gateway = gateway(json!({}));
        let streams = gateway.push_many(0, 2);
        let claims = gateway.next_claims();
        let texts = pushes(&claims);
        let mut changed = result(&texts[0], "claimed");
        change(&mut changed);
        answer(&mut gateway, &claims, &[changed, result(&texts[1], "claimed")]);
        assert_eq!(gateway.statuses(), [(streams[1], 200)], "{name}");
        assert_eq!(gateway.callbacks().len(), 1, "{name}");
        let again = gateway.next_claims();
        assert_eq!(ids(&again), ids(&claims)[..1], "{name}: it is asked for again");
        gateway.answer_all(&again, "claimed");
        assert_eq!(gateway.statuses(), [(streams[0], 200)], "{name}");
        assert_eq!(gateway.callbacks().len(), 1, "{name}");
    }
}

#[test]
fn p1_rule_1_a_call_claimed_twice_in_one_answer_is_called_back_for_neither() {
    let mut gateway = gateway(json!({}));
    // The same CDR, twice from Huawei.
    let first = gateway.push(PUSH.as_bytes()).unwrap();
    let second = gateway.push(PUSH.as_bytes()).unwrap();
    let third = gateway.push(push_of(3, 1).as_bytes()).unwrap();
    let claims = gateway.next_claims();
    let results: Vec<_> = pushes(&claims).iter().map(|push| result(push, "claimed")).collect();
    answer(&mut gateway, &claims, &results);
    assert_eq!(gateway.statuses(), [(third, 200)]);
    assert_eq!(gateway.callbacks().len(), 1, "the third push's");
    gateway.advance(500);
    let mut answered = Vec::new();
    for (sent, verdict) in gateway.claims().iter().zip(["claimed", "duplicate"]) {
        assert_eq!(ids(sent).len(), 1);
        gateway.answer_all(sent, verdict);
    }
    answered.extend(gateway.statuses());
    answered.sort_unstable();
    assert_eq!(answered, [(first, 200), (second, 200)]);
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p8_rule_2_the_callback_is_under_way_before_its_stream_is_answered() {
    let mut gateway = gateway(json!({}));
    gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    gateway.answer_all(&claims, "claimed");
    let gauges = gateway.gauges();
    assert_eq!(gauges.callback_queue + gauges.callbacks_in_flight, 1, "queued");
    assert_eq!(gateway.statuses().len(), 1);
}

#[test]
fn p2_rule_2_only_a_pushs_own_verdict_answers_its_stream() {
    for verdict in ["claimed", "duplicate", "parked", "held", "erased"] {
        let mut gateway = gateway(json!({}));
        let stream = gateway.push(PUSH.as_bytes()).unwrap();
        let claims = gateway.next_claims();
        gateway.answer_all(&claims, verdict);
        assert_eq!(gateway.statuses(), [(stream, 200)], "{verdict}");
    }
    for verdict in ["refused", "expired"] {
        let mut gateway = gateway(json!({}));
        let stream = gateway.push(PUSH.as_bytes()).unwrap();
        let claims = gateway.next_claims();
        gateway.answer_all(&claims, verdict);
        assert_eq!(gateway.statuses(), [(stream, 503)], "{verdict}");
        gateway.end(stream);
        gateway.advance(100_000);
        assert!(gateway.depart().is_empty() && gateway.is_idle(), "{verdict}: it is asked for no more");
    }
    let mut gateway = gateway(json!({}));
    gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    answer(&mut gateway, &claims, &[]);
    assert!(gateway.replies().is_empty(), "a 200 that says nothing of it");
}

/// All that may come in place of verdicts.
fn misses() -> Vec<HttpAnswer<'static>> {
    let statuses = [200, 204, 302, 400, 401, 403, 408, 409, 413, 422, 429, 500, 502, 503, 504];
    let plain = statuses.into_iter().map(|status| upstream(status, b"{}"));
    let problems = [400, 401, 403, 408, 413, 415, 422, 429, 500, 503].into_iter().map(problem);
    plain.chain(problems).chain([CUT_OFF, TIMEOUT, upstream(200, b"{\"pushes\":[{\"pushId\"")]).collect()
}

#[test]
fn p8_rule_3_whatever_else_ends_a_batch_puts_its_pushes_back_with_the_same_ids() {
    for missed in misses() {
        let mut gateway = gateway(json!({}));
        let streams = gateway.push_many(0, 2);
        let claims = gateway.next_claims();
        let mut before = ids(&claims);
        gateway.respond(&claims, &missed);
        assert!(gateway.replies().is_empty(), "{missed:?} answers nobody");
        let mut calls_back = 0;
        let mut again = Vec::new();
        while again.len() < 2 {
            gateway.advance_to_sent();
            for sent in gateway.claims() {
                again.extend(ids(&sent));
                gateway.answer_all(&sent, "claimed");
            }
            calls_back += gateway.callbacks().len();
        }
        before.sort_unstable();
        again.sort_unstable();
        assert_eq!(again, before, "{missed:?}");
        let mut statuses = gateway.statuses();
        statuses.sort_unstable();
        assert_eq!(statuses, streams.iter().map(|stream| (*stream, 200)).collect::<Vec<_>>(), "{missed:?}");
        assert_eq!(calls_back + gateway.callbacks().len(), 2, "{missed:?}");
    }
}

#[test]
fn p4_rule_4_a_push_that_the_store_cannot_stomach_ends_up_alone_and_holds_up_nobody() {
    let mut gateway = gateway(json!({"store": {"patience_ms": 30_000}}));
    let streams = gateway.push_many(0, 16);
    let poison = ids(&gateway.next_claims())[5];
    // That first batch never comes back by itself.
    let first = 1;
    gateway.driver.respond(first, &CUT_OFF);
    let mut answered = Vec::new();
    let mut largest_with_poison = usize::MAX;
    for _ in 0..200 {
        gateway.advance_to_sent();
        for sent in gateway.claims() {
            if ids(&sent).contains(&poison) {
                assert!(ids(&sent).len() <= largest_with_poison.div_ceil(2), "halved");
                largest_with_poison = ids(&sent).len().max(1);
                gateway.respond(&sent, &CUT_OFF);
            } else {
                gateway.answer_all(&sent, "claimed");
            }
        }
        answered.extend(gateway.statuses());
        gateway.callbacks();
        if answered.len() == 15 && largest_with_poison == 1 {
            break;
        }
    }
    assert_eq!(largest_with_poison, 1, "down to alone");
    assert!(answered.iter().all(|(stream, status)| streams.contains(stream) && *status == 200), "{answered:?}");
    assert_eq!(answered.len(), 15, "all the others");
    // It alone fails for ever, and that closes the gateway for nobody.
    for _ in 0..10 {
        gateway.advance(10_000);
        for sent in gateway.claims() {
            assert_eq!(ids(&sent), [poison]);
            gateway.respond(&sent, &CUT_OFF);
        }
    }
    assert!(gateway.push(push_of(99, 1).as_bytes()).is_ok());
}

#[test]
fn rule_4_batches_shrink_when_they_may_have_been_too_large_and_grow_back() {
    for missed in [CUT_OFF, upstream(413, b"")] {
        let mut gateway = gateway(json!({}));
        gateway.push_many(0, 16);
        let claims = gateway.next_claims();
        gateway.respond(&claims, &missed);
        gateway.push_many(20, 16);
        gateway.advance(2);
        assert_eq!(sizes(&gateway.claims())[0], 8, "{missed:?}");
        let mut gateway = self::gateway(json!({}));
        gateway.push_many(0, 16);
        let claims = gateway.next_claims();
        gateway.respond(&claims, &missed);
        for _ in 0..4 {
            for sent in gateway.claims() {
                gateway.answer_all(&sent, "duplicate");
            }
            gateway.advance(1_000);
        }
        gateway.push_many(40, 16);
        assert_eq!(sizes(&gateway.claims()), [16], "it has grown back");
    }
}

#[test]
fn rule_4_a_batch_is_bounded_by_what_its_answer_can_be_and_by_its_bytes() {
    let mut gateway = gateway(json!({}));
    for number in 0..4 {
        gateway.push(push_of(number, 30).as_bytes()).unwrap();
    }
    gateway.advance(2);
    assert_eq!(sizes(&gateway.claims()), [2, 2], "64 calls at most");
    let long = format!("\"{}\"", "9".repeat(200_000));
    for number in 10..16 {
        gateway.push(fee(&[cdr(number, &[("aKeyNobodyKnows", long.clone())])]).as_bytes()).unwrap();
    }
    gateway.advance(2);
    for sent in gateway.claims() {
        assert!(sent.body.len() <= limits::BATCH_BYTES, "{}", sent.body.len());
    }
}

#[test]
fn p8_rule_5_only_a_verdict_or_a_refusal_of_this_push_alone_ends_the_asking() {
    for status in [400, 413, 415, 422] {
        let mut gateway = gateway(json!({}));
        let stream = gateway.push(PUSH.as_bytes()).unwrap();
        let claims = gateway.next_claims();
        gateway.respond(&claims, &problem(status));
        assert_eq!(gateway.statuses(), [(stream, 503)], "{status}");
        gateway.end(stream);
        assert!(gateway.is_idle(), "{status}");
    }
    for missed in
        [401, 403, 408, 429, 500, 503].map(problem).into_iter().chain([400, 404].map(|status| upstream(status, b"")))
    {
        let mut gateway = gateway(json!({}));
        gateway.push(PUSH.as_bytes()).unwrap();
        let claims = gateway.next_claims();
        gateway.respond(&claims, &missed);
        assert!(gateway.replies().is_empty());
        assert_eq!(ids(&gateway.next_claims()), ids(&claims), "{missed:?}");
    }
}

#[test]
fn rule_6_what_was_never_asked_and_is_awaited_by_nobody_gives_way_and_what_was_asked_once_never() {
    let mut gateway = gateway(json!({"limits": {"pending_calls": 50}}));
    let asked = gateway.push_many(0, 20);
    gateway.advance(2);
    assert_eq!(gateway.claims().len(), 2, "these were asked");
    // The host refuses everything from here on.
    gateway.driver.refuse(|_| Some(Refusal::NoHealthyHost));
    let queued = gateway.push_many(20, 15);
    for stream in asked.iter().chain(&queued) {
        gateway.end(*stream);
    }
    let more = gateway.push_many(40, 15);
    assert_eq!(gateway.gauges().pending_calls, 50);
    assert!(gateway.push(push_of(90, 1).as_bytes()).is_ok(), "there is room again");
    assert_eq!(gateway.count_events("abandoned_dropped"), 1);
    assert_eq!(gateway.gauges().pending_calls, 20 + more.len() + 1, "none that was asked is gone");
}

#[test]
fn p1_rule_7_every_push_has_a_random_id_of_its_own() {
    let mut gateway = gateway(json!({}));
    let drawn = Rc::new(Cell::new(0));
    let count = Rc::clone(&drawn);
    gateway.driver.draw(move || {
        count.set(count.get() + 1);
        Some([count.get(); 16])
    });
    for _ in 0..3 {
        gateway.push(PUSH.as_bytes()).unwrap();
    }
    let claims = gateway.next_claims();
    assert_eq!(ids(&claims), [1, 2, 3].map(|byte| PushId::from_bytes([byte; 16])));
    assert_eq!(drawn.get(), 3);
}

#[test]
fn p1_rule_8_an_answer_that_comes_after_another_took_its_place_is_ignored() {
    let mut gateway = gateway(json!({}));
    gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    gateway.respond(&claims, &TIMEOUT);
    gateway.answer_all(&claims, "claimed");
    assert!(gateway.callbacks().is_empty() && gateway.replies().is_empty());
    let again = gateway.next_claims();
    gateway.answer_all(&again, "claimed");
    gateway.answer_all(&claims, "claimed");
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn rule_9_a_worker_is_drained_only_when_nothing_old_is_left() {
    let mut gateway = gateway(json!({"store": {"push_batch_delay_ms": 1_000}}));
    let reading = gateway.open().unwrap();
    let waiting = gateway.push(PUSH.as_bytes()).unwrap();
    assert!(!gateway.driver.drain());
    let claims = gateway.claims().pop().expect("batches leave without waiting to fill up");
    gateway.answer_all(&claims, "duplicate");
    assert_eq!(gateway.statuses(), [(waiting, 200)]);
    gateway.end(waiting);
    gateway.advance(1_000);
    assert!(!gateway.driver.is_drained(), "a push is still coming in");
    gateway.finish(reading, push_of(7, 1).as_bytes());
    let claims = gateway.next_claims();
    gateway.answer_all(&claims, "duplicate");
    gateway.replies();
    gateway.advance(100);
    assert!(gateway.driver.is_drained());
}

#[test]
fn rule_10_a_claim_that_is_granted_late_is_called_back() {
    let business = json!({"ak": AK, "cluster": "b", "authority": "b.example.com", "path": "/", "pending_calls": 50});
    let mut gateway = gateway(json!({"store": {"claim_deadline_seconds": 60}, "businesses": [business]}));
    let stream = gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    gateway.respond(&claims, &TIMEOUT);
    gateway.advance(3_600_000);
    assert_eq!(gateway.statuses(), [(stream, 503)]);
    let sent = gateway.claims().pop().unwrap();
    gateway.answer_all(&sent, "claimed");
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p8_rule_11_a_second_ask_falls_within_a_streams_patience() {
    let mut gateway = gateway(json!({}));
    let stream = gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    assert_eq!(claims.timeout_ms, 1_500);
    gateway.advance(1_500);
    gateway.respond(&claims, &TIMEOUT);
    let again = gateway.next_claims();
    assert!(gateway.now() < 5_000, "{}", gateway.now());
    gateway.answer_all(&again, "claimed");
    assert_eq!(gateway.statuses(), [(stream, 200)]);
}

#[test]
fn p8_rule_11_when_patience_ends_the_stream_gets_503_and_the_worker_goes_on_asking() {
    let mut gateway = gateway(json!({}));
    let stream = gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    gateway.advance(4_900);
    assert!(gateway.replies().is_empty());
    gateway.advance(700);
    assert_eq!(gateway.statuses(), [(stream, 503)]);
    gateway.respond(&claims, &TIMEOUT);
    let again = gateway.next_claims();
    assert_eq!(ids(&again), ids(&claims));
    gateway.answer_all(&again, "claimed");
    assert!(gateway.replies().is_empty(), "it has its reply");
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p4_rule_11_batches_that_hang_do_not_stop_the_worker() {
    let mut gateway = gateway(json!({"store": {"push_batch_size": 1}}));
    gateway.push_many(0, 6);
    assert_eq!(gateway.claims().len(), 4, "four young ones");
    gateway.advance(249);
    assert!(gateway.claims().is_empty());
    gateway.advance(100);
    assert_eq!(gateway.claims().len(), 2, "the four are old now");
    for number in 10..100 {
        gateway.push(push_of(number, 1).as_bytes()).unwrap();
        gateway.advance(70);
    }
    let under_way = 6 + gateway.claims().len();
    assert_eq!(under_way, 32, "and never more than that");
}

#[test]
fn p2_rule_11_after_three_failures_in_a_row_new_pushes_are_refused_until_a_success() {
    let mut gateway = gateway(json!({}));
    gateway.push_many(0, 8);
    let mut failed = 0;
    while failed < 3 {
        let sent = gateway.next_claims();
        gateway.respond(&sent, &problem(503));
        failed += 1;
        gateway.advance(1);
    }
    assert!(gateway.push(push_of(50, 1).as_bytes()).is_ok(), "one is let in");
    assert_eq!(gateway.push(push_of(51, 1).as_bytes()), Err(Reply::StoreUnavailable), "at once");
    gateway.advance(1_000);
    assert!(gateway.push(push_of(52, 1).as_bytes()).is_ok(), "another one, a second later");
    let sent = gateway.claims();
    assert_eq!(sent.len(), 1, "one batch at a time");
    gateway.answer_all(&sent[0], "duplicate");
    gateway.push_many(60, 20);
}

#[test]
fn p8_a_store_without_batches_is_asked_by_single_pushes_and_tried_again_after_a_minute() {
    let mut gateway = gateway(json!({}));
    let streams = gateway.push_many(0, 3);
    let claims = gateway.next_claims();
    gateway.respond(&claims, &problem(404));
    let singles = gateway.claims();
    assert!(singles.iter().all(|sent| sent.path == paths::PUSHES) && singles.len() == 3, "{singles:?}");
    for sent in &singles {
        gateway.answer_all(sent, "claimed");
    }
    let mut statuses = gateway.statuses();
    statuses.sort_unstable();
    assert_eq!(statuses, streams.iter().map(|stream| (*stream, 200)).collect::<Vec<_>>());
    assert_eq!(gateway.count_events("batches_unknown"), 1);
    gateway.advance(30_000);
    gateway.push_many(10, 1);
    let single = gateway.claims().pop().unwrap();
    assert_eq!(single.path, paths::PUSHES);
    gateway.answer_all(&single, "duplicate");
    assert_eq!(gateway.count_events("batches_unknown"), 0, "once a minute");
    gateway.advance(31_000);
    gateway.push_many(20, 1);
    gateway.advance(2);
    assert_eq!(gateway.claims().pop().unwrap().path, paths::PUSH_BATCHES);
}

#[test]
fn a_claim_request_says_what_later_stores_need() {
    let mut gateway = gateway(json!({}));
    gateway.push(PUSH.as_bytes()).unwrap();
    gateway.advance(2);
    let claims = gateway.claims().pop().unwrap();
    let text = pushes(&claims).pop().unwrap();
    let push: Push<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(push.application.as_ref().unwrap().ak.as_deref(), Some(AK));
    assert_eq!(push.age_ms, Some(2));
    assert_eq!(push.calls[0].ttl_ms, Some(900_000));
    let signature = push.signature.as_ref().unwrap();
    // Python: hashlib.sha256(b"00112233445566778899aabbccddeeff" + b"2026-01-05T02:30:24Z").hexdigest()[:32]
    assert_eq!((&*signature.scheme, &*signature.hash), ("aksk", "04b0314759f3243e16ed1877ee65b009"));
    let Some(CdrText::Json(cdr)) = &push.calls[0].cdr else { panic!("no text") };
    assert!(PUSH.contains(cdr.get()), "byte for byte");
    gateway.respond(&claims, &TIMEOUT);
    gateway.advance(500);
    let again = gateway.claims().pop().unwrap();
    let text = pushes(&again).pop().unwrap();
    assert!(serde_json::from_str::<Push<'_>>(&text).unwrap().age_ms >= Some(2), "its age grows");
}

#[test]
fn p2_what_is_not_utf_8_is_parked_with_its_very_bytes() {
    let mut gateway = gateway(json!({}));
    let bad = b"{\"appKey\":\"\xd5\xc5\xc8\xfd\",\"x\":\"\xd5\xc5\"}".as_slice();
    let body = [
        b"{\"eventType\":\"fee\",\"hostName\":\"\xd5\xc5\",\"feeLst\":[".as_slice(),
        cdr(1, &[]).as_bytes(),
        b",",
        bad,
        b",",
        cdr(2, &[]).as_bytes(),
        b"]}",
    ]
    .concat();
    gateway.push(&body).unwrap();
    let claims = gateway.next_claims();
    let text = pushes(&claims).pop().unwrap();
    let push: Push<'_> = serde_json::from_str(&text).unwrap();
    use base64::Engine as _;
    let kept = push.parked[0].raw_base64.as_ref().unwrap().expose().as_ref();
    assert_eq!(base64::prelude::BASE64_STANDARD.decode(kept).unwrap(), bad);
    assert_eq!(push.calls.len(), 2);
    assert!(push.calls.iter().all(|call| matches!(call.cdr, Some(CdrText::Json(_)))));
}

#[test]
fn p6_unfinished_pushes_hold_half_of_the_room_and_the_oldest_gives_way() {
    let mut gateway = gateway(json!({"limits": {"max_body_bytes": 65_536, "pending_bytes": 1_048_576}}));
    let half = 1_048_576 / 2 / FIRST_BYTES;
    let streams: Vec<_> = (0..half).map(|_| gateway.open().unwrap()).collect();
    assert_eq!(gateway.open(), Err(Reply::Busy), "none has had its time");
    gateway.advance(100);
    let late = gateway.open().unwrap();
    assert_eq!(gateway.driver.time(), Some(gateway.now()), "answered by the worker, not within another stream's event");
    assert_eq!(gateway.statuses(), [(streams[0], 408)]);
    assert_eq!(gateway.driver.step(streams[0], Event::RequestBody(10)), Action::Hold, "it goes nowhere");
    // What arrives makes others give way as well, and itself never.
    assert_eq!(gateway.driver.step(late, Event::RequestBody(3 * FIRST_BYTES)), Action::Hold);
    assert_eq!(gateway.statuses(), [(streams[1], 408), (streams[2], 408)]);
    let held = gateway.gauges().pending_bytes;
    assert!(held <= 1_048_576 / 2, "{held}");
    assert_eq!(gateway.finish(late, PUSH.as_bytes()), Action::Hold);
    let claims = gateway.next_claims();
    gateway.answer_all(&claims, "claimed");
    assert_eq!(gateway.statuses(), [(late, 200)], "a good push beside them");
    for stream in streams {
        gateway.end(stream);
    }
    assert_eq!(gateway.gauges().pushes_held, 0);
}

#[test]
fn p6_the_body_of_a_push_that_gave_way_is_counted_until_the_host_lets_go_of_it() {
    const LIMIT: usize = 1_048_576;
    const BODY: usize = 65_536;
    let mut gateway = gateway(json!({"limits": {"max_body_bytes": BODY, "pending_bytes": LIMIT}}));
    let mut refused = 0;
    // No reply leaves from within another stream's event, so Envoy still has all that gave way.
    for _ in 0..4 * LIMIT / BODY {
        gateway.driver.set_now(at(gateway.now() + 100));
        match gateway.open() {
            Ok(stream) if gateway.driver.step(stream, Event::RequestBody(BODY)) == Action::Hold => {}
            _ => refused += 1,
        }
        assert!(gateway.gauges().pending_bytes <= LIMIT, "{}", gateway.gauges().pending_bytes);
    }
    assert!(refused > 0, "there is no room until the replies are given");
    gateway.drive();
    assert!(gateway.statuses().iter().any(|(_, status)| *status == 408));
    assert!(gateway.push(PUSH.as_bytes()).is_ok());
}

#[test]
fn p6_pushes_that_are_begun_by_the_ten_thousand_keep_no_good_one_out() {
    let mut gateway = gateway(json!({}));
    for millisecond in 0..1_000 {
        for _ in 0..10 {
            gateway.open().unwrap();
        }
        if millisecond % 100 == 0 {
            gateway.push(PUSH.as_bytes()).unwrap();
        }
        gateway.advance(1);
    }
    assert!(gateway.statuses().iter().any(|(_, status)| *status == 408));
}

#[test]
fn p6_nothing_is_reserved_for_what_was_only_announced() {
    let mut gateway = gateway(json!({}));
    gateway.stream(&with("content-length", b"262144"), false);
    assert_eq!(gateway.gauges().pending_bytes, FIRST_BYTES);
}

#[test]
fn p8_a_stream_that_envoy_answers_itself_is_not_answered_again_and_its_claim_goes_on() {
    for status in [408, 413, 504] {
        let mut gateway = gateway(json!({}));
        let stream = gateway.push(PUSH.as_bytes()).unwrap();
        let claims = gateway.next_claims();
        assert_eq!(gateway.respond_to(stream, status), Action::LeaveAlone);
        gateway.answer_all(&claims, "claimed");
        assert!(gateway.replies().is_empty(), "{status}");
        assert_eq!(gateway.callbacks().len(), 1);
    }
}

#[test]
fn p2_somebody_elses_success_while_the_verdict_is_awaited_becomes_503() {
    let mut gateway = gateway(json!({}));
    let stream = gateway.push(PUSH.as_bytes()).unwrap();
    let claims = gateway.next_claims();
    let Action::Become(edits) = gateway.respond_to(stream, 200) else { panic!("it is passed on") };
    assert!(edits.set.contains(&(":status", "503".into())));
    gateway.answer_all(&claims, "claimed");
    assert!(gateway.replies().is_empty());
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p8_a_client_that_leaves_while_its_push_waits_is_called_back() {
    let mut gateway = gateway(json!({}));
    let queued = gateway.push(PUSH.as_bytes()).unwrap();
    gateway.end(queued);
    let claims = gateway.next_claims();
    gateway.answer_all(&claims, "claimed");
    assert!(gateway.replies().is_empty());
    assert_eq!(gateway.callbacks().len(), 1);
}

#[test]
fn p8_retry_is_asked_again_and_is_no_failure() {
    let mut gateway = gateway(json!({}));
    let streams = gateway.push_many(0, 2);
    let claims = gateway.next_claims();
    let texts = pushes(&claims);
    answer(&mut gateway, &claims, &[result(&texts[0], "claimed"), result(&texts[1], "retry")]);
    assert_eq!(gateway.statuses(), [(streams[0], 200)]);
    gateway.advance(200);
    let again = gateway.claims().pop().unwrap();
    assert_eq!(ids(&again), [ids(&claims)[1]]);
    gateway.answer_all(&again, "claimed");
    assert_eq!(gateway.statuses(), [(streams[1], 200)]);
}

#[test]
fn p6_many_streams_are_answered_a_few_at_a_time() {
    let mut gateway = gateway(json!({"limits": {"max_body_bytes": 65_536, "pending_bytes": 4_194_304}}));
    let streams: Vec<_> = (0..128).map(|_| gateway.open().unwrap()).collect();
    gateway.advance(1_000);
    // As much as half of the room: everybody else gives way to it.
    let large = gateway.open().unwrap();
    assert_eq!(gateway.driver.step(large, Event::RequestBody(60_000)), Action::Hold);
    let push = vec![b' '; 60_000];
    for _ in 0..30 {
        if let Ok(stream) = gateway.open() {
            gateway.driver.step(stream, Event::RequestBody(push.len()));
        }
    }
    let mut answered = 0;
    loop {
        gateway.driver.drive();
        let replies = gateway.driver.take_replies().len();
        assert!(replies <= 32, "{replies} at once");
        answered += replies;
        if replies == 0 {
            break;
        }
    }
    assert!(answered > 100, "{answered} of {} gave way", streams.len());
}

#[test]
fn p8_events_of_bodies_never_put_a_tick_off() {
    let mut gateway = gateway(json!({"store": {"push_batch_delay_ms": 10}}));
    let reading = gateway.open().unwrap();
    gateway.push(PUSH.as_bytes()).unwrap();
    let mut size = 1;
    while gateway.claims().is_empty() {
        size += 1;
        gateway.driver.step(reading, Event::RequestBody(size));
        gateway.driver.set_now(crate::testing::at(gateway.now() + 1));
        assert!(gateway.now() < 40, "the batch is put off for as long as a body arrives");
    }
}

#[test]
fn rule_9_a_worker_is_not_drained_before_every_stream_has_its_reply() {
    let mut gateway = gateway(json!({"store": {"push_batch_size": 64}}));
    gateway.push_many(0, 64);
    let claims = gateway.next_claims();
    assert!(!gateway.driver.drain());
    gateway.answer_all(&claims, "duplicate");
    let mut replied = 0;
    for _ in 0..10 {
        replied += gateway.driver.take_replies().len();
        assert_eq!(gateway.driver.is_drained(), replied == 64, "{replied} of 64 are answered");
        gateway.driver.drive();
    }
    assert_eq!(replied, 64);
}

#[test]
fn rule_4_a_batch_with_its_frame_and_its_ages_is_no_larger_than_the_contract_allows() {
    let mut gateway = gateway(json!({}));
    let push = |number: usize, bytes: usize| {
        fee(&[cdr(100 + number, &[("aKeyNobodyKnows", format!("\"{}\"", "9".repeat(bytes)))])])
    };
    let asked = gateway.try_ask(push(0, 1_000).as_bytes()).unwrap();
    gateway.commit(&asked, "duplicate");
    // Four that come to the limit by themselves, without brackets and commas.
    let each = limits::BATCH_BYTES / 4 - asked.json.len() + 1_000;
    let streams: Vec<_> = (1..=4).map(|number| gateway.push(push(number, each).as_bytes()).unwrap()).collect();
    gateway.advance(300);
    let sent = gateway.claims();
    assert_eq!(sizes(&sent).iter().sum::<usize>(), streams.len());
    for sent in &sent {
        assert!(sent.body.len() <= limits::BATCH_BYTES, "{}", sent.body.len());
    }
    // Their ages are longer by the time they are asked for again.
    for sent in &sent {
        gateway.respond(sent, &problem(503));
    }
    gateway.advance(20_000);
    for sent in gateway.claims() {
        assert!(sent.body.len() <= limits::BATCH_BYTES, "{}", sent.body.len());
    }
}

#[test]
fn a_push_that_envoy_answers_before_it_is_complete_is_held_no_longer_and_goes_nowhere() {
    for status in [408, 413, 503] {
        let mut gateway = gateway(json!({}));
        let stream = gateway.open().unwrap();
        assert_eq!(gateway.respond_to(stream, status), Action::LeaveAlone);
        assert!(gateway.gauges().pushes_held == 0 && gateway.gauges().pending_bytes == 0, "{:?}", gateway.gauges());
        assert_eq!(gateway.finish(stream, PUSH.as_bytes()), Action::Hold, "{status}");
        gateway.advance(10_000);
        assert!(gateway.claims().is_empty() && gateway.replies().is_empty(), "{status}: it is answered once");
    }
}

/// A gateway in which an unfinished push has given way, and the worker has not been woken yet to answer it.
fn gave_way() -> (Gateway, StreamId) {
    let mut gateway = gateway(json!({"limits": {"max_body_bytes": 65_536, "pending_bytes": 1_048_576}}));
    let first = gateway.open().unwrap();
    for _ in 1..1_048_576 / 2 / FIRST_BYTES {
        gateway.open().unwrap();
    }
    gateway.advance(1_000);
    gateway.open().unwrap();
    (gateway, first)
}

#[test]
fn p2_somebody_elses_success_passes_not_even_before_the_workers_own_reply() {
    for body in [None, Some(Event::RequestBody(10)), Some(Event::RequestEnd(PUSH.as_bytes()))] {
        let (mut gateway, stream) = gave_way();
        if let Some(event) = body {
            assert_eq!(gateway.driver.step(stream, event), Action::Hold);
        }
        let action = gateway.respond_to(stream, 200);
        let Action::Become(edits) = action else { panic!("{action:?}: {body:?}") };
        assert!(edits.set.contains(&(":status", "503".into())));
        assert!(gateway.replies().is_empty(), "{body:?}: it is answered once");
    }
}

#[test]
fn a_stream_that_envoy_answers_before_the_worker_can_is_answered_once() {
    for body in [None, Some(Event::RequestBody(10)), Some(Event::RequestEnd(PUSH.as_bytes()))] {
        let (mut gateway, stream) = gave_way();
        if let Some(event) = body {
            assert_eq!(gateway.driver.step(stream, event), Action::Hold);
        }
        assert_eq!(gateway.respond_to(stream, 504), Action::LeaveAlone);
        assert!(gateway.replies().is_empty(), "{body:?}");
    }
    let (mut gateway, stream) = gave_way();
    gateway.end(stream);
    assert!(gateway.replies().is_empty(), "there is nobody to answer");
}

#[test]
fn rule_11_where_first_asks_and_retries_wait_they_take_turns_and_first_asks_begin() {
    let mut gateway = gateway(json!({"store": {"push_batch_size": 1}}));
    gateway.push_many(0, 2);
    let missed = gateway.claims();
    let retries: Vec<_> = missed.iter().flat_map(ids).collect();
    for sent in &missed {
        gateway.respond(sent, &problem(503));
    }
    // Four young batches leave no room for anything else until one of them ends.
    gateway.push_many(10, 4 + 3);
    let mut under_way: VecDeque<_> = gateway.claims().into();
    assert_eq!(under_way.len(), 4);
    gateway.advance(120);
    assert!(gateway.claims().is_empty(), "both kinds are due and wait");
    let mut order = Vec::new();
    while let Some(sent) = under_way.pop_front() {
        gateway.answer_all(&sent, "duplicate");
        let next = gateway.claims();
        order.extend(next.iter().map(|sent| retries.contains(&ids(sent)[0])));
        under_way.extend(next);
    }
    assert_eq!(order, [false, true, false, true, false]);
}

#[test]
fn p8_claims_that_envoy_would_not_send_are_asked_again_later_with_the_same_ids() {
    let mut gateway = gateway(json!({"store": {"patience_ms": 30_000}}));
    let tries = Rc::new(Cell::new(0));
    let count = Rc::clone(&tries);
    gateway.driver.refuse(move |_| {
        count.set(count.get() + 1);
        Some(Refusal::NoHealthyHost)
    });
    let drawn = Rc::new(Cell::new(0));
    let draw = Rc::clone(&drawn);
    gateway.driver.draw(move || {
        draw.set(draw.get() + 1);
        Some([draw.get(); 16])
    });
    let streams = gateway.push_many(0, 2);
    gateway.advance(60);
    assert_eq!(tries.get(), 1, "not at once again");
    gateway.advance(2_000);
    assert!((3..20).contains(&tries.get()), "{}", tries.get());
    gateway.driver.refuse(|_| None);
    let mut asked = Vec::new();
    while asked.len() < 2 {
        gateway.advance_to_sent();
        for sent in gateway.claims() {
            asked.extend(ids(&sent));
            gateway.answer_all(&sent, "duplicate");
        }
    }
    asked.sort_unstable();
    assert_eq!(asked, [1, 2].map(|byte| PushId::from_bytes([byte; 16])));
    let mut statuses = gateway.statuses();
    statuses.sort_unstable();
    assert_eq!(statuses, [(streams[0], 200), (streams[1], 200)]);
}

#[test]
fn rule_11_bytes_under_way_are_bounded() {
    let more = json!({"store": {"push_batch_size": 1}, "limits": {"max_body_bytes": 2_097_152}});
    let mut gateway = gateway(more);
    let long = format!("\"{}\"", "9".repeat(2_000_000));
    for number in 0..14 {
        gateway.push(fee(&[cdr(number, &[("aKeyNobodyKnows", long.clone())])]).as_bytes()).unwrap();
        gateway.advance(100);
    }
    let bytes: usize = gateway.claims().iter().map(|sent| sent.body.len()).sum();
    assert!((14_000_000..16 * 1_024 * 1_024 + 2_100_000).contains(&bytes), "{bytes}");
    gateway.advance(1_000);
    assert!(gateway.claims().is_empty(), "nothing more before one of them has ended");
}

/// What the counters of the `business`-th business say.
fn told_of_business(gateway: &Gateway, business: usize) -> [i64; 4] {
    CALLBACKS.map(|counter| gateway.driver.told(Metric::Business { business, counter }))
}

#[test]
fn callbacks_are_counted_for_each_business_of_the_configuration() {
    let other = json!({"ak": "B", "cluster": "other", "authority": "b.example.com", "path": "/"});
    let mine = json!({"ak": AK, "cluster": "business", "authority": "a.example.com", "path": "/"});
    for (setting, expected) in [("auto", [1, 2, 0, 1]), ("on", [1, 2, 0, 1]), ("off", [0; 4])] {
        let mut gateway = gateway(json!({"businesses": [other, mine], "business_metrics": setting}));
        for (number, answer) in [upstream(200, b""), upstream(500, b""), upstream(302, b""), TIMEOUT].iter().enumerate()
        {
            let asked = gateway.ask(&push_of(number, 1));
            gateway.commit(&asked, "claimed");
            let [sent] = gateway.callbacks().try_into().unwrap();
            gateway.respond(&sent, answer);
            gateway.advance(100);
            assert_eq!(gateway.report().len(), 1);
        }
        gateway.advance(1_000);
        assert_eq!(told_of_business(&gateway, 1), expected, "{setting}");
        assert_eq!(told_of_business(&gateway, 0), [0; 4], "{setting}");
    }
}

#[test]
fn more_than_two_hundred_businesses_are_counted_one_by_one_only_when_asked_for() {
    let businesses = |count: usize| -> Value {
        let one = |number| json!({"ak": format!("B{number}"), "cluster": "c", "authority": "a", "path": "/"});
        (0..count).map(one).collect()
    };
    for (count, setting, expected) in [(200, "auto", true), (201, "auto", false), (201, "on", true), (1, "off", false)]
    {
        let config = config("hold", json!({"businesses": businesses(count), "business_metrics": setting}));
        assert_eq!(config.business_metrics, expected, "{count} {setting}");
    }
}

/// A push whose headers announce a body of `announced` bytes.
fn announced(gateway: &mut Gateway, announced: usize) -> StreamId {
    let (stream, action) = gateway.stream(&with("content-length", announced.to_string().as_bytes()), false);
    assert_eq!(action, Action::Hold);
    stream
}

#[test]
fn a_push_whose_body_the_host_has_and_does_not_show_is_told_from_a_slow_one() {
    let long = 100_000;
    for (name, length, received, answered_after) in [
        ("all of it is there", Some(500), Some(500), Some(100)),
        ("nothing is there: the pusher is slow", Some(500), Some(0), None),
        ("a part is there: something before the filter may hold it back", Some(500), Some(100), Some(2_000)),
        ("more is there than the host takes at once", Some(long), Some(65_536), Some(2_000)),
        ("chunked", None, Some(500), Some(2_000)),
        ("chunked, nothing there", None, Some(0), None),
        ("the host cannot say", Some(500), None, Some(2_000)),
        ("the host cannot say, and it is long", Some(long), None, None),
        ("the host cannot say, chunked", None, None, None),
        ("the body is announced as empty", Some(0), Some(0), None),
    ] {
        let mut gateway = gateway(json!({}));
        let stream = match length {
            Some(length) => announced(&mut gateway, length),
            None => gateway.open().unwrap(),
        };
        gateway.driver.withhold(stream, received);
        let Some(after) = answered_after else {
            gateway.advance(10_000);
            assert_eq!(gateway.replies(), [], "{name}");
            continue;
        };
        gateway.advance(after - 1);
        assert_eq!(gateway.replies(), [], "{name}: too early");
        gateway.advance(150);
        assert_eq!(gateway.replies(), [(stream, Reply::FlagMissing)], "{name}");
        gateway.end(stream);
        gateway.advance(1_000);
        let events = gateway.events();
        assert_eq!((events.len(), &events[0]["answer"]), (1, &json!("flag_missing")), "{name}: {events:#?}");
        assert!(events[0]["reason"].as_str().unwrap().contains("allow_on_headers_stop_iteration"), "{events:#?}");
        assert_eq!(gateway.driver.told(Metric::Counter(Counter::PushesFlagMissing)), 1, "{name}");
        assert!(gateway.is_idle(), "{name}");
        assert_eq!(gateway.driver.time(), None, "{name}: no timer is left");
    }
}

#[test]
fn a_worker_that_has_ever_seen_a_body_holds_nobody_for_a_victim_of_envoys_configuration() {
    let mut gateway = gateway(json!({}));
    let stream = announced(&mut gateway, 500);
    gateway.driver.withhold(stream, Some(500));
    let other = gateway.open().unwrap();
    gateway.driver.step(other, Event::RequestBody(1));
    gateway.advance(10_000);
    assert_eq!(gateway.replies(), [], "a body came: the flag is set");
    assert_eq!(gateway.driver.time(), None, "and there is nothing more to look into");
}

#[test]
fn in_pass_nobody_looks_for_bodies() {
    let mut gateway = Gateway::new("pass", json!({}));
    let stream = gateway.open().unwrap();
    gateway.driver.withhold(stream, Some(500));
    gateway.advance(10_000);
    assert_eq!(gateway.replies(), []);
}
