//! Bodies that are no push: 400 with a pointer and a reason.

use super::{Row, Signed, cdr, fee, largest_body};

const KEYS: &str = "must be a JSON object in which no key is there more than once";
const ARRAY: &str = "must be a JSON object, found an array";
const LIST: &str = "must be an array of 1 to 50 CDRs, found ";
const NO_TEXT: &str = "must be a text: expected \"fee\" or an event";

pub fn rows(signed: &Signed) -> Vec<Row> {
    let table: Vec<(&[u8], &'static str, String)> = vec![
        (b"", "", "the body is missing".to_owned()),
        (b" ", "", not_json(1, 1)),
        (b"\r\n\r\n", "", not_json(3, 0)),
        (b"{", "", not_json(1, 1)),
        (b"}", "", not_json(1, 1)),
        (b"+8617010000099", "", not_json(1, 1)),
        (b"eventType=fee&feeLst=+8617010000099", "", not_json(1, 1)),
        (b"<fee><feeLst>+8617010000099</feeLst></fee>", "", not_json(1, 1)),
        (b"'eventType'", "", not_json(1, 1)),
        (b"{'eventType':'fee'}", "", not_json(1, 2)),
        (b"{eventType:\"fee\"}", "", not_json(1, 2)),
        (b"{\"eventType\":\"fee\",}", "", not_json(1, 20)),
        (b"{\"eventType\" \"fee\"}", "", not_json(1, 14)),
        (b"{\"eventType\":\"fee\"", "", not_json(1, 18)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}]}x", "", not_json(1, 34)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}]}{}", "", not_json(1, 34)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}}", "", not_json(1, 32)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{},]}", "", not_json(1, 33)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":NaN}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":Infinity}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":0x10}]}", "", not_json(1, 36)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":010}]}", "", not_json(1, 36)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":.5}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":+1}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":\"\n\"}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":\"\0\"}]}", "", not_json(1, 35)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":\"\\x41\"}]}", "", not_json(1, 37)),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{\"a\":\"\\u12\"}]}", "", not_json(1, 41)),
        (b"{\"eventType\":\"fee\"} // +8617010000099", "", not_json(1, 21)),
        (b"/* */{}", "", not_json(1, 1)),
        (b"\0{}", "", not_json(1, 1)),
        (b"\xff\xfe{\0}\0", "", not_json(1, 1)),
        (b"\xfe\xff\0{\0}", "", not_json(1, 1)),
        (b"\x1f\x8b\x08\0\0\0\0\0", "", not_json(1, 1)),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "", not_json(1, 1)),
        (b"{\"\\ud800\":1}", "/eventType", "is missing: expected \"fee\" or an event".to_owned()),
        (b"null", "", KEYS.to_owned()),
        (b"true", "", KEYS.to_owned()),
        (b"8617010000099", "", KEYS.to_owned()),
        (b"\"+8617010000099\"", "", KEYS.to_owned()),
        (b"[]", "", ARRAY.to_owned()),
        (b"[\"fee\",[{}],null,null,null]", "", ARRAY.to_owned()),
        (b"{\"eventType\":\"fee\",\"eventType\":\"callin\",\"feeLst\":[{}]}", "", KEYS.to_owned()),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}],\"feeLst\":[{}]}", "", KEYS.to_owned()),
        (b"{\"eventType\":\"fee\",\"feeLst\":[{}],\"\\u0066eeLst\":[{}]}", "", KEYS.to_owned()),
        (b"{}", "/eventType", "is missing: expected \"fee\" or an event".to_owned()),
        (b"{\"eventtype\":\"fee\"}", "/eventType", "is missing: expected \"fee\" or an event".to_owned()),
        (b"{\"eventType\":null,\"feeLst\":[{}]}", "/eventType", "is missing: expected \"fee\" or an event".to_owned()),
        (
            b"{\"appKey\":\"a\",\"smsEvent\":{\"calling\":\"+8617010000099\"}}",
            "/eventType",
            "is missing: an SMS push, which needs another address than CDR pushes".to_owned(),
        ),
        (b"{\"eventType\":7}", "/eventType", NO_TEXT.to_owned()),
        (b"{\"eventType\":[\"fee\"]}", "/eventType", NO_TEXT.to_owned()),
        (b"{\"eventType\":{\"fee\":\"+8617010000099\"}}", "/eventType", NO_TEXT.to_owned()),
        (b"{\"eventType\":\"\"}", "/eventType", "is empty: expected \"fee\" or an event".to_owned()),
        (b"{\"eventType\":\"fee\"}", "/feeLst", list("nothing")),
        (b"{\"eventType\":\"fee\",\"feelst\":[{}]}", "/feeLst", list("nothing")),
        (b"{\"eventType\":\"fee\",\"feeLst\":null}", "/feeLst", list("nothing")),
        (b"{\"eventType\":\"fee\",\"feeLst\":[]}", "/feeLst", list("none")),
        (b"{\"eventType\":\"fee\",\"feeLst\":7}", "/feeLst", list("a number")),
        (b"{\"eventType\":\"fee\",\"feeLst\":true}", "/feeLst", list("true or false")),
        (b"{\"eventType\":\"fee\",\"feeLst\":\"+8617010000099\"}", "/feeLst", list("a text")),
        (b"{\"eventType\":\"fee\",\"feeLst\":\"[{}]\"}", "/feeLst", list("a text")),
        (b"{\"eventType\":\"callin\"}", "/statusInfo", "must be an object".to_owned()),
        (b"{\"eventType\":\"callin\",\"statusInfo\":[]}", "/statusInfo", "must be an object".to_owned()),
        (
            b"{\"eventType\":\"ANSWER\",\"statusInfo\":\"+8617010000099\"}",
            "/statusInfo",
            "must be an object".to_owned(),
        ),
        (b"{\"eventType\":\"numStatus\"}", "/numInfo", "must be an array of numbers".to_owned()),
        (b"{\"eventType\":\"numStatus\",\"numInfo\":{}}", "/numInfo", "must be an array of numbers".to_owned()),
    ];
    let mut rows: Vec<_> = table
        .into_iter()
        .map(|(body, pointer, reason)| refused(signed, &String::from_utf8_lossy(body), body, pointer, &reason))
        .collect();

    let one = cdr("too-many", &[]);
    let many = |count: usize| fee(&vec![one.as_str(); count]);
    rows.push(refused(signed, "51 CDRs", many(51).as_bytes(), "/feeLst", &list("51")));
    rows.push(refused(signed, "400 CDRs", many(400).as_bytes(), "/feeLst", &list("400")));
    let nulls = fee(&vec!["null"; 20_000]);
    rows.push(refused(signed, "20000 nulls", nulls.as_bytes(), "/feeLst", &list("20000")));
    let deep = "[".repeat(100_000);
    rows.push(refused(signed, "100000 open arrays", deep.as_bytes(), "", ARRAY));
    let deep = "{\"a\":".repeat(50_000);
    rows.push(refused(signed, "50000 open objects", deep.as_bytes(), "", &not_json(1, 250_000)));
    let large = vec![b' '; largest_body() + 1];
    rows.push(Row::refused("the largest body and a byte", signed.push().body(large), 413, None, &too_large()));
    rows
}

pub(super) fn too_large() -> String {
    format!("the body is larger than {} bytes", largest_body())
}

fn refused(signed: &Signed, what: &str, body: &[u8], pointer: &'static str, reason: &str) -> Row {
    let what = format!("body {}", what.chars().take(60).collect::<String>());
    Row::refused(what, signed.push().body(body), 400, Some(pointer), reason)
}

pub(super) fn not_json(line: usize, column: usize) -> String {
    format!("is not JSON: error at line {line}, column {column}")
}

fn list(found: &str) -> String {
    format!("{LIST}{found}")
}
