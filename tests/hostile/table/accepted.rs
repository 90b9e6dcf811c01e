//! What looks odd and is taken: nothing of it may be parked or refused.

use super::{Expected, Row, Signed, cdr, fee};

pub fn rows(signed: &Signed) -> Vec<Row> {
    let long = |length: usize| format!("\"{}\"", "中".repeat(length));
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let (session, user_data) = (long(200), long(1024));
    let fields: Vec<(&str, Option<&str>)> = vec![
        ("direction", Some(r#""0""#)),
        ("direction", Some("2")),
        ("icid", None),
        ("icid", Some("null")),
        ("icid", Some("7")),
        ("sessionId", Some(&session)),
        ("sessionId", Some("123456789012345678901234567890")),
        ("sessionId", Some(r#""'; DROP TABLE calls; --""#)),
        ("sessionId", Some(r#""\"}]}""#)),
        ("sessionId", Some(r#""..\/..\/etc\/passwd""#)),
        ("sessionId", Some(r#""%00%0d%0a""#)),
        ("sessionId", Some(r#""\r\nx-more: 1""#)),
        ("subscriptionId", None),
        ("subscriptionId", Some(r#""' OR 1=1 --""#)),
        ("callerNum", None),
        ("callerNum", Some(r#""anonymous""#)),
        ("callInTime", Some(r#""2026-01-05  02:30:03""#)),
        ("callInTime", Some(r#"" 2026-01-05\t02:30:03 ""#)),
        ("callInTime", Some(r#""9999-12-31 23:59:59""#)),
        ("callInTime", None),
        ("recordFlag", Some(r#""true""#)),
        ("recordFlag", None),
        ("recordFileDownloadUrl", Some(r#""javascript:alert(1)""#)),
        ("recordFileDownloadUrl", Some("null")),
        ("userData", Some(&user_data)),
        ("userData", Some(r#""{\"a\":1}""#)),
        ("userData", Some(r#""\u202e\ufeff\u0001""#)),
        ("userData", Some(r#""<script>alert(1)</script>""#)),
        ("userData", Some("\"\u{fffd}\"")),
        ("mptyId", Some(&deep)),
        ("__proto__", Some(r#"{"direction":2}"#)),
        ("", Some("1")),
        ("\\u0000", Some("1")),
    ];
    let odd = odd_values();
    let mut rows: Vec<_> = fields
        .into_iter()
        .chain(odd.iter().map(|(key, value)| (*key, value.as_deref())))
        .enumerate()
        .map(|(index, (key, value))| {
            let body = fee(&[&cdr(&format!("accepted-{index}"), &[(key, value)])]);
            let shown: String = value.unwrap_or("nothing").chars().take(40).collect();
            recorded(format!("{key}: {shown}"), signed.push().body(body))
        })
        .collect();

    let one = |name: &str| cdr(name, &[]);
    let spaced = format!(" \r\n\t{} \r\n", fee(&[&one("spaced")]).replace(',', " ,\n"));
    rows.push(recorded("blanks everywhere", signed.push().body(spaced)));
    let marked = ["\u{feff}", &fee(&[&one("marked")])].concat();
    rows.push(recorded("a byte order mark", signed.push().body(marked)));
    let single = format!(r#"{{"feeLst":{},"eventType":"FEE"}}"#, one("single"));
    rows.push(recorded("one object for a list of one", signed.push().body(single)));
    let escaped = fee(&[&one("escaped")]).replace("eventType", "\\u0065ventType").replace("fee\"", "f\\u0065e\"");
    rows.push(recorded("escaped names", signed.push().body(escaped)));
    let unknown = fee(&[&one("unknown")]).replacen('{', r#"{"a":{"b":[1e999,{}]},"feelst":[],"#, 1);
    rows.push(recorded("members nobody knows", signed.push().body(unknown)));
    let fifty: Vec<_> = (0..50).map(|index| cdr(&format!("fifty-{index}"), &[])).collect();
    let fifty: Vec<_> = fifty.iter().map(String::as_str).collect();
    rows.push(recorded("50 CDRs", signed.push().body(fee(&fifty))));
    let twice = |user_data| cdr("twice", &[("userData", Some(user_data))]);
    let versions = fee(&[&twice("1"), &twice("2"), &twice("1")]);
    rows.push(recorded("two versions of one CDR, one of them twice", signed.push().body(versions)));
    for bytes in [&b"\xc3\x28"[..], b"\xff", b"\xd6\xd0", b"\x95\x5c", b"\x81\x30\x81\x30"] {
        for key in ["hostName", "userData", "callEndTime", "icid"] {
            let body = fee(&[&cdr(&format!("{key}-{bytes:?}"), &[(key, Some("\"MARK\""))])]);
            let Some((before, after)) = body.split_once("MARK") else { continue };
            let request = signed.push().body([before.as_bytes(), bytes, after.as_bytes()].concat());
            rows.push(recorded(format!("{key}: the bytes {bytes:?}"), request));
        }
    }
    for (what, event) in [
        ("an event that nobody knows", r#"{"eventType":"playRes"}"#.to_owned()),
        ("an event with a blank", r#"{"eventType":"fee "}"#.to_owned()),
        ("an event like a number", r#"{"eventType":"+8617010000099"}"#.to_owned()),
        ("an event with half a character", r#"{"eventType":"\ud800"}"#.to_owned()),
        ("an event with a NUL", r#"{"eventType":"fee\u0000"}"#.to_owned()),
        ("an event against the database", r#"{"eventType":"'; DROP TABLE calls; --"}"#.to_owned()),
        ("a status event", r#"{"eventType":"callin","statusInfo":{}}"#.to_owned()),
        ("a status event in capitals", r#"{"eventType":"DISCONNECT","statusInfo":{"a":"'; --"}}"#.to_owned()),
        ("collected digits", r#"{"eventType":"collectInfo"}"#.to_owned()),
        ("a number status", r#"{"eventType":"numStatus","numInfo":[]}"#.to_owned()),
        ("a deep event", format!(r#"{{"eventType":"answer","statusInfo":{{"a":{deep}}}}}"#)),
    ] {
        rows.push(recorded(what, signed.push().body(event)));
    }
    let credentials = signed.value("x-aksk");
    for (what, value) in [
        ("credentials without blanks", credentials.replace(", ", ",")),
        ("credentials with blanks", credentials.replace("Username=", "Username = ").replace("Nonce=", " Nonce =\t")),
        ("credentials with a part more", format!("{credentials},Type=\"+8617010000099\"")),
        ("credentials in small letters", credentials.replace("UsernameToken", "usernametoken")),
    ] {
        let request = signed.push().with("x-aksk", value).body(fee(&[&one(what)]));
        rows.push(recorded(what, request));
    }
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-type", "APPLICATION/JSON ; charset=gb18030"),
        ("content-type", "application/json;"),
        ("accept-encoding", "gzip, br"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-original-path", "/v1/calls"),
        ("x-forwarded-for", "127.0.0.1"),
        ("traceparent", "00-ffffffffffffffffffffffffffffffff-0000000000000000-zz"),
        ("tracestate", "a=\u{e9}"),
        ("privatenumber-committed", "00000000000000000000000000000000"),
        ("privatenumber-authenticated", "true"),
        ("x-wsse", "nonsense"),
        ("authorization", "Basic Zm9vOmJhcg=="),
    ] {
        let what = format!("{name}: {value}");
        let request = signed.push().with(name, value).body(fee(&[&one(&what)]));
        rows.push(recorded(what, request));
    }
    // Envoy's leniency; filter and store see what it makes of them.
    let push = |name: &str| (signed.push(), fee(&[&one(name)]));
    let (request, body) = push("two blanks");
    rows.push(recorded("two blanks in the first line", request.line("POST  /huawei/fee HTTP/1.1").body(body)));
    let (request, body) = push("two hosts");
    rows.push(recorded("two hosts", request.also("host", "other.example.com").body(body)));
    let (request, body) = push("a bare CR");
    rows.push(recorded("a bare CR in a header", request.also("x-a", b"a\rb").body(body)));
    let (request, body) = push("a fold");
    rows.push(recorded("a folded header", request.also("x-a", "b\r\n c").body(body)));
    let (request, body) = push("two content types");
    rows.push(recorded("two content types", request.also("content-type", "text/plain").body(body)));
    let chunked = fee(&[&one("chunks")]);
    let chunks: Vec<_> = chunked.as_bytes().chunks(7).map(harness::raw::chunk).collect();
    let body = [chunks.concat(), harness::raw::last_chunk(&[("x-checked", "yes")])].concat();
    rows.push(recorded("chunks and trailers", signed.push().also("transfer-encoding", "chunked").raw_body(body)));
    rows
}

/// Values that become null, or stand in the key in a way of their own.
fn odd_values() -> Vec<(&'static str, Option<String>)> {
    let long = |length: usize| format!("\"{}\"", "9".repeat(length));
    let number = r#""+8617010000099""#;
    let mut odd: Vec<(&str, Option<String>)> = Vec::new();
    let mut add = |key: &'static str, value: &str| odd.push((key, Some(value.to_owned())));
    let texts =
        [("callerNum", 64), ("fwdDstNum", 64), ("bindNum", 64), ("userData", 1024), ("recordFileDownloadUrl", 4096)];
    for (key, longest) in texts.into_iter().chain([("icid", 1024)]) {
        add(key, &long(longest + 1));
        for value in
            [r#"{"+8617010000099":1}"#, r#"["+8617010000099"]"#, r#""a\u0000b""#, r#""\ud800""#, "null", "true"]
        {
            add(key, value);
        }
        add(key, &format!("{number},\"{key}\":{number}"));
    }
    for value in ["null", "3", "-1", "1.0", "1e0", "18446744073709551616", "true", number, r#""00""#, "[]", "{}"] {
        add("direction", value);
    }
    for value in ["2", "0.0", number, r#""TRUE""#, "{}", r#"0,"recordFlag":1"#] {
        add("recordFlag", value);
    }
    for value in [
        number,
        r#""2026-01-05T02:30:03Z""#,
        r#""2026-01-05T02:30:03""#,
        r#""2026-01-05 02:30:03.000""#,
        r#""2026-01-05""#,
        r#""2026-13-05 02:30:03""#,
        r#""2026-02-29 02:30:03""#,
        r#""2026-01-05 24:00:00""#,
        r#""2026-01-05 02:30:60""#,
        r#""1969-12-31 23:59:59""#,
        r#""0000-00-00 00:00:00""#,
        r#""2026-01-05 02:30:03 +0800""#,
        r#""２０２６-01-05 02:30:03""#,
        "1767580203",
        "1767580203000",
        "0",
        "false",
        "[]",
    ] {
        for key in ["callInTime", "fwdStartTime", "fwdAnswerTime", "callEndTime", "failTime"] {
            add(key, value);
        }
    }
    for key in ["direction", "spId", "bindNum"] {
        odd.push((key, None));
    }
    odd
}

fn recorded(what: impl Into<String>, request: Vec<u8>) -> Row {
    Row { what: format!("accepted: {}", what.into()), request, expected: Expected::Recorded }
}
