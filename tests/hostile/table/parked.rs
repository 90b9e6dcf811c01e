//! CDRs of which nobody knows which call each is, or who is to be called: the push is answered 200, the CDR is kept with its reason, and
//! the one beside it is recorded.

use super::{Expected, Row, Signed, cdr, fee, largest_body};

pub fn rows(signed: &Signed) -> Vec<Row> {
    const PART: &str = "a text of at most 1024 bytes";
    const SUBSCRIPTION: &str = "a text of at most 128 characters";
    let long = |length: usize| format!("\"{}\"", "9".repeat(length));
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut rows: Vec<Row> = Vec::new();
    let mut field = |key: &'static str, value: Option<&str>, expected: &str, found: &str| {
        let session = format!("parked-{}", rows.len());
        let raw = cdr(&session, &[(key, value)]);
        rows.push(parked(signed, rows.len(), &raw, &format!("/{key}: expected {expected}, found {found}")));
    };

    for key in ["appKey", "sessionId"] {
        for missing in [None, Some("null"), Some(r#""""#)] {
            field(key, missing, PART, "nothing");
        }
    }
    for (key, expected, longest) in
        [("appKey", PART, 1_024), ("sessionId", PART, 1_024), ("subscriptionId", SUBSCRIPTION, 128)]
    {
        field(key, Some(&long(longest + 1)), expected, "a longer one");
        field(key, Some("true"), expected, "true or false");
        field(key, Some(r#"{"+8617010000099":1}"#), expected, "an object");
        field(key, Some(r#"["+8617010000099"]"#), expected, "an array");
        field(key, Some(r#""a\u0000b""#), expected, "a text with a NUL in it");
        field(key, Some(r#""\ud800""#), expected, "an escape that is no character");
        let value = format!(r#""+8617010000099","{key}":"another""#);
        field(key, Some(&value), expected, "several different values");
    }
    field("icid", Some(r#"7,"icid":"8""#), PART, "several different values");
    field("icid", Some(r#"7,"\u0069cid":[7]"#), PART, "several different values");
    field("sessionId", Some(&deep), PART, "an array");
    field("sessionId", Some(r#""\udc00\ud800""#), PART, "an escape that is no character");

    for (raw, reason) in [
        ("null", ": expected an object, found null"),
        ("8617010000099", ": expected an object, found a number"),
        (r#""+8617010000098""#, ": expected an object, found a text"),
        ("[0,\"sp\",\"app\"]", ": expected an object, found an array"),
        ("false", ": expected an object, found true or false"),
        ("{}", "/appKey: expected a text of at most 1024 bytes, found nothing"),
    ] {
        rows.push(parked(signed, rows.len(), raw, reason));
    }
    let foreign = cdr("foreign", &[("appKey", Some(r#""demoAppKey000000000000000009""#))]);
    rows.push(parked(signed, rows.len(), &foreign, "/appKey: is not the application that signed the push"));
    let lossy = cdr("lossy-MARK", &[]);
    let reason = "/sessionId: expected a text of at most 1024 bytes, found bytes that are not UTF-8";
    let mut row = parked(signed, rows.len(), &lossy.replace("MARK", "\u{fffd}("), reason);
    let body = fee(&[&cdr("beside-lossy", &[]), &lossy]);
    if let Some((before, after)) = body.split_once("MARK") {
        row.request = signed.push().body([before.as_bytes(), b"\xc3\x28", after.as_bytes()].concat());
    }
    rows.push(row);
    // What grows most on its way into the store: three bytes for each that is no character.
    let head = b"{\"eventType\":\"fee\",\"feeLst\":[\"";
    let filling = vec![0xff; largest_body() - head.len() - 3];
    let raw = format!("\"{}\"", "\u{fffd}".repeat(filling.len()));
    rows.push(Row {
        what: "parked: as many bytes that are no UTF-8 as a push may have".to_owned(),
        request: signed.push().body([&head[..], &filling, b"\"]}"].concat()),
        expected: Expected::Parked { raw, reason: "/feeLst/0: expected an object, found a text".to_owned() },
    });
    rows
}

/// `raw` stands second in its push, beside a CDR that is as it should be.
fn parked(signed: &Signed, index: usize, raw: &str, reason: &str) -> Row {
    let beside = cdr(&format!("beside-{index}"), &[]);
    Row {
        what: format!("parked: {} {reason}", raw.chars().take(60).collect::<String>()),
        request: signed.push().body(fee(&[&beside, raw])),
        expected: Expected::Parked { raw: raw.to_owned(), reason: format!("/feeLst/1{reason}") },
    }
}
