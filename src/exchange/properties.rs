//! What holds for every push, whatever it carries, and however its stream behaves.

use privatenumber_contract::{Private, Push, Record};
use proptest::prelude::*;
use serde_json::json;

use crate::driver::{Action, Event};
use crate::reply::Reply;
use crate::testing::{APP_KEY, Gateway, cdr, fee, with};

const FIELDS: [&str; 18] = [
    "direction",
    "spId",
    "appKey",
    "icid",
    "bindNum",
    "sessionId",
    "callerNum",
    "fwdDstNum",
    "callInTime",
    "fwdStartTime",
    "fwdAnswerTime",
    "callEndTime",
    "failTime",
    "recordFlag",
    "recordFileDownloadUrl",
    "subscriptionId",
    "userData",
    "aKeyNobodyKnows",
];

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter)
}

/// Any JSON value, as text: values that a parser would not make are among them.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (any::<i64>(), -400..400_i32).prop_map(|(digits, exponent)| format!("{digits}.0e{exponent}")),
        any_text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<u16>().prop_map(|unit| format!("\"\\u{unit:04x}\"")),
        (1..5_000_usize).prop_map(|length| format!("\"{}\"", "9".repeat(length))),
        Just("\"2026-01-05 02:30:03\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            (any_text(), inner)
                .prop_map(|(name, value)| format!("{{{}:{value}}}", serde_json::to_string(&name).unwrap())),
        ]
    })
}

fn any_cdr(session: usize) -> impl Strategy<Value = String> {
    let change = (prop::sample::select(&FIELDS[..]), any_json());
    prop_oneof![
        6 => prop::collection::vec(change, 0..3).prop_map(move |changes| cdr(session, &changes)),
        1 => any_json(),
    ]
}

fn any_cdrs() -> impl Strategy<Value = Vec<String>> {
    (1..=50_usize).prop_flat_map(|count| (0..count).map(any_cdr).collect::<Vec<_>>())
}

fn any_record() -> impl Strategy<Value = Record> {
    let text = || prop::option::of(any_text());
    let number = || prop::option::of(any::<i64>());
    let texts = (text(), text(), text(), text(), text(), text(), text(), text());
    let numbers = (number(), number(), number(), number(), number(), prop::option::of(any::<bool>()));
    (texts, numbers).prop_map(|((a, b, c, d, e, f, g, h), (i, j, k, l, m, flag))| Record {
        id: i,
        ak: Some("A".to_owned()),
        orig_num: a.map(Private::new),
        private_num: b.map(Private::new),
        record_flag: flag,
        record_hint_tone: c,
        max_duration: j,
        user_data: d.map(Private::new),
        subscription_id: e,
        bind_response: f.map(Private::new),
        bind_time: k,
        session_id: g.map(Private::new),
        callin_time: l,
        record_url: h.map(Private::new),
        updated_at: m,
        ..Record::default()
    })
}

/// What the store would be asked for this body, or the reply.
fn asked(body: &str) -> Result<String, Reply> {
    Gateway::new("pass", json!({})).try_ask(body.as_bytes()).map(|asked| asked.json)
}

