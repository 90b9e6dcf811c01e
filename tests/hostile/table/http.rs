//! What is not HTTP, or not HTTP that anybody should speak: Envoy's own answers.

use super::bodies::not_json;
use super::{Expected, Row, Signed, cdr, fee};

pub fn rows(signed: &Signed) -> Vec<Row> {
    let body = fee(&[&cdr("http", &[])]);
    let length = body.len();
    let push = || signed.push();
    let bad = |what: &str, request: Vec<u8>| Row::envoys_own(what, request, 400);
    let recorded = |what: &str, request| Row { what: what.to_owned(), request, expected: Expected::Recorded };
    let chunked = |line: &str, chunks: &str| {
        push().line("POST /huawei/fee HTTP/1.1").also("transfer-encoding", line).raw_body(chunks)
    };
    vec![
        bad("no HTTP at all", b"+8617010000099\r\n\r\n".to_vec()),
        bad("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        bad("SSH", b"SSH-2.0-OpenSSH_9.0\r\n\r\n".to_vec()),
        bad("SMTP", b"EHLO gateway.example.com\r\n\r\n".to_vec()),
        // Since it takes HTTP/1.0, Envoy reads every other version as that.
        recorded("an unknown version", push().line("POST /huawei/fee HTTP/9.9").body(&body)),
        recorded("a version before HTTP/1.0", push().line("POST /huawei/fee HTTP/0.9").body(&body)),
        Row::refused(
            "no version, and so no headers",
            push().line("POST /huawei/fee").body(&body),
            415,
            None,
            "the content type is not application/json",
        ),
        bad("a method that is none", push().line("BREW /huawei/fee HTTP/1.1").body(&body)),
        bad("a method in small letters", push().line("post /huawei/fee HTTP/1.1").body(&body)),
        bad("a blank in the path", push().line("POST /huawei/ fee HTTP/1.1").body(&body)),
        bad("a NUL in the path", push().line("POST /huawei/\0fee HTTP/1.1").body(&body)),
        bad(
            "HTTP/1.0 with length and chunks",
            push()
                .line("POST /huawei/fee HTTP/1.0")
                .also("content-length", "5")
                .also("transfer-encoding", "chunked")
                .raw_body("0\r\n\r\n"),
        ),
        bad("no host", push().without("host").body(&body)),
        bad("a host with a blank", push().with("host", "a b").body(&body)),
        bad("a NUL in a header", push().also("x-a", b"a\0b").body(&body)),
        bad("a header name with a blank", push().also("x a", "b").body(&body)),
        bad("a header name with an umlaut", push().also("x-\u{e4}", "b").body(&body)),
        bad("a header without a name", push().also("", "b").body(&body)),
        bad("a header in disguise", push().without("x-aksk").also("x_aksk", signed.value("x-aksk")).body(&body)),
        bad(
            "two lengths",
            push().also("content-length", length.to_string()).also("content-length", "1").raw_body(&body),
        ),
        bad("a negative length", push().also("content-length", "-1").raw_body(&body)),
        bad("a length with a sign", push().also("content-length", format!("+{length}")).raw_body(&body)),
        bad("a length in hex", push().also("content-length", "0x10").raw_body(&body)),
        bad("a length beyond 64 bits", push().also("content-length", "18446744073709551616").raw_body(&body)),
        bad("a list of lengths", push().also("content-length", format!("{length},1")).raw_body(&body)),
        bad(
            "length and chunks",
            push().also("content-length", "5").also("transfer-encoding", "chunked").raw_body("0\r\n\r\n"),
        ),
        bad("chunks of no size", chunked("chunked", "x\r\n\r\n")),
        bad("chunks of negative size", chunked("chunked", "-1\r\n\r\n")),
        bad("chunks beyond 64 bits", chunked("chunked", "FFFFFFFFFFFFFFFFF\r\n")),
        // Envoy has no quarrel with it; the filter has, for there is no push in it.
        Row::refused(
            "a chunk longer than its size",
            chunked("chunked", "2\r\nabc\r\n0\r\n\r\n"),
            400,
            Some(""),
            &not_json(1, 1),
        ),
        Row::envoys_own("an unknown coding", chunked("gzip", ""), 501),
        Row::envoys_own("chunks twice", chunked("chunked, chunked", "0\r\n\r\n"), 501),
        Row::envoys_own("101 headers", many_headers(signed, 101), 431),
        Row::envoys_own("100 KB of headers", push().also("x-a", vec![b'a'; 100_000]).body(&body), 431),
        Row::envoys_own(
            "an upgrade",
            push().also("connection", "upgrade").also("upgrade", "websocket").body(&body),
            403,
        ),
        Row::envoys_own("CONNECT", push().line("CONNECT 127.0.0.1:8090 HTTP/1.1").body(""), 404),
        Row {
            what: "HTTP/2 where only HTTP/1.1 is spoken".to_owned(),
            request: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\xff".to_vec(),
            expected: Expected::EnvoysOwn(400),
        },
    ]
}

fn many_headers(signed: &Signed, count: usize) -> Vec<u8> {
    (0..count).fold(signed.push(), |request, index| request.also(&format!("x-{index}"), "a")).body("{}")
}
