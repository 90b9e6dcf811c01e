//! What holds for every push, whatever it carries, and however its stream behaves.

use std::rc::Rc;

use privatenumber_contract::{Private, Push, PushId, Record};
use proptest::prelude::*;
use serde_json::json;

use super::{AtEnd, AtHeaders, AtResponse, Exchange};
use crate::answer::Answer;
use crate::config::Config;
use crate::dispatcher::Dispatcher;
use crate::journal::Event;
use crate::now::Now;

const APP_KEY: &str = "demoAppKey000000000000000001";
const SIGNED: &str = concat!(
    r#"UsernameToken Username="demoAppKey000000000000000001",PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=","#,
    r#"Nonce="00112233445566778899aabbccddeeff",Created="2026-01-05T02:30:24Z""#,
);
const NOW: Now = Now { monotonic_ms: 0, wall_ms: 1_767_580_224_000 };
const PUSH_ID: PushId = PushId::from_bytes([7; 16]);

struct Gateway {
    config: Rc<Config>,
    dispatcher: Dispatcher,
}

impl Gateway {
    fn new() -> Self {
        let config = json!({
            "applications": [{"app_key": APP_KEY, "ak": "A", "secrets": [{"value": "fictitious-app-secret-0001"}]}],
            "businesses": [{"ak": "A", "cluster": "business", "authority": "business.example.com", "path": "/callback"}],
        });
        let config = Rc::new(Config::from_json(&serde_json::to_vec(&config).unwrap(), &|_| None).unwrap());
        Self { dispatcher: Dispatcher::new(Rc::clone(&config)), config }
    }

    fn headers(&mut self, exchange: &mut Exchange, more: &[(&str, &str)]) -> AtHeaders {
        let signed =
            [(":method", "POST"), (":path", "/huawei/fee"), ("content-type", "application/json"), ("x-aksk", SIGNED)];
        let headers: Vec<_> =
            signed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        exchange.request_headers(&self.config, &mut self.dispatcher, &headers, false, NOW)
    }

    fn end<'e>(&mut self, exchange: &'e mut Exchange, body: &[u8]) -> AtEnd<'e> {
        exchange.request_end(&self.config, &mut self.dispatcher, body, PUSH_ID, NOW)
    }

    /// A stream whose push the store has been asked about.
    fn asked(&mut self, body: &str) -> Exchange {
        let mut exchange = Exchange::default();
        assert!(matches!(self.headers(&mut exchange, &[]), AtHeaders::ReadBody(_)));
        assert!(matches!(self.end(&mut exchange, body.as_bytes()), AtEnd::Forward(_)));
        exchange
    }

    fn commit(&mut self, exchange: &mut Exchange) {
        let id = PUSH_ID.to_string();
        let committed = Some(id.as_bytes());
        let decision = exchange.response_headers(&mut self.dispatcher, Some(200), None, committed, false, NOW);
        assert!(matches!(decision, AtResponse::Become(_)), "{decision:?}");
    }

    fn is_asked_again(&mut self) -> bool {
        self.dispatcher.take_journal().iter().any(|event| matches!(event, Event::ClaimsMissed { .. }))
    }
}

