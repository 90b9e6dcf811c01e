//! Every sample push comes to what its name says.

use super::{APP_KEY, CLAIM_DEADLINE, only_call, read, read_event, refusal};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/samples/", $name, ".json"))
    };
}

const A: &str = "+8617010000011";
const X: &str = "+8617010000001";
/// 2026-01-05 02:30:00
const HALF_PAST: i64 = 1_767_580_200;

#[test]
fn a_call_to_a_is_reshaped_as_the_record_wants_it() {
    let call = only_call(sample!("ax-fee-a-called-answered-not-recorded"));
    assert_eq!(call.app_key, APP_KEY);
    assert_eq!(call.session_id.expose(), "1200_1803_4294967295_20260105023003@callenabler001.example.com");
    assert_eq!(call.icid, "0123456789abcdef0123456789abcdef.3900000003.100000003.5");
    assert_eq!(call.claim_deadline, CLAIM_DEADLINE);
    assert_eq!(call.callin_time, Some((HALF_PAST + 3) * 1000));
    assert_eq!(call.answer_time, Some((HALF_PAST + 6) * 1000));
    assert_eq!(call.disconnect_time, Some((HALF_PAST + 22) * 1000));
    assert_eq!(call.record_url, None);
    assert_eq!(call.subscription_id.as_deref(), Some("11111111-2222-4333-8444-555555555501"));
    assert_eq!(call.private_num.unwrap().expose(), X);
    assert_eq!(call.orig_num.unwrap().expose(), A);
    assert_eq!(call.user_data, None);
    assert_eq!(call.ak.as_deref(), Some("business"));
    assert_eq!(call.record_flag, Some(false));
}

#[test]
fn every_sample_cdr_has_the_a_side_and_the_times_of_its_story() {
    let at = |offset: i64| Some((HALF_PAST + offset) * 1000);
    let answered = (at(3), at(6), at(22));
    let failed = |offset: i64| (at(3), None, at(offset));
    for (name, text, a_side, times, recorded) in [
        ("A called, recorded", sample!("ax-fee-a-called-answered-recorded"), Some(A), answered, true),
        ("A called, not recorded", sample!("ax-fee-a-called-answered-not-recorded"), Some(A), answered, false),
        ("A called, busy", sample!("ax-fee-a-called-busy"), Some(A), failed(6), false),
        ("A called, no answer", sample!("ax-fee-a-called-unanswered"), Some(A), failed(63), false),
        ("A calling, recorded", sample!("ax-fee-a-calling-answered-recorded"), Some(A), answered, true),
        ("A calling, hung up", sample!("ax-fee-a-calling-hangup-before-ringing"), Some(A), failed(9), false),
        ("A calling, no callee", sample!("ax-fee-a-calling-no-temporary-callee"), Some(A), failed(5), false),
        ("no binding", sample!("ax-fee-no-binding-direction2-subscriptionId-absent"), None, failed(5), false),
        ("with user data", sample!("ax-fee-with-userData"), Some(A), answered, true),
        ("AXB", sample!("axb-fee-answered-recorded"), Some(A), answered, true),
        ("AXE", sample!("axe-fee-a-called-answered-recorded"), Some(A), answered, true),
        ("AXYB", sample!("axyb-fee-answered-recorded"), Some("+8617010000022"), answered, true),
        ("X", sample!("x-fee-answered-recorded"), Some(A), answered, true),
    ] {
        let call = only_call(text);
        assert_eq!(call.orig_num.as_ref().map(|number| number.expose().as_ref()), a_side, "{name}");
        assert_eq!((call.callin_time, call.answer_time, call.disconnect_time), times, "{name}");
        assert_eq!(call.record_flag, Some(recorded), "{name}");
        assert_eq!(call.private_num.unwrap().expose(), X, "{name}");
    }
}

#[test]
fn a_call_without_a_binding_names_none() {
    assert_eq!(only_call(sample!("ax-fee-no-binding-direction2-subscriptionId-absent")).subscription_id, None);
}

#[test]
fn the_business_gets_its_own_text_back() {
    let call = only_call(sample!("ax-fee-with-userData"));
    assert_eq!(call.user_data.unwrap().expose(), "order-20260105-0001");
}

#[test]
fn a_batch_keeps_the_order_of_its_calls() {
    let read = read(sample!("ax-fee-batch-3-mixed"));
    assert_eq!(read.parked, []);
    let ends: Vec<_> = read.calls.iter().map(|call| (call.record_flag, call.answer_time.is_some())).collect();
    assert_eq!(ends, [(Some(true), true), (Some(false), false), (Some(false), true)]);
    let ids: Vec<_> = read.calls.iter().map(|call| call.session_id.expose().get(..9)).collect();
    assert_eq!(ids, [Some("1200_1820"), Some("1200_1821"), Some("1200_1822")]);
}

#[test]
fn status_events_are_kept_raw() {
    for (event_type, text) in [
        ("callin", sample!("ax-status-1-callin")),
        ("callin", sample!("ax-status-1-callin-with-userData")),
        ("callin", sample!("x-status-callin-block")),
        ("callout", sample!("ax-status-2-callout")),
        ("alerting", sample!("ax-status-3-alerting")),
        ("answer", sample!("ax-status-4-answer")),
        ("disconnect", sample!("ax-status-5-disconnect-normal")),
        ("disconnect", sample!("ax-status-5-disconnect-no-answer")),
        ("numStatus", sample!("number-status-unavailable")),
        ("numStatus", sample!("number-status-batch")),
    ] {
        assert_eq!(read_event(text), (event_type.to_owned(), text.to_owned()));
    }
}

#[test]
fn sms_pushes_are_sent_elsewhere() {
    for text in [
        sample!("ax-sms-block"),
        sample!("ax-sms-notify-failed"),
        sample!("ax-sms-notify-forwarded"),
        sample!("ax-sms-notify-with-content"),
    ] {
        let (pointer, reason) = refusal(text);
        assert_eq!(pointer, "/eventType");
        assert!(reason.contains("SMS"), "{reason}");
    }
}

#[test]
fn what_customers_send_and_get_is_no_push() {
    for text in [
        sample!("api-ax-bind-request"),
        sample!("api-ax-bind-response"),
        sample!("api-result-success"),
        sample!("x-status-callin-block-response-close"),
    ] {
        assert_eq!(refusal(text).0, "/eventType");
    }
}
