//! A check that can not fail proves nothing: each promise is broken once on paper, and must be found broken.

use std::sync::Arc;

use privatenumber_contract::{CallState, CallView, ParkedView, Private, PushId, Record};

use super::{Evidence, violations};
use crate::calls::{Attempt, Cdr, Fate};
use crate::journal::Kill;
use crate::tally::Tally;

fn cdr(call_id: &str, business: Option<usize>) -> Cdr {
    let cdr = Cdr::new(Fate::Call { call_id: call_id.to_owned(), business });
    cdr.attempt(Attempt { gateway: 1, began_at: 1_000 });
    cdr.accept();
    cdr
}

fn call(call_id: &str, state: CallState) -> CallView {
    CallView {
        call_id: call_id.to_owned(),
        app_key: String::new(),
        session_id: Private::new(String::new()),
        icid: String::new(),
        state,
        outcome: None,
        wait: None,
        push_id: PushId::from_bytes([0; 16]),
        received_at: 1_001,
        recorded_at: 1_002,
        claim_deadline: 61_001,
        duration_ms: None,
        reported_at: None,
        duplicates: 0,
        record: Record::default(),
    }
}

fn seen(calls: &[(&str, u32)]) -> Tally {
    let callbacks = calls.iter().map(|(call_id, count)| ((*call_id).to_owned(), *count)).collect();
    Tally { callbacks, ..Tally::default() }
}

fn judge(cdrs: Vec<Cdr>, calls: &[CallView], tallies: &[Tally], kills: &[Kill]) -> Vec<String> {
    let cdrs: Vec<_> = cdrs.into_iter().map(Arc::new).collect();
    violations(Evidence { cdrs: &cdrs, calls, parked: &[], tallies, kills })
}

#[track_caller]
fn assert_only(found: &[String], expected: &str) {
    assert!(found.len() == 1 && found.iter().all(|line| line.starts_with(expected)), "{found:?}");
}

#[test]
fn a_run_without_fault_breaks_nothing() {
    let cdrs = vec![
        cdr("a", Some(0)),
        cdr("b", Some(1)),
        cdr("c", None),
        cdr("d", Some(0)),
        cdr("e", Some(0)),
        cdr("f", None),
    ];
    let calls = [
        call("a", CallState::Delivered),
        call("b", CallState::MaybeSent),
        call("c", CallState::Skipped),
        call("d", CallState::NotSent),
        call("e", CallState::Unknown),
        call("f", CallState::Unknown),
    ];
    let kill = Kill { gateway: 1, dead_at: 1_500, pending_calls: Some(1) };
    assert_eq!(judge(cdrs, &calls, &[seen(&[("a", 1), ("e", 1)]), seen(&[("b", 1)])], &[kill]), Vec::<String>::new());
}

#[test]
fn p1_a_second_callback_is_found() {
    let calls = [call("a", CallState::Delivered)];
    assert_only(&judge(vec![cdr("a", Some(0))], &calls, &[seen(&[("a", 2)])], &[]), "P1 once: called back more than");
    let tallies = [seen(&[("a", 1)]), seen(&[("a", 1)])];
    assert_only(&judge(vec![cdr("a", Some(0))], &calls, &tallies, &[]), "P1 once: called back at the wrong business");
    let tallies = [seen(&[("a", 1)]), Tally { invalid: 1, ..Tally::default() }];
    assert_only(&judge(vec![cdr("a", Some(0))], &calls, &tallies, &[]), "P1 once: callbacks without record");
}

#[test]
fn p2_a_cdr_that_was_accepted_and_is_not_there_is_found() {
    assert_only(&judge(vec![cdr("a", Some(0))], &[], &[], &[]), "P2 kept: accepted and not in the store");
    let parked = Cdr::new(Fate::Parked { session_id: "s".to_owned() });
    parked.accept();
    let cdrs = [Arc::new(parked)];
    let evidence = Evidence { cdrs: &cdrs, calls: &[], parked: &[], tallies: &[], kills: &[] };
    assert_only(&violations(evidence), "P2 kept: accepted and not parked");
    let kept = ParkedView {
        number: 1,
        app_key: String::new(),
        reason: String::new(),
        raw: Private::new(r#"{"sessionId":"s"}"#.to_owned()),
        received_at: 0,
        duplicates: 0,
        call_id: None,
    };
    assert!(violations(Evidence { parked: &[kept], ..evidence }).is_empty());
    assert_only(&judge(vec![], &[call("a", CallState::Skipped)], &[], &[]), "P2 kept: in the store and never pushed");
}

#[test]
fn p3_a_state_that_the_business_contradicts_is_found() {
    for (state, business, count, expected) in [
        (CallState::Delivered, Some(0), 0, "P3 accounted: answered and never seen"),
        (CallState::Rejected, Some(0), 0, "P3 accounted: answered and never seen"),
        (CallState::NotSent, Some(0), 1, "P3 accounted: not sent and yet seen"),
        (CallState::Skipped, Some(0), 0, "P3 accounted: skipped though"),
        (CallState::MaybeSent, None, 0, "P3 accounted: called back though"),
        (CallState::Pending, Some(0), 0, "P3 accounted: pending for ever"),
    ] {
        let tally = if count > 0 { seen(&[("a", count)]) } else { Tally::default() };
        assert_only(&judge(vec![cdr("a", business)], &[call("a", state)], &[tally], &[]), expected);
    }
}

#[test]
fn p3_only_the_death_of_a_gateway_that_had_the_call_explains_unknown() {
    let judge = |gateway, dead_at| {
        let kill = Kill { gateway, dead_at, pending_calls: None };
        judge(vec![cdr("a", Some(0))], &[call("a", CallState::Unknown)], &[Tally::default()], &[kill])
    };
    assert!(judge(1, 1_500).is_empty());
    for (gateway, dead_at) in [(0, 1_500), (1, 900), (1, 70_000)] {
        assert_only(&judge(gateway, dead_at), "P3 accounted: unknown though");
    }
}

#[test]
fn p3_a_claim_that_is_committed_after_the_death_of_its_gateway_is_explained() {
    let held_up = CallView { received_at: 4_000, recorded_at: 4_005, ..call("a", CallState::Unknown) };
    let judge = |gateway, dead_at| {
        let kill = Kill { gateway, dead_at, pending_calls: None };
        judge(vec![cdr("a", Some(0))], std::slice::from_ref(&held_up), &[Tally::default()], &[kill])
    };
    assert!(judge(1, 3_000).is_empty());
    for (gateway, dead_at) in [(0, 3_000), (1, 900), (1, 70_000)] {
        assert_only(&judge(gateway, dead_at), "P3 accounted: unknown though");
    }
}

#[test]
fn p3_more_unknown_calls_than_were_pending_are_found() {
    let names: Vec<_> = (0..150).map(|number| number.to_string()).collect();
    let calls: Vec<_> = names.iter().map(|name| call(name, CallState::Unknown)).collect();
    let judge = |pending_calls| {
        let cdrs = names.iter().map(|name| cdr(name, Some(0))).collect();
        judge(cdrs, &calls, &[Tally::default()], &[Kill { gateway: 1, dead_at: 1_500, pending_calls }])
    };
    assert!(judge(None).is_empty() && judge(Some(50)).is_empty());
    assert_only(&judge(Some(30)), "P3 accounted: more unknown than pending");
}
