//! What is taken although it is not what the documents say, and what is parked, with which reason.

use privatenumber_contract::CallReport;

use super::{cdr, fee, fee_with, only_call, only_reason, read, read_event, refusal};

#[test]
fn event_types_are_compared_without_regard_to_case() {
    for name in ["fee", "FEE", "Fee"] {
        only_call(fee(&[cdr(&[])]).replace("\"fee\"", &format!("\"{name}\"")));
    }
    for (sent, canonical) in [("CALLIN", "callin"), ("Disconnect", "disconnect"), ("COLLECTINFO", "collectInfo")] {
        assert_eq!(read_event(format!(r#"{{"eventType":"{sent}","statusInfo":{{}}}}"#)).0, canonical);
    }
    assert_eq!(read_event(r#"{"eventType":"numstatus","numInfo":[]}"#).0, "numStatus");
}

#[test]
fn one_cdr_may_come_without_its_list() {
    let push = |element: String| format!(r#"{{"eventType":"fee","feeLst":{element}}}"#);
    assert_eq!(only_call(push(cdr(&[]))), only_call(fee(&[cdr(&[])])));
    let reason = only_reason(push(cdr(&[("callInTime", Some("7"))])));
    assert!(reason.starts_with("/feeLst/callInTime: "), "{reason}");
}

#[test]
fn unknown_keys_of_any_type_are_ignored() {
    // The text itself is kept with them.
    let without_text = |push: String| CallReport { cdr: None, ..only_call(push) };
    let expected = without_text(fee(&[cdr(&[])]));
    for value in ["{}", "[[],{\"a\":[null]}]", "1e999999", "\"\\ud800\"", "null", "true", "{\"a\":1,\"a\":2}"] {
        assert_eq!(without_text(fee_with("mptyId", Some(value))), expected, "{value}");
        let push = fee(&[cdr(&[])]).replace('{', &format!("{{\"x\":{value},"));
        assert_eq!(without_text(push), expected, "{value}");
    }
}

#[test]
fn numbers_and_booleans_are_taken_as_text() {
    let call = only_call(fee(&[cdr(&[
        ("sessionId", Some("12345678901234567890123")),
        ("icid", Some("-1.50e3")),
        ("bindNum", Some("8617010000001")),
        ("fwdDstNum", Some("8617010000011")),
        ("spId", Some("1")),
        ("userData", Some("true")),
    ])]));
    assert_eq!(call.session_id.expose(), "12345678901234567890123");
    assert_eq!(call.icid, "-1.50e3");
    assert_eq!(call.private_num.unwrap().expose(), "8617010000001");
    assert_eq!(call.orig_num.unwrap().expose(), "8617010000011");
    assert_eq!(call.user_data.unwrap().expose(), "true");
}

#[test]
fn absent_null_and_empty_are_the_same() {
    for absent in [None, Some("null"), Some("\"\"")] {
        let call = only_call(fee(&[cdr(&[
            ("icid", absent),
            ("subscriptionId", absent),
            ("callerNum", absent),
            ("fwdDstNum", absent),
            ("callInTime", absent),
            ("fwdAnswerTime", absent),
            ("callEndTime", absent),
            ("recordFlag", absent),
            ("recordFileDownloadUrl", absent),
            ("userData", absent),
        ])]));
        assert_eq!(call.icid, "");
        assert_eq!((call.subscription_id, call.orig_num, call.user_data, call.record_url), (None, None, None, None));
        assert_eq!((call.callin_time, call.answer_time, call.disconnect_time), (None, None, None));
        assert_eq!(call.record_flag, None, "not known is not false");
    }
}

#[test]
fn a_time_stands_in_for_the_one_that_is_missing() {
    let call = only_call(fee(&[cdr(&[
        ("callInTime", Some("\"\"")),
        ("fwdStartTime", Some("\"1970-01-01 00:00:01\"")),
        ("callEndTime", None),
        ("failTime", Some("\"1970-01-01  00:00:02\"")),
    ])]));
    assert_eq!((call.callin_time, call.disconnect_time), (Some(1000), Some(2000)));
    let call = only_call(fee(&[cdr(&[
        ("fwdStartTime", Some("\"1970-01-01 00:00:01\"")),
        ("failTime", Some("\"1970-01-01 00:00:02\"")),
    ])]));
    assert_eq!((call.callin_time, call.disconnect_time), (Some(1_767_580_203_000), Some(1_767_580_222_000)));
}

#[test]
fn the_a_side_follows_the_direction() {
    for (direction, a_side) in [
        ("0", Some("+8617010000011")),
        ("\"0\"", Some("+8617010000011")),
        ("1", Some("+8617010000022")),
        ("\"1\"", Some("+8617010000022")),
        ("2", None),
        ("\"2\"", None),
    ] {
        let call = only_call(fee_with("direction", Some(direction)));
        assert_eq!(call.orig_num.map(|number| number.into_exposed().into_owned()).as_deref(), a_side, "{direction}");
    }
}

#[test]
fn p3_a_caller_who_withholds_the_number_does_not_cost_the_callback() {
    let call = only_call(fee(&[cdr(&[("direction", Some("1")), ("callerNum", Some("\"\""))])]));
    assert_eq!(call.orig_num, None);
    assert!(only_call(fee_with("callerNum", None)).orig_num.is_some());
}

#[test]
fn a_record_flag_is_understood_in_every_form() {
    for (value, expected) in
        [("0", false), ("\"0\"", false), ("false", false), ("1", true), ("\"1\"", true), ("true", true)]
    {
        assert_eq!(only_call(fee_with("recordFlag", Some(value))).record_flag, Some(expected), "{value}");
    }
}

#[test]
fn a_cdr_that_cannot_be_used_is_parked_with_the_place_and_the_reason() {
    const OTHER_TEXT: &str = "found another text";
    const OTHER_NUMBER: &str = "found another number";
    const DIRECTION: &str = "expected 0, 1 or 2,";
    const TIME: &str = "expected a UTC time yyyy-MM-dd HH:mm:ss,";
    for (key, value, expected, found) in [
        ("direction", None, DIRECTION, "found nothing"),
        ("direction", Some("3"), DIRECTION, OTHER_NUMBER),
        ("direction", Some("1.0"), DIRECTION, OTHER_NUMBER),
        ("direction", Some("\"in\""), DIRECTION, OTHER_TEXT),
        ("direction", Some("true"), DIRECTION, "found true or false"),
        ("spId", None, "expected a text of at most 64 characters,", "found nothing"),
        ("appKey", Some("\"\""), "expected a text of at most 128 characters,", "found nothing"),
        ("appKey", Some("\"otherApp\""), "is not the application", "that signed the push"),
        ("bindNum", Some("null"), "expected a text of at most 64 characters,", "found nothing"),
        ("sessionId", None, "expected a text of at most 256 characters,", "found nothing"),
        ("sessionId", Some("{}"), "expected a text of at most 256 characters,", "found an object"),
        ("icid", Some("[\"a\"]"), "expected a text of at most 64 characters,", "found an array"),
        ("callInTime", Some("1767580203"), TIME, "found a number"),
        ("fwdStartTime", Some("\"1767580203\""), TIME, OTHER_TEXT),
        ("fwdAnswerTime", Some("\"2026-02-29 02:30:06\""), TIME, OTHER_TEXT),
        ("callEndTime", Some("\" \""), TIME, OTHER_TEXT),
        ("failTime", Some("{}"), TIME, "found an object"),
        ("recordFlag", Some("2"), "expected 0 or 1,", OTHER_NUMBER),
    ] {
        assert_eq!(only_reason(fee_with(key, value)), format!("/feeLst/0/{key}: {expected} {found}"));
    }
}

#[test]
fn lengths_are_bounded() {
    for (key, longest) in [
        ("spId", 64),
        ("icid", 64),
        ("sessionId", 256),
        ("bindNum", 64),
        ("callerNum", 64),
        ("fwdDstNum", 64),
        ("subscriptionId", 128),
        ("userData", 1024),
        ("recordFileDownloadUrl", 2048),
    ] {
        let text = |length: usize| format!("\"{}\"", "话".repeat(length));
        only_call(fee_with(key, Some(&text(longest))));
        let expected = format!("/feeLst/0/{key}: expected a text of at most {longest} characters, found a longer one");
        assert_eq!(only_reason(fee_with(key, Some(&text(longest + 1)))), expected);
    }
}

#[test]
fn p4_one_bad_cdr_does_not_harm_the_others() {
    let cdrs: Vec<_> = (0..50)
        .map(|number| {
            let session = format!("\"session-{number}\"");
            let time = if number == 3 { "7" } else { "\"2026-01-05 02:30:03\"" };
            cdr(&[("sessionId", Some(&session)), ("callInTime", Some(time))])
        })
        .collect();
    let read = read(fee(&cdrs));
    assert_eq!(read.calls.len(), 49);
    assert_eq!(read.parked.len(), 1);
    assert!(read.parked[0].0.starts_with("/feeLst/3/callInTime: "));
    assert_eq!(read.parked[0].1, cdrs[3], "raw as it was sent");
}

#[test]
fn p1_a_push_asks_for_each_call_once() {
    let again = cdr(&[("callerNum", Some("\"+8617010000033\""))]);
    let redial = cdr(&[("icid", Some("\"icid-2\""))]);
    let read = read(fee(&[cdr(&[]), redial, again.clone()]));
    let ids: Vec<_> = read.calls.iter().map(|call| call.icid.as_ref()).collect();
    assert_eq!(ids, ["icid-1", "icid-2"], "a redial is a call of its own");
    let reason = "/feeLst/2: has the appKey, sessionId and icid of an earlier CDR of the same push";
    assert_eq!(read.parked, [(reason.to_owned(), again)]);
}

#[test]
fn what_is_not_a_push_is_refused_with_the_place_and_the_reason() {
    for (body, pointer, words) in [
        ("{}", "/eventType", "missing"),
        (r#"{"eventType":null}"#, "/eventType", "missing"),
        (r#"{"eventType":7}"#, "/eventType", "must be a text"),
        (r#"{"eventType":"hello"}"#, "/eventType", "unknown"),
        (r#"{"eventType":"fee"}"#, "/feeLst", "found nothing"),
        (r#"{"eventType":"fee","feeLst":null}"#, "/feeLst", "found nothing"),
        (r#"{"eventType":"fee","feeLst":[]}"#, "/feeLst", "found none"),
        (r#"{"eventType":"fee","feeLst":"[]"}"#, "/feeLst", "found a text"),
        (r#"{"eventType":"callin"}"#, "/statusInfo", "object"),
        (r#"{"eventType":"callin","statusInfo":[]}"#, "/statusInfo", "object"),
        (r#"{"eventType":"numStatus","numInfo":{}}"#, "/numInfo", "array"),
    ] {
        let (found, reason) = refusal(body);
        assert_eq!(found, pointer, "{body}");
        assert!(reason.contains(words), "{body}: {reason}");
    }
}
