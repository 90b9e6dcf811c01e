//! What is taken although it is not what the documents say, what becomes `null` with which warning, and what is parked.

use privatenumber_contract::CallReport;
use proptest::prelude::*;

use super::{cdr, fee, fee_with, only_call, only_reason, read, read_event, refusal, warnings};
use crate::fee_info::Field;

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
fn p2_an_event_of_an_unknown_type_is_kept_raw() {
    let long = "x".repeat(65);
    for (sent, named) in [
        ("playRes", "playRes"),
        ("hello world", "hello world"),
        ("\\u0070lay", "play"),
        (&long, "unnamed"),
        ("\\u0000", "unnamed"),
        ("\\ud800", "unnamed"),
    ] {
        let body = format!(r#"{{ "eventType" : "{sent}", "statusInfo":[1] }}"#);
        assert_eq!(read_event(&body), (named.to_owned(), body));
    }
}

#[test]
fn one_cdr_may_come_without_its_list() {
    let push = |element: String| format!(r#"{{"eventType":"fee","feeLst":{element}}}"#);
    assert_eq!(only_call(push(cdr(&[]))), only_call(fee(&[cdr(&[])])));
    let reason = only_reason(push(cdr(&[("sessionId", None)])));
    assert!(reason.starts_with("/feeLst/sessionId: "), "{reason}");
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
    const PART: &str = "expected a text of at most 1024 bytes,";
    const SUBSCRIPTION: &str = "expected a text of at most 128 characters,";
    let long = format!("\"{}\"", "a".repeat(1025));
    for (key, value, expected, found) in [
        ("appKey", Some("\"\""), PART, "found nothing"),
        ("appKey", Some("{}"), PART, "found an object"),
        ("appKey", Some("\"otherApp\""), "is not the application", "that signed the push"),
        ("sessionId", None, PART, "found nothing"),
        ("sessionId", Some("null"), PART, "found nothing"),
        ("sessionId", Some("true"), PART, "found true or false"),
        ("sessionId", Some("{}"), PART, "found an object"),
        ("sessionId", Some(&long), PART, "found a longer one"),
        ("subscriptionId", Some("{}"), SUBSCRIPTION, "found an object"),
        ("subscriptionId", Some("true"), SUBSCRIPTION, "found true or false"),
        ("subscriptionId", Some(&long), SUBSCRIPTION, "found a longer one"),
    ] {
        assert_eq!(only_reason(fee_with(key, value)), format!("/feeLst/0/{key}: {expected} {found}"));
    }
    for key in ["appKey", "sessionId", "icid", "subscriptionId"] {
        let twice = cdr(&[]).replacen('{', &format!("{{\"{key}\":\"another\","), 1);
        let reason = only_reason(fee(&[twice]));
        assert!(reason.starts_with(&format!("/feeLst/0/{key}: ")), "{reason}");
        assert!(reason.ends_with(", found several different values"), "{reason}");
    }
}

#[test]
fn p3_a_value_that_cannot_be_used_is_null_with_a_warning() {
    const NUMBER: &str = "expected a text of at most 64 characters, found";
    const TIME: &str = "expected a UTC time yyyy-MM-dd HH:mm:ss, ISO 8601 with a zone, or epoch milliseconds, found";
    let long = |length: usize| format!("\"{}\"", "话".repeat(length));
    for (key, value, expected) in [
        ("direction", "3", "expected 0, 1 or 2, found another number".to_owned()),
        ("direction", "1.0", "expected 0, 1 or 2, found another number".to_owned()),
        ("direction", "\"in\"", "expected 0, 1 or 2, found another text".to_owned()),
        ("direction", "true", "expected 0, 1 or 2, found true or false".to_owned()),
        ("bindNum", "[]", format!("{NUMBER} an array")),
        ("callerNum", "{}", format!("{NUMBER} an object")),
        ("fwdDstNum", &long(65), format!("{NUMBER} a longer one")),
        ("callInTime", "1767580203", format!("{TIME} another number")),
        ("fwdStartTime", "\"1767580203\"", format!("{TIME} another text")),
        ("fwdAnswerTime", "\"2026-02-29 02:30:06\"", format!("{TIME} another text")),
        ("callEndTime", "\"2026-01-05T02:30:06\"", format!("{TIME} another text")),
        ("callEndTime", "\" \"", format!("{TIME} another text")),
        ("failTime", "{}", format!("{TIME} an object")),
        ("failTime", "0", format!("{TIME} another number")),
        ("recordFlag", "2", "expected 0 or 1, found another number".to_owned()),
        (
            "recordFileDownloadUrl",
            &long(4097),
            "expected a text of at most 4096 characters, found a longer one".to_owned(),
        ),
        ("userData", &long(1025), "expected a text of at most 1024 characters, found a longer one".to_owned()),
    ] {
        let push = fee_with(key, Some(value));
        assert_eq!(warnings(&push), [(key.to_owned(), expected)], "{value}");
        let mut call = only_call(push);
        call.warnings.clear();
        let without = only_call(fee_with(key, None));
        assert_eq!(
            CallReport { cdr: None, ..call },
            CallReport { cdr: None, ..without },
            "{key} is as if it were absent"
        );
    }
}

#[test]
fn what_is_missing_is_no_reason_to_warn() {
    for key in ["direction", "spId", "bindNum", "callerNum", "fwdDstNum", "callInTime", "recordFlag", "userData"] {
        for value in [None, Some("null"), Some("\"\"")] {
            assert_eq!(warnings(fee_with(key, value)), [], "{key}");
        }
    }
    assert_eq!(only_call(fee_with("bindNum", None)).private_num, None);
    assert_eq!(only_call(fee_with("direction", None)).orig_num, None);
}

#[test]
fn a_key_twice_with_one_value_is_one() {
    let twice = |key: &str, value: &str| cdr(&[]).replacen('{', &format!("{{\"{key}\":{value},"), 1);
    let without_text = |cdr: String| CallReport { cdr: None, ..only_call(fee(&[cdr])) };
    let expected = without_text(cdr(&[]));
    for (key, value) in super::CDR {
        assert_eq!(without_text(twice(key, value)), expected, "{key}");
    }
    for (key, value) in [
        ("recordFlag", "\"1\""),
        ("sessionId", "\"\\u0073ession-1\""),
        ("\\u0073essionId", "\"session-1\""),
        ("\\ud800", "1"),
    ] {
        assert_eq!(without_text(twice(key, value)), expected, "{key}");
    }
    for (key, value) in [("userData", "\"order-2\""), ("callInTime", "null"), ("recordFlag", "{}")] {
        let [(field, reason)] = &warnings(fee(&[twice(key, value)]))[..] else { panic!("{key}") };
        assert!(field == key && reason.ends_with(", found several different values"), "{field}: {reason}");
    }
}

#[test]
fn lengths_are_bounded() {
    for (key, longest) in
        [("bindNum", 64), ("callerNum", 64), ("fwdDstNum", 64), ("userData", 1024), ("recordFileDownloadUrl", 4096)]
    {
        let text = |length: usize| format!("\"{}\"", "话".repeat(length));
        assert_eq!(warnings(fee_with(key, Some(&text(longest)))), []);
        assert_eq!(warnings(fee_with(key, Some(&text(longest + 1)))).len(), 1);
    }
    only_call(fee_with("subscriptionId", Some(&format!("\"{}\"", "话".repeat(128)))));
    only_call(fee_with("sessionId", Some(&format!("\"{}\"", "a".repeat(1024)))));
}

#[test]
fn p4_one_bad_cdr_does_not_harm_the_others() {
    let cdrs: Vec<_> = (0..50)
        .map(|number| {
            let session = if number == 3 { "{}".to_owned() } else { format!("\"session-{number}\"") };
            cdr(&[("sessionId", Some(&session))])
        })
        .collect();
    let read = read(fee(&cdrs));
    assert_eq!(read.calls.len(), 49);
    assert_eq!(read.parked.len(), 1);
    assert!(read.parked[0].0.starts_with("/feeLst/3/sessionId: "));
    assert_eq!(read.parked[0].1, cdrs[3], "raw as it was sent");
}

#[test]
fn p3_an_odd_time_in_each_of_fifty_cdrs_costs_no_call() {
    let cdrs: Vec<_> = (0..50)
        .map(|number| {
            let session = format!("\"session-{number}\"");
            cdr(&[("sessionId", Some(&session)), ("callEndTime", Some("\"05.01.2026 02:30\""))])
        })
        .collect();
    let read = read(fee(&cdrs));
    assert_eq!((read.calls.len(), read.parked.len()), (50, 0));
    assert!(read.calls.iter().all(|call| call.disconnect_time.is_none() && call.warnings.len() == 1));
}

#[test]
fn p1_a_cdr_that_says_nothing_new_is_asked_for_once_and_one_that_does_is_a_further_version() {
    let version = cdr(&[("callerNum", Some("\"+8617010000033\""))]);
    let redial = cdr(&[("icid", Some("\"icid-2\""))]);
    let read = read(fee(&[cdr(&[]), redial, version.clone(), cdr(&[]), version.clone()]));
    let ids: Vec<_> = read.calls.iter().map(|call| call.icid.as_ref()).collect();
    assert_eq!(ids, ["icid-1", "icid-2", "icid-1"], "a redial is a call of its own");
    assert_eq!(read.calls[0].key().id(), read.calls[2].key().id());
    assert_eq!(read.calls[2].cdr.as_ref().unwrap().as_bytes(), version.as_bytes());
    assert_eq!((read.further, read.parked.len(), read.repeated), (vec![2], 0, 2));
}

fn key_of(key: &str, value: Option<&str>) -> String {
    only_call(fee_with(key, value)).key().id()
}

#[test]
fn p1_an_icid_of_any_form_is_one_key_from_push_to_push() {
    let none = key_of("icid", None);
    assert_eq!((key_of("icid", Some("null")), key_of("icid", Some("\"\""))), (none.clone(), none.clone()));
    assert_eq!(key_of("icid", Some("-1.50e3")), key_of("icid", Some("\"-1.50e3\"")));
    let long = format!("\"{}\"", "a".repeat(1025));
    let shorter = format!("\"{}\"", "a".repeat(65));
    let forms = [
        "7",
        "7.0",
        "\" 7\"",
        "\"A\"",
        "\"a\"",
        "true",
        "false",
        "[]",
        "{}",
        "[7]",
        "\"\\u0000\"",
        "\"\\ud800\"",
        &long,
        &shorter,
    ];
    let mut keys: Vec<_> = forms.iter().map(|form| key_of("icid", Some(form))).collect();
    assert_eq!(keys, forms.iter().map(|form| key_of("icid", Some(form))).collect::<Vec<_>>());
    keys.push(none);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), forms.len() + 1, "no two forms are one");
    // Python: hashlib.sha256(b"[7]").hexdigest()
    let hash = "sha256:589ffd3acf522ae81192579f297589e93b0c41f748b224d1b4bb5c857a2f70cb";
    assert_eq!(only_call(fee_with("icid", Some("[7]"))).icid, hash);
}