fn cdr(session: usize, changes: &[(&str, String)]) -> String {
    let session = format!("\"session-{session}\"");
    let app_key = format!("\"{APP_KEY}\"");
    let good = [
        ("direction", "0"),
        ("spId", r#""sp""#),
        ("appKey", &app_key),
        ("bindNum", r#""+8617010000001""#),
        ("sessionId", &session),
        ("callInTime", r#""2026-01-05 02:30:03""#),
    ];
    let kept = good.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let kept = kept.map(|(name, value)| format!("\"{name}\":{value}"));
    let changed = changes.iter().map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", kept.chain(changed).collect::<Vec<_>>().join(","))
}

fn fee(elements: &[String]) -> String {
    format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, elements.join(","))
}

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

proptest! {
    #[test]
    fn p2_a_push_of_cdrs_goes_on_with_each_of_them_whatever_its_fields_hold(elements in any_cdrs()) {
        let mut gateway = Gateway::new();
        let mut exchange = Exchange::default();
        gateway.headers(&mut exchange, &[]);
        let AtEnd::Forward(body) = gateway.end(&mut exchange, fee(&elements).as_bytes()) else {
            return Err(TestCaseError::fail("a push of 1 to 50 CDRs was not forwarded"));
        };
        let push: Push<'_> = serde_json::from_slice(body).unwrap();
        prop_assert_eq!(push.calls.len() + push.parked.len(), elements.len());
        prop_assert!(push.event.is_none() && push.app_key == APP_KEY && push.push_id == PUSH_ID);
        for parked in &push.parked {
            prop_assert!(elements.iter().any(|element| element == parked.raw.expose()), "raw as it was sent");
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
        let mut gateway = Gateway::new();
        let mut exchange = Exchange::default();
        gateway.headers(&mut exchange, &[]);
        match gateway.end(&mut exchange, format!("{{{}}}", text.join(",")).as_bytes()) {
            AtEnd::Forward(body) => {
                let push: Push<'_> = serde_json::from_slice(body).unwrap();
                prop_assert!(push.event.is_some() || !push.calls.is_empty() || !push.parked.is_empty());
            }
            AtEnd::Answer(Answer::Invalid(invalid)) => {
                prop_assert!(["", "/eventType", "/feeLst", "/statusInfo", "/numInfo"].contains(&invalid.pointer.as_ref()));
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    #[test]
    fn a_record_reaches_the_business_as_the_store_wrote_it(record in any_record()) {
        let record_json = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Record>(&record_json).unwrap(), &record);
        let mut gateway = Gateway::new();
        let mut exchange = gateway.asked(&fee(&[cdr(0, &[])]));
        gateway.commit(&mut exchange);
        let call_id = "00112233445566778899aabbccddeeff";
        let answer =
            format!(r#"{{"calls":[{{"verdict":"claimed","callId":"{call_id}","ak":"A","record":{record_json}}}]}}"#);
        exchange.response_end(&mut gateway.dispatcher, answer.as_bytes(), NOW);
        let departure = gateway.dispatcher.poll(NOW).unwrap();
        prop_assert_eq!(departure.body(), record_json.as_bytes());
    }
}

#[test]
fn p8_a_stream_that_is_told_of_its_end_twice_keeps_its_claim() {
    let mut gateway = Gateway::new();
    let mut exchange = gateway.asked(&fee(&[cdr(0, &[])]));
    assert_eq!(gateway.end(&mut exchange, b""), AtEnd::LeaveAlone);
    assert!(gateway.dispatcher.gauges().pending_calls == 1, "the claim was dropped");
    assert!(exchange.response_end(&mut gateway.dispatcher, b"", NOW).is_none());
    exchange.gone(&mut gateway.dispatcher, NOW);
    assert!(gateway.is_asked_again());
}

#[test]
fn p8_a_committed_answer_that_another_one_takes_the_place_of_is_asked_for_again() {
    let mut gateway = Gateway::new();
    let mut exchange = gateway.asked(&fee(&[cdr(0, &[])]));
    gateway.commit(&mut exchange);
    // Envoy's own, for an answer that is larger than its buffer.
    let decision = exchange.response_headers(&mut gateway.dispatcher, Some(500), None, None, false, NOW);
    assert_eq!(decision, AtResponse::LeaveAlone);
    assert!(!exchange.awaits_response_body() && gateway.is_asked_again());
}

#[test]
fn a_length_beyond_all_bounds_is_too_large_before_a_byte_of_it_has_come() {
    for length in ["1048577", "4294967296", "18446744073709551615"] {
        let mut gateway = Gateway::new();
        let decision = gateway.headers(&mut Exchange::default(), &[("content-length", length)]);
        assert_eq!(decision, AtHeaders::Answer(Answer::TooLarge(1_048_576)), "{length}");
    }
}
