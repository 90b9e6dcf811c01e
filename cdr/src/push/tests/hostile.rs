//! Input that nobody sends by accident.

use proptest::prelude::*;

use super::{
    APP_KEY, CDR, Contents, cdr, fee, fee_with, only_call, only_reason, read, read_event, read_with, refusal, warnings,
};

#[test]
fn p6_what_is_not_json_is_refused_with_its_place() {
    for (body, words) in [
        (&b""[..], "line 1, column 0"),
        (b"   ", "not JSON"),
        (b"{", "not JSON"),
        (b"eventType=fee", "not JSON"),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}]}x", "line 1, column 34"),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}]}{}", "line 1, column 34"),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{},]}", "not JSON"),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":\"\x00\"}]}", "not JSON"),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":NaN}]}", "not JSON"),
        (b"\x00{}", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
    ] {
        let (pointer, reason) = refusal(body);
        assert_eq!(pointer, "");
        assert!(reason.contains(words), "{body:?}: {reason}");
    }
}

#[test]
fn p6_json_that_is_no_object_or_names_a_key_twice_is_refused() {
    for body in [
        "null",
        "7",
        "\"+8617010000001\"",
        "[]",
        " \n[\"fee\",[{}],null,null,null]",
        r#"{"eventType":"fee","eventType":"callin","feeLst":[{}]}"#,
        r#"{"eventType":"fee","feeLst":[{}],"feeLst":[{}]}"#,
        r#"{"eventType":"fee","feeLst":null,"feeLst":[{}]}"#,
    ] {
        let (pointer, reason) = refusal(body);
        assert_eq!(pointer, "");
        assert!(reason.starts_with("must be a JSON object"), "{body}: {reason}");
        assert!(!reason.contains("+86"), "P7: {reason}");
    }
}

#[test]
fn a_byte_order_mark_is_no_harm() {
    let push = fee(&[cdr(&[])]);
    assert_eq!(only_call(format!("\u{feff}{push}")), only_call(push));
    let event = r#"{"eventType":"callin","statusInfo":{}}"#;
    assert_eq!(read_event(format!("\u{feff}{event}")).1, event);
}

#[test]
fn a_push_holds_50_cdrs_and_no_more() {
    let cdrs: Vec<_> =
        (0..51).map(|number| cdr(&[("sessionId", Some(format!("\"session-{number}\"").as_str()))])).collect();
    assert_eq!(read(fee(&cdrs[..50])).calls.len(), 50);
    let (pointer, reason) = refusal(fee(&cdrs));
    assert_eq!(pointer, "/feeLst");
    assert_eq!(reason, "must be an array of 1 to 50 CDRs, found 51");
}

#[test]
fn p6_nesting_of_any_depth_is_passed_over_or_parked() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    only_call(fee_with("mptyId", Some(&deep)));
    assert!(only_reason(fee_with("sessionId", Some(&deep))).contains("/sessionId: "));
    assert!(only_reason(fee(std::slice::from_ref(&deep))).contains("found an array"));
    assert_eq!(refusal(&deep).0, "");
    assert_eq!(refusal("[".repeat(100_000)).0, "");
    assert_eq!(refusal("{\"a\":".repeat(100_000)).0, "");
}

#[test]
fn an_element_that_is_no_cdr_is_parked() {
    for (element, reason) in [
        ("null", ": expected an object, found null"),
        ("7", ": expected an object, found a number"),
        ("\"x\"", ": expected an object, found a text"),
        ("[0,\"sp\",\"app\"]", ": expected an object, found an array"),
        ("{}", "/appKey: expected a text of at most 1024 bytes, found nothing"),
    ] {
        assert_eq!(only_reason(fee(&[element.to_owned()])), format!("/feeLst/0{reason}"), "{element}");
    }
}

#[test]
fn text_that_no_store_could_keep_is_null_or_hashed_or_parks_what_it_identifies() {
    for (value, found) in [
        ("\"a\\u0000b\"", "a text with a NUL in it"),
        ("\"\\ud800\"", "an escape that is no character"),
        ("\"\\udc00\"", "an escape that is no character"),
    ] {
        for key in ["sessionId", "subscriptionId"] {
            let reason = only_reason(fee_with(key, Some(value)));
            assert!(reason.ends_with(found) && reason.contains(key), "{reason}");
        }
        for key in ["userData", "recordFileDownloadUrl", "bindNum", "callEndTime"] {
            let warnings = warnings(fee_with(key, Some(value)));
            assert!(
                matches!(&warnings[..], [(field, reason)] if field == key && reason.ends_with(found)),
                "{warnings:?}"
            );
        }
        assert!(only_call(fee_with("icid", Some(value))).icid.starts_with("sha256:"));
    }
}

