//! Headers that a push cannot have: 405, 415, 413 and every kind of 401.

use super::bodies::too_large;
use super::{Row, Signed, cdr, fee};

const MISSING: &str = "no X-AKSK or X-WSSE header";
const DUPLICATED: &str = "Authorization, X-AKSK or X-WSSE is there more than once";
const MALFORMED: &str = "the credentials are not a well-formed UsernameToken";
const NOT_UTF8: &str = "the credentials are not UTF-8";
const UNKNOWN: &str = "the Username is not a configured application";
const WRONG: &str = "the PasswordDigest does not fit the application's secret";

pub fn rows(signed: &Signed) -> Vec<Row> {
    let body = fee(&[&cdr("headers", &[])]);
    let genuine = signed.value("x-aksk").to_owned();
    let part = |name: &str| {
        let rest = genuine.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let (digest, nonce, created) = (part("PasswordDigest"), part("Nonce"), part("Created"));
    let token = |username: &str, digest: &str, nonce: &str, created: &str| {
        format!(r#"UsernameToken Username="{username}",PasswordDigest="{digest}",Nonce="{nonce}",Created="{created}""#)
    };
    let (app_key, long) = ("demoAppKey000000000000000001", "n".repeat(129));
    let without = |name: &str| genuine.replace(&format!("{name}=\""), "Other=\"");
    let credentials: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), MALFORMED),
        ("only the word", b"UsernameToken".to_vec(), MALFORMED),
        ("another word", genuine.replace("UsernameToken", "Bearer").into_bytes(), MALFORMED),
        ("no blank after the word", genuine.replace("UsernameToken ", "UsernameToken").into_bytes(), MALFORMED),
        ("no Username", without("Username").into_bytes(), MALFORMED),
        ("no PasswordDigest", without("PasswordDigest").into_bytes(), MALFORMED),
        ("no Nonce", without("Nonce").into_bytes(), MALFORMED),
        ("no Created", without("Created").into_bytes(), MALFORMED),
        ("an empty Username", token("", &digest, &nonce, &created).into_bytes(), MALFORMED),
        ("an empty digest", token(app_key, "", &nonce, &created).into_bytes(), MALFORMED),
        ("Username twice", format!("{genuine},Username=\"{app_key}\"").into_bytes(), MALFORMED),
        ("PasswordDigest twice", format!("{genuine},passworddigest=\"x\"").into_bytes(), MALFORMED),
        ("an open quote", genuine.trim_end_matches('"').as_bytes().to_vec(), MALFORMED),
        ("no quotes", genuine.replace('"', "").into_bytes(), MALFORMED),
        ("single quotes", genuine.replace('"', "'").into_bytes(), MALFORMED),
        ("semicolons", genuine.replace(',', ";").into_bytes(), MALFORMED),
        ("a comma at the end", format!("{genuine},").into_bytes(), MALFORMED),
        ("a tail", format!("{genuine} tail").into_bytes(), MALFORMED),
        ("a long nonce", token(app_key, &digest, &long, &created).into_bytes(), MALFORMED),
        ("a long Created", token(app_key, &digest, &nonce, &"c".repeat(65)).into_bytes(), MALFORMED),
        ("5000 bytes", vec![b'a'; 5_000], MALFORMED),
        ("a token of 5000 bytes", format!("{genuine},X=\"{}\"", "x".repeat(5_000)).into_bytes(), MALFORMED),
        ("bytes that are no UTF-8", b"\xff\xfe\xfd".to_vec(), NOT_UTF8),
        ("a Username that is no UTF-8", [b"UsernameToken Username=\"\xc3\x28\"," as &[u8], b"x"].concat(), NOT_UTF8),
        ("a stranger", token("demoAppKey000000000000000009", &digest, &nonce, &created).into_bytes(), UNKNOWN),
        ("a phone number for a name", token("+8617010000099", &digest, &nonce, &created).into_bytes(), UNKNOWN),
        ("other capitals", token(&app_key.to_uppercase(), &digest, &nonce, &created).into_bytes(), UNKNOWN),
        ("a blank in the name", token(&format!(" {app_key}"), &digest, &nonce, &created).into_bytes(), UNKNOWN),
        ("a name of SQL", token("' OR '1'='1", &digest, &nonce, &created).into_bytes(), UNKNOWN),
        ("another nonce", token(app_key, &digest, "00", &created).into_bytes(), WRONG),
        ("another time", token(app_key, &digest, &nonce, "2026-01-05T02:30:25Z").into_bytes(), WRONG),
        ("a digest of something", token(app_key, &digest.to_lowercase(), &nonce, &created).into_bytes(), WRONG),
        (
            "a digest without padding",
            token(app_key, digest.trim_end_matches('='), &nonce, &created).into_bytes(),
            WRONG,
        ),
        ("a digest that is no Base64", token(app_key, "!!!!", &nonce, &created).into_bytes(), WRONG),
        ("a digest in hex", token(app_key, &"0".repeat(64), &nonce, &created).into_bytes(), WRONG),
        ("a short digest", token(app_key, "AAAA", &nonce, &created).into_bytes(), WRONG),
        ("a long digest", token(app_key, &"A".repeat(2_000), &nonce, &created).into_bytes(), WRONG),
        ("the secret itself", token(app_key, "fictitious-app-secret-0001", &nonce, &created).into_bytes(), WRONG),
    ];
    let mut rows: Vec<_> = credentials
        .into_iter()
        .map(|(what, value, reason)| {
            let request = signed.push().with("x-aksk", value).body(&body);
            Row::refused(format!("credentials: {what}"), request, 401, None, reason)
        })
        .collect();

    let mut refuse = |what: &str, request: Vec<u8>, status: u16, reason: &str| {
        rows.push(Row::refused(what, request, status, None, reason));
    };
    let push = || signed.push();
    refuse("no credentials", push().without("x-aksk").body(&body), 401, MISSING);
    let moved = push().without("x-aksk").with("authorization", &genuine);
    refuse("credentials in Authorization", moved.body(&body), 401, MISSING);
    refuse("X-AKSK twice", push().also("x-aksk", &genuine).body(&body), 401, DUPLICATED);
    refuse("X-AKSK twice, once empty", push().also("X-AKSK", "").body(&body), 401, DUPLICATED);
    let wsse = push().also("x-wsse", &genuine).also("x-wsse", "x");
    refuse("X-WSSE twice beside X-AKSK", wsse.body(&body), 401, DUPLICATED);
    let other = push().without("x-aksk").also("x-wsse", &genuine);
    refuse("the digest of the other scheme", other.body(&body), 401, WRONG);
    let broken = push().with("x-aksk", "nonsense").also("x-wsse", &genuine);
    refuse("broken X-AKSK beside X-WSSE", broken.body(&body), 401, MALFORMED);

    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let request = push().line(&format!("{method} /huawei/fee HTTP/1.1")).body("");
        refuse(&format!("the method {method}"), request, 405, "pushes are POST requests");
    }
    let reason = "the content type is not application/json";
    for value in [
        "",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/json+x",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/json, text/plain",
        "\"application/json\"",
        "json",
    ] {
        let request = push().with("content-type", value).body(&body);
        refuse(&format!("the content type {value:?}"), request, 415, reason);
    }
    refuse("no content type", push().without("content-type").body(&body), 415, reason);
    let other_first = push().with("content-type", "text/plain").also("content-type", "application/json").body(&body);
    refuse("two content types, the other first", other_first, 415, reason);

    for length in ["1048577", "4294967296", "9223372036854775807"] {
        let request = push().also("content-length", length).raw_body("{");
        refuse(&format!("a length of {length}"), request, 413, &too_large());
    }
    rows
}
