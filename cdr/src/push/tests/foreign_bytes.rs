//! Bodies that are not UTF-8.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privatenumber_contract::{CdrText, Warning};

use super::{APP_KEY, Contents, cdr, fee, fee_with, read_as, read_with};
use crate::charset::Charset;
use crate::fee_info::Unusable;
use crate::read_cdr;
use crate::value::Found;

/// 中文 in GBK.
const CHINESE: &[u8] = b"\xd6\xd0\xce\xc4";
/// A character of GBK that ends like a backslash.
const BACKSLASH: &[u8] = b"\x95\x5c";

/// `text` with these bytes where MARK stands.
fn put(text: &str, bytes: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = text.split("MARK").map(str::as_bytes).collect();
    parts.join(bytes)
}

/// What became of a push: of each call the `sessionId`, fields with warnings and the CDR's bytes; reason and Base64 of what is parked.
type Read = (Vec<(String, Vec<String>, Vec<u8>)>, Vec<(String, String)>);

fn read(body: &[u8], charset: Charset) -> Read {
    read_as(body, charset, |contents| match contents.unwrap() {
        Contents::Calls { calls, parked, .. } => {
            let call = |call: &privatenumber_contract::CallReport<'_>| {
                let warnings = call.warnings.iter().map(|warning| format!("{} {}", warning.field, warning.reason));
                (
                    call.session_id.expose().to_string(),
                    warnings.collect(),
                    call.cdr.as_ref().unwrap().as_bytes().to_vec(),
                )
            };
            let base64 = |item: &privatenumber_contract::Parked<'_>| {
                item.raw_base64.as_ref().map_or_else(String::new, |base64| base64.expose().to_string())
            };
            let parked = parked.iter().map(|item| (item.reason.to_string(), base64(item)));
            (calls.iter().map(call).collect(), parked.collect())
        }
        Contents::Event(event) => panic!("{event:?}"),
    })
}

#[test]
fn p4_bytes_that_are_not_utf_8_cost_nothing_in_a_field_that_nobody_reads() {
    for bytes in [CHINESE, BACKSLASH, b"\xff", b"\xc3\x28"] {
        let cdr = put(&cdr(&[("hostName", Some("\"MARK\""))]), bytes);
        for charset in [Charset::Utf8, Charset::Gbk] {
            let body = put(&fee(&["MARK".to_owned()]), &cdr);
            assert_eq!(
                read(&body, charset),
                (vec![("session-1".to_owned(), vec![], cdr.clone())], vec![]),
                "{bytes:?}"
            );
        }
    }
}

#[test]
fn p4_a_used_field_that_is_not_utf_8_is_null_with_a_warning_and_its_bytes_are_kept() {
    for bytes in [CHINESE, BACKSLASH, b"\x81\x30\x81\x30", b"\xff"] {
        let cdr = put(&cdr(&[("userData", Some("\"MARK\""))]), bytes);
        let body = put(&fee(&["MARK".to_owned()]), &cdr);
        let warning = format!("userData {}", Warning::NOT_UTF8);
        assert_eq!(
            read(&body, Charset::Utf8),
            (vec![("session-1".to_owned(), vec![warning], cdr)], vec![]),
            "{bytes:?}"
        );
    }
}

#[test]
fn p4_a_character_that_ends_like_a_backslash_costs_no_neighbour_its_callback() {
    let neighbour = |number: u8| cdr(&[("sessionId", Some(&format!("\"session-{number}\"")))]);
    let odd = cdr(&[("userData", Some("\"MARK\""))]);
    let body = put(&fee(&[neighbour(2), odd, neighbour(3)]), BACKSLASH);
    for charset in [Charset::Utf8, Charset::Gbk] {
        let (calls, parked) = read(&body, charset);
        let sessions: Vec<_> = calls.iter().map(|(session, ..)| session.as_str()).collect();
        assert_eq!(sessions, ["session-2", "session-1", "session-3"]);
        assert_eq!(parked, []);
    }
}