/// Forms that a value of a CDR may take, whatever the field.
fn any_form() -> impl Strategy<Value = Option<String>> {
    let text = prop::collection::vec(any::<char>(), 0..12)
        .prop_map(|text| serde_json::to_string(&String::from_iter(text)).unwrap());
    let long = (1000_usize..5000).prop_map(|length| format!("\"{}\"", "x".repeat(length)));
    let odd = prop::sample::select(vec![
        "null",
        "\"\"",
        "true",
        "false",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "1.0",
        "1e400",
        "{}",
        "[]",
        "[{\"a\":[\"}\"]}]",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "1767580203",
        "1767580203000",
        "\"1767580203000\"",
        "\"2026-01-05T02:30:03Z\"",
        "\"2026-01-05T02:30:03\"",
        "\"2026-01-05 02:30:03.000\"",
        "\"2026-01-05 10:30:03 +08:00\"",
        "\"20260105023003\"",
    ]);
    prop::option::weighted(
        0.9,
        prop_oneof![4 => odd.prop_map(str::to_owned), 2 => text, 1 => long, 1 => any::<i64>().prop_map(|it| it.to_string())],
    )
}

proptest! {
    #[test]
    fn p1_p3_no_form_of_an_optional_field_changes_the_call_or_silences_it(
        changes in prop::collection::vec((prop::sample::select(Field::ALL.to_vec()), any_form(), any::<bool>()), 1..4),
    ) {
        let mut text = cdr(&changes.iter().map(|(field, value, _)| (field.name(), value.as_deref())).collect::<Vec<_>>());
        for (field, value, twice) in &changes {
            if *twice {
                text = text.replacen('{', &format!("{{\"{}\":{},", field.name(), value.as_deref().unwrap_or("7")), 1);
            }
        }
        let regular = only_call(fee(&[cdr(&[])]));
        let call = only_call(fee(&[text]));
        prop_assert_eq!(call.key().id(), regular.key().id());
        prop_assert_eq!(call.subscription_id, regular.subscription_id);
        prop_assert!(call.warnings.iter().all(|warning| changes.iter().any(|(field, ..)| field.name() == warning.field)));
    }

    #[test]
    fn p1_p3_no_form_of_an_icid_silences_the_call_or_gives_it_two_keys(form in any_form()) {
        let push = fee_with("icid", form.as_deref());
        let (call, again) = (only_call(&push), only_call(&push));
        prop_assert_eq!(call.key().id(), again.key().id());
        if form.as_deref().is_none_or(|form| matches!(form, "null" | "\"\"")) {
            prop_assert_eq!(call.key().id(), key_of("icid", None));
        }
    }
}

#[test]
fn what_is_not_a_push_is_refused_with_the_place_and_the_reason() {
    for (body, pointer, words) in [
        ("{}", "/eventType", "missing"),
        (r#"{"eventType":null}"#, "/eventType", "missing"),
        (r#"{"eventType":7}"#, "/eventType", "must be a text"),
        (r#"{"eventType":""}"#, "/eventType", "empty"),
        (r#"{"eventType":{}}"#, "/eventType", "must be a text"),
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
