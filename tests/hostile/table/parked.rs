//! CDRs that cannot be used: the push is answered 200, the CDR is kept with its reason, and the one beside it is recorded.

use super::{Expected, Row, Signed, cdr, fee, largest_body};

pub fn rows(signed: &Signed) -> Vec<Row> {
    let (number, long) = (r#""+8617010000099""#, |length: usize| format!("\"{}\"", "9".repeat(length)));
    let (direction, flag, time) = ("0, 1 or 2", "0 or 1", "a UTC time yyyy-MM-dd HH:mm:ss");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut rows: Vec<Row> = Vec::new();
    let mut field = |key: &'static str, value: Option<&str>, expected: &str, found: &str| {
        let session = format!("parked-{}", rows.len());
        let raw = cdr(&session, &[(key, value)]);
        rows.push(parked(signed, rows.len(), &raw, &format!("/{key}: expected {expected}, found {found}")));
    };
    let text = |longest: usize| format!("a text of at most {longest} characters");

    for (key, longest) in [("spId", 64), ("appKey", 128), ("bindNum", 64), ("sessionId", 256)] {
        for missing in [None, Some("null"), Some(r#""""#)] {
            field(key, missing, &text(longest), "nothing");
        }
        field(key, Some(&long(longest + 1)), &text(longest), "a longer one");
    }
    for (key, longest) in [
        ("icid", 64),
        ("callerNum", 64),
        ("fwdDstNum", 64),
        ("subscriptionId", 128),
        ("userData", 1024),
        ("recordFileDownloadUrl", 2048),
    ] {
        field(key, Some(&long(longest + 1)), &text(longest), "a longer one");
        field(key, Some(r#"{"+8617010000099":1}"#), &text(longest), "an object");
        field(key, Some(r#"["+8617010000099"]"#), &text(longest), "an array");
        field(key, Some(r#""a\u0000b""#), &text(longest), "a text with a NUL in it");
        field(key, Some(r#""\ud800""#), &text(longest), "an escape that is no character");
    }
    field("sessionId", Some(&deep), &text(256), "an array");
    field("sessionId", Some(r#""\udc00\ud800""#), &text(256), "an escape that is no character");
    for (value, found) in [
        (None, "nothing"),
        (Some("null"), "nothing"),
        (Some("3"), "another number"),
        (Some("-1"), "another number"),
        (Some("1.0"), "another number"),
        (Some("1e0"), "another number"),
        (Some("18446744073709551616"), "another number"),
        (Some("true"), "true or false"),
        (Some(number), "another text"),
        (Some(r#""00""#), "another text"),
        (Some("[]"), "an array"),
        (Some("{}"), "an object"),
    ] {
        field("direction", value, direction, found);
    }
    for (value, found) in [
        ("2", "another number"),
        ("0.0", "another number"),
        (number, "another text"),
        (r#""TRUE""#, "another text"),
        ("{}", "an object"),
    ] {
        field("recordFlag", Some(value), flag, found);
    }
    for (value, found) in [
        (number, "another text"),
        (r#""2026-01-05T02:30:03Z""#, "another text"),
        (r#""2026-01-05""#, "another text"),
        (r#""2026-13-05 02:30:03""#, "another text"),
        (r#""2026-02-29 02:30:03""#, "another text"),
        (r#""2026-01-05 24:00:00""#, "another text"),
        (r#""2026-01-05 02:30:60""#, "another text"),
        (r#""1969-12-31 23:59:59""#, "another text"),
        (r#""0000-00-00 00:00:00""#, "another text"),
        (r#""2026-01-05 02:30:03 +0800""#, "another text"),
        (r#""２０２６-01-05 02:30:03""#, "another text"),
        ("1767580203", "a number"),
        ("1767580203000", "a number"),
        ("false", "true or false"),
        ("[]", "an array"),
    ] {
        field("callInTime", Some(value), time, found);
    }
    for key in ["fwdStartTime", "fwdAnswerTime", "callEndTime", "failTime"] {
        field(key, Some(number), time, "another text");
    }

    for (raw, reason) in [
        ("null", ": expected an object, found null"),
        ("8617010000099", ": expected an object, found a number"),
        (r#""+8617010000098""#, ": expected an object, found a text"),
        ("[0,\"sp\",\"app\"]", ": expected an object, found an array"),
        ("false", ": expected an object, found true or false"),
        ("{}", "/spId: expected a text of at most 64 characters, found nothing"),
        (r#"{"direction":0,"direction":1}"#, ": a key is there more than once"),
        (r#"{"sessionId":"a","\u0073essionId":"b"}"#, ": a key is there more than once"),
        (r#"{"\ud800":0}"#, ": a key holds an escape that is no character"),
    ] {
        rows.push(parked(signed, rows.len(), raw, reason));
    }
    let foreign = cdr("foreign", &[("appKey", Some(r#""demoAppKey000000000000000009""#))]);
    rows.push(parked(signed, rows.len(), &foreign, "/appKey: is not the application that signed the push"));
    let lossy = cdr("lossy-MARK", &[]);
    let mut row = parked(signed, rows.len(), &lossy.replace("MARK", "\u{fffd}("), ": is not UTF-8");
    let body = fee(&[&cdr("beside-lossy", &[]), &lossy]);
    if let Some((before, after)) = body.split_once("MARK") {
        row.request = signed.push().body([before.as_bytes(), b"\xc3\x28", after.as_bytes()].concat());
    }
    rows.push(row);
    let twice = cdr("twice", &[("userData", Some(r#""again""#))]);
    let mut row =
        parked(signed, rows.len(), &twice, ": has the appKey, sessionId and icid of an earlier CDR of the same push");
    row.request = signed.push().body(fee(&[&cdr("twice", &[]), &twice]));
    rows.push(row);
    // What grows most on its way into the store: three bytes for each that is no character.
    let head = b"{\"eventType\":\"fee\",\"feeLst\":[\"";
    let filling = vec![0xff; largest_body() - head.len() - 3];
    let raw = format!("\"{}\"", "\u{fffd}".repeat(filling.len()));
    rows.push(Row {
        what: "parked: as many bytes that are no UTF-8 as a push may have".to_owned(),
        request: signed.push().body([&head[..], &filling, b"\"]}"].concat()),
        expected: Expected::Parked { raw, reason: "/feeLst/0: is not UTF-8".to_owned() },
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