proptest! {
    #[test]
    fn p2_a_push_of_cdrs_goes_on_with_each_of_them_whatever_its_fields_hold(elements in any_cdrs()) {
        let json = asked(&fee(&elements)).map_err(|reply| TestCaseError::fail(format!("{reply:?}")))?;
        let push: Push<'_> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(push.calls.len() + push.parked.len(), elements.len());
        prop_assert!(push.event.is_none() && push.app_key == APP_KEY);
        for parked in &push.parked {
            prop_assert!(elements.iter().any(|element| element == parked.raw.expose()), "raw as it was sent");
        }
        for call in &push.calls {
            let text = call.cdr.as_ref().unwrap().as_bytes();
            prop_assert!(elements.iter().any(|element| element.as_bytes() == text), "its text as it was sent");
        }
    }

    #[test]
    fn whatever_the_members_of_a_push_hold_it_is_forwarded_or_answered_400_with_a_pointer(
        members in prop::collection::vec(
            (prop::sample::select(&["eventType", "feeLst", "statusInfo", "numInfo", "smsEvent", "other"][..]), any_json()),
            0..5,
        ),
        is_fee in any::<bool>(),
    ) {
        let fee = ("eventType", "\"fee\"".to_owned());
        let members = is_fee.then_some(fee).into_iter().chain(members);
        let text: Vec<_> = members.map(|(name, value)| format!("\"{name}\":{value}")).collect();
        match asked(&format!("{{{}}}", text.join(","))) {
            Ok(json) => {
                let push: Push<'_> = serde_json::from_str(&json).unwrap();
                prop_assert!(push.event.is_some() || !push.calls.is_empty() || !push.parked.is_empty());
            }
            Err(Reply::Invalid(invalid)) => {
                prop_assert!(["", "/eventType", "/feeLst", "/statusInfo", "/numInfo"].contains(&invalid.pointer.as_ref()));
            }
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    #[test]
    fn a_record_reaches_the_business_as_the_store_wrote_it(record in any_record()) {
        let record_json = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Record>(&record_json).unwrap(), &record);
        let mut gateway = Gateway::new("hold", json!({
            "businesses": [{"ak": "A", "cluster": "business", "authority": "business.example.com", "path": "/callback"}],
        }));
        let stream = gateway.push(fee(&[cdr(0, &[])]).as_bytes()).unwrap();
        let claims = gateway.next_claims();
        let push = crate::testing::pushes(&claims).pop().unwrap();
        let push: Push<'_> = serde_json::from_str(&push).unwrap();
        let (push_id, call_id) = (push.push_id, push.calls[0].key().id());
        let answer = format!(
            r#"{{"pushes":[{{"pushId":"{push_id}","verdict":"committed","calls":[{{"verdict":"claimed","callId":"{call_id}","ak":"A","record":{record_json}}}]}}]}}"#
        );
        gateway.respond(&claims, &crate::testing::upstream(200, answer.as_bytes()));
        prop_assert_eq!(gateway.replies(), [(stream, Reply::Recorded)]);
        prop_assert_eq!(gateway.callbacks().pop().unwrap().body, record_json.as_bytes());
    }
}

#[test]
fn p8_a_stream_that_is_told_of_its_end_twice_keeps_its_claim() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(&fee(&[cdr(0, &[])]));
    assert_eq!(gateway.driver.step(asked.stream, Event::RequestEnd(b"")), Action::LeaveAlone);
    assert_eq!(gateway.gauges().pending_calls, 1, "the claim was dropped");
    assert_eq!(gateway.driver.step(asked.stream, Event::ResponseEnd(b"")), Action::LeaveAlone);
    gateway.end(asked.stream);
    assert_eq!(crate::testing::ids(&gateway.next_claims()), [asked.push_id]);

    let mut gateway = Gateway::new("hold", json!({}));
    let stream = gateway.push(fee(&[cdr(0, &[])]).as_bytes()).unwrap();
    assert_eq!(gateway.driver.step(stream, Event::RequestEnd(b"")), Action::Hold);
    assert_eq!(gateway.gauges().pending_calls, 1, "the claim was dropped");
}

#[test]
fn p8_a_committed_answer_that_another_one_takes_the_place_of_is_asked_for_again() {
    let mut gateway = Gateway::new("pass", json!({}));
    let asked = gateway.ask(&fee(&[cdr(0, &[])]));
    let id = asked.push_id.to_string();
    let committed = Some(id.as_bytes());
    let headers = Event::ResponseHeaders { status: Some(200), content_type: None, committed, is_end: false };
    assert!(matches!(gateway.driver.step(asked.stream, headers), Action::Become(_)));
    // Envoy's own, for an answer that is larger than its buffer.
    assert_eq!(gateway.respond_to(asked.stream, 500), Action::LeaveAlone);
    assert!(!gateway.driver.awaits_response_body(asked.stream));
    assert_eq!(gateway.count_events("claims_missed"), 1);
}

#[test]
fn a_length_beyond_all_bounds_is_too_large_before_a_byte_of_it_has_come() {
    for length in ["262145", "4294967296", "18446744073709551615"] {
        let mut gateway = Gateway::new("hold", json!({}));
        let (_, action) = gateway.stream(&with("content-length", length.as_bytes()), false);
        assert_eq!(action, Action::Reply(Reply::TooLarge(262_144)), "{length}");
    }
}