#[test]
fn p4_what_identifies_a_call_and_is_not_utf_8_parks_it_byte_for_byte() {
    for key in ["sessionId", "subscriptionId"] {
        let odd = put(&cdr(&[(key, Some("\"MARK\""))]), CHINESE);
        let body = put(&fee(&[cdr(&[("sessionId", Some("\"session-2\""))]), "MARK".to_owned()]), &odd);
        let (calls, parked) = read(&body, Charset::Utf8);
        assert_eq!(calls.len(), 1);
        let [(reason, base64)] = &parked[..] else { panic!("{parked:?}") };
        assert!(reason.starts_with(&format!("/feeLst/1/{key}: ")), "{reason}");
        assert!(reason.ends_with("found bytes that are not UTF-8"), "{reason}");
        assert_eq!(BASE64_STANDARD.decode(base64).unwrap(), odd);
    }
}

#[test]
fn p1_an_icid_that_is_not_utf_8_stands_in_the_key_by_its_bytes() {
    let icid = |bytes: &[u8]| {
        let body = put(&fee_with("icid", Some("\"MARK\"")), bytes);
        read_with(&body, |contents| match contents.unwrap() {
            Contents::Calls { calls, .. } => calls[0].icid.to_string(),
            Contents::Event(_) => panic!("CDRs"),
        })
    };
    assert_eq!(icid(CHINESE), icid(CHINESE));
    assert!(icid(CHINESE).starts_with("sha256:"));
    assert_ne!(icid(CHINESE), icid(b"\xd6\xd0\xce\xc5"), "masked alike, not the same");
}

#[test]
fn two_values_that_are_masked_alike_are_two() {
    let cdr = cdr(&[("userData", Some("\"AMARK\",\"userData\":\"MARK\""))]);
    let body = put(&fee(&[cdr]), CHINESE);
    let (calls, _) = read(&body, Charset::Utf8);
    assert!(calls[0].1[0].ends_with("found several different values"), "{:?}", calls[0].1);
    let same = put(&fee_with("userData", Some("\"MARK\",\"userData\":\"MARK\"")), CHINESE);
    assert!(read(&same, Charset::Utf8).0[0].1[0].ends_with(Warning::NOT_UTF8));
}

#[test]
fn an_event_is_kept_with_its_bytes() {
    let body = put(r#"{"eventType":"callin","statusInfo":{"x":"MARK"}}"#, BACKSLASH);
    read_with(&body, |contents| match contents.unwrap() {
        Contents::Event(event) => {
            assert_eq!(event.event_type, "callin");
            assert_eq!(BASE64_STANDARD.decode(event.raw_base64.unwrap().expose().as_bytes()).unwrap(), body);
        }
        Contents::Calls { .. } => panic!("an event"),
    });
}

#[test]
fn a_kept_cdr_is_read_again_whatever_its_bytes() {
    let text = cdr(&[]);
    let call = read_cdr(text.as_bytes(), APP_KEY, Some("business"), 7).unwrap();
    assert_eq!(
        (call.ak.as_deref(), call.ttl_ms, call.user_data.unwrap().expose().as_ref()),
        (Some("business"), Some(7), "order-1")
    );
    assert!(matches!(call.cdr, Some(CdrText::Json(kept)) if kept.get() == text));
    for bytes in [CHINESE, BACKSLASH] {
        let text = put(&cdr(&[("userData", Some("\"MARK\""))]), bytes);
        let call = read_cdr(&text, APP_KEY, None, 7).unwrap();
        assert_eq!((call.session_id.expose().as_ref(), call.user_data.is_none()), ("session-1", true));
        assert_eq!(call.cdr.unwrap().as_bytes(), text);
    }
    assert_eq!(read_cdr(b"{", APP_KEY, None, 7).unwrap_err(), Unusable::NotJson);
    assert_eq!(read_cdr(b"[]", APP_KEY, None, 7).unwrap_err(), Unusable::NotAnObject(Found::Array));
    assert_eq!(read_cdr(text.as_bytes(), "another", None, 7).unwrap_err(), Unusable::ForeignApplication);
}