#[test]
fn huge_numbers_are_just_digits() {
    let digits = "9".repeat(200);
    assert_eq!(only_call(fee_with("sessionId", Some(&digits))).session_id.expose(), &digits);
    assert!(only_reason(fee_with("sessionId", Some(&"9".repeat(100_000)))).contains("found a longer one"));
    for value in ["1e999999", "-1", "18446744073709551616"] {
        for key in ["direction", "recordFlag"] {
            let warnings = warnings(fee_with(key, Some(value)));
            assert!(matches!(&warnings[..], [(field, _)] if field == key), "{value}: {warnings:?}");
        }
    }
}

#[test]
fn a_replacement_character_that_was_sent_as_one_is_a_character() {
    let call = only_call(fee_with("userData", Some("\"\u{fffd}\"")));
    assert_eq!(call.user_data.unwrap().expose(), "\u{fffd}");
}

#[test]
fn p7_no_reason_holds_a_value() {
    for (key, _) in CDR {
        for value in ["{\"+8617010000099\":\"+8617010000099\"}", "[\"+8617010000099\"]"] {
            let read = read(fee_with(key, Some(value)));
            let reasons = read.parked.iter().map(|(reason, _)| reason.as_str());
            let reasons: Vec<_> =
                reasons.chain(read.calls.iter().flat_map(|call| &call.warnings).map(|it| it.reason.as_ref())).collect();
            assert_eq!(reasons.len(), usize::from(key != "spId" && key != "icid"), "{key}");
            assert!(reasons.iter().all(|reason| !reason.contains("17010000099")), "{reasons:?}");
        }
    }
    let warnings = warnings(fee_with("callInTime", Some("\"+8617010000099\"")));
    assert!(!format!("{warnings:?}").contains("17010000099"), "{warnings:?}");
}

/// Any JSON value.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (any::<u128>(), 0..400_000_i32).prop_map(|(digits, exponent)| format!("-{digits}.5e{exponent}")),
        any_string().prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::collection::vec(any::<u16>(), 0..6).prop_map(|units| {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{escapes}\"")
        }),
        Just("\"2026-01-05 02:30:03\"".to_owned()),
        Just(format!("\"{APP_KEY}\"")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((any_string(), inner), 0..4).prop_map(|members| {
                let member =
                    |(key, value): &(String, String)| format!("{}:{value}", serde_json::to_string(key).unwrap());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn any_string() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

/// A CDR with any value in some of its fields, or anything else in its place.
fn any_element() -> impl Strategy<Value = String> {
    let changes = prop::collection::vec((0..CDR.len(), prop::option::of(any_json())), 0..3);
    prop_oneof![
        8 => (changes, 0..200_u8).prop_map(|(changes, session)| {
            let session = format!("\"session-{session}\"");
            let mut all = vec![("sessionId", Some(session.as_str()))];
            all.extend(changes.iter().map(|(index, value)| (CDR[*index].0, value.as_deref())));
            cdr(&all)
        }),
        1 => any_json(),
    ]
}

proptest! {
    #[test]
    fn p2_reading_never_loses_or_invents_a_cdr(elements in prop::collection::vec(any_element(), 1..=50)) {
        let read = read(fee(&elements));
        prop_assert_eq!(read.calls.len() + read.parked.len() + read.repeated, elements.len());
        let mut keys: Vec<_> = read.calls.iter().map(|call| (call.key().id(), call.cdr.as_ref().unwrap().as_bytes())).collect();
        keys.sort();
        keys.dedup();
        prop_assert_eq!(keys.len(), read.calls.len(), "P1: no call twice with one text");
        for call in &read.calls {
            prop_assert_eq!(call.app_key.as_ref(), APP_KEY);
            prop_assert!(!call.session_id.expose().is_empty());
        }
        for (reason, raw) in &read.parked {
            let place = reason.strip_prefix("/feeLst/").unwrap().split(['/', ':']).next().unwrap();
            prop_assert_eq!(raw, &elements[place.parse::<usize>().unwrap()], "raw as it was sent");
        }
    }

    #[test]
    fn p6_no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        read_with(&body, |contents| assert!(contents.is_err(), "random bytes are no push"));
        let around = [b"{\"eventType\":\"fee\",\"feeLst\":[{\"direction\":\"", body.as_slice(), b"\"}]}"].concat();
        read_with(&around, |contents| {
            if let Ok(Contents::Calls { calls, .. }) = contents {
                assert!(calls.is_empty(), "a CDR without a sessionId is no call");
            }
        });
    }
}
