use super::{Application, Authenticator, Refusal, Scheme, Secret};

const APP_KEY: &str = "demoAppKey000000000000000001";
const SECRET: &[u8] = b"fictitious-app-secret-0001";
/// 2026-01-05T02:30:24Z, the `Created` of vector 2.
const NOW_MS: i64 = 1_767_580_224_000;
const AKSK_1: &str = "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0tA=";
const AKSK_2: &str = "z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=";
const WSSE_1: &str = "daLw3clNtaK72mVQEa1b2QFbJShd8k9EgSM+rWjRX24=";
const WSSE_2: &str = "tmkRGaCOqqDNG+Gwvigzv/2/tKv+npeUtFrEVSwaNaA=";

fn token_of(app_key: &str, digest: &str, nonce: &str, created: &str) -> String {
    format!(r#"UsernameToken Username="{app_key}",PasswordDigest="{digest}",Nonce="{nonce}",Created="{created}""#)
}

/// Nonce and time of vector 1.
fn token_1(digest: &str) -> String {
    token_of(APP_KEY, digest, "66C92B11FF8A425FB8D4CCFE0ED9ED1F", "2018-02-12T15:30:20Z")
}

/// Nonce and time of vector 2.
fn token_2(digest: &str) -> String {
    token_of(APP_KEY, digest, "00112233445566778899aabbccddeeff", "2026-01-05T02:30:24Z")
}

fn authenticator_of(schemes: &[Scheme], window: Option<u32>, secrets: &[&[u8]]) -> Authenticator {
    let secrets = secrets.iter().map(|bytes| Secret::new(bytes)).collect();
    let application = Application::new(APP_KEY.to_owned(), Some("business".to_owned()), secrets);
    let other = Application::new("otherApp".to_owned(), None, vec![Secret::new(b"other-secret")]);
    Authenticator::new(schemes.iter().copied(), window, [application, other])
}

fn authenticator() -> Authenticator {
    authenticator_of(&[Scheme::Aksk, Scheme::Wsse], None, &[SECRET])
}

fn ask<'c>(authenticator: &'c Authenticator, headers: &[(&str, &str)]) -> Result<&'c str, Refusal> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    authenticator.authenticate(headers, NOW_MS).map(|authenticated| authenticated.application.app_key.as_str())
}

#[test]
fn the_published_digests_are_accepted_under_their_own_header_only() {
    let authenticator = authenticator();
    for (header, other, token) in [
        ("x-aksk", "x-wsse", token_1(AKSK_1)),
        ("x-aksk", "x-wsse", token_2(AKSK_2)),
        ("x-wsse", "x-aksk", token_1(WSSE_1)),
        ("x-wsse", "x-aksk", token_2(WSSE_2)),
    ] {
        assert_eq!(ask(&authenticator, &[(header, &token)]), Ok(APP_KEY), "{token}");
        assert_eq!(ask(&authenticator, &[(other, &token)]), Err(Refusal::WrongDigest), "{token}");
    }
}

#[test]
fn the_push_on_the_wire_is_accepted_in_all_its_published_variants() {
    let sample = include_str!("../../../tests/samples/x-aksk-digest-worked-example.txt");
    let authenticator = authenticator();
    let mut seen = 0;
    for line in sample.lines() {
        let Some((name, rest)) = line.split_once(": UsernameToken ") else { continue };
        let value = format!("UsernameToken {}", rest.split_once("     ").map_or(rest, |(value, _)| value));
        assert_eq!(ask(&authenticator, &[(&name.to_lowercase(), &value)]), Ok(APP_KEY), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn digests_of_the_usual_mistakes_are_refused() {
    let authenticator = authenticator();
    for digest in [
        "Y2VjYjFhZWUxNzgzNmM0YTY4NDJkNzM5ZTc3NjdlNmY0MmZiYTQ5NDJjZjBkZjk0Y2RlOGRlYTA1ZDVmZDJkMA==",
        "OCt2NqJiXPcS60SH8LSUam/+fXYs+wduXVfKqW5l5Rc=",
        "UAwyW9a3I2xwCmSogmpmv+g9SV8AskGw3ZWiGTd5bdQ=",
        "cecb1aee17836c4a6842d739e7767e6f42fba4942cf0df94cde8dea05d5fd2d0",
        "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0tA",
        "zssa7heDbEpoQtc553Z-b0L7pJQs8N-UzejeoF1f0tA=",
        "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0t",
        "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0tB=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "====",
        "é",
        AKSK_2,
    ] {
        assert_eq!(ask(&authenticator, &[("x-aksk", &token_1(digest))]), Err(Refusal::WrongDigest), "{digest}");
    }
}

#[test]
fn an_application_that_is_not_configured_is_refused_even_with_the_decoy_secret() {
    let authenticator = authenticator();
    for secret in [SECRET, b"decoy", b""] {
        let token = super::Credentials { username: "", digest: "", nonce: "n", created: "c" };
        let digest = super::Secret::new(secret).digest(Scheme::Aksk, &token);
        let digest = base64::Engine::encode(&super::STANDARD, digest);
        let token = token_of("nobody", &digest, "n", "c");
        assert_eq!(ask(&authenticator, &[("x-aksk", &token)]), Err(Refusal::UnknownApplication));
    }
}

#[test]
fn the_decoy_fills_up_the_rounds_and_never_counts() {
    // `otherApp` has one secret where the first application has two, so its second round is the decoy's.
    let authenticator = authenticator_of(&[Scheme::Aksk], None, &[b"old", SECRET]);
    let parts = super::Credentials { username: "", digest: "", nonce: "n", created: "c" };
    let digest_of =
        |secret: &[u8]| base64::Engine::encode(&super::STANDARD, Secret::new(secret).digest(Scheme::Aksk, &parts));
    let genuine = token_of("otherApp", &digest_of(b"other-secret"), "n", "c");
    assert_eq!(ask(&authenticator, &[("x-aksk", &genuine)]), Ok("otherApp"));
    let forged = token_of("otherApp", &digest_of(b"decoy"), "n", "c");
    assert_eq!(ask(&authenticator, &[("x-aksk", &forged)]), Err(Refusal::WrongDigest));
}

#[test]
fn an_application_without_a_secret_authenticates_nobody() {
    let authenticator = authenticator_of(&[Scheme::Aksk], None, &[]);
    assert_eq!(ask(&authenticator, &[("x-aksk", &token_1(AKSK_1))]), Err(Refusal::WrongDigest));
}

#[test]
fn both_secrets_are_good_while_one_replaces_the_other() {
    for secrets in [[SECRET, b"next".as_slice()], [b"last".as_slice(), SECRET]] {
        let authenticator = authenticator_of(&[Scheme::Aksk, Scheme::Wsse], None, &secrets);
        assert_eq!(ask(&authenticator, &[("x-aksk", &token_1(AKSK_1))]), Ok(APP_KEY));
        assert_eq!(ask(&authenticator, &[("x-wsse", &token_1(WSSE_1))]), Ok(APP_KEY));
    }
    let authenticator = authenticator_of(&[Scheme::Aksk], None, &[b"last", b"next"]);
    assert_eq!(ask(&authenticator, &[("x-aksk", &token_1(AKSK_1))]), Err(Refusal::WrongDigest));
}

#[test]
fn the_header_that_counts_is_the_accepted_one() {
    let (aksk, wsse) = (token_1(AKSK_1), token_1(WSSE_1));
    let both = [("x-wsse", wsse.as_str()), ("x-aksk", aksk.as_str())];
    let bad_wsse = [("x-wsse", "nonsense"), ("x-aksk", aksk.as_str())];
    let bad_aksk = [("x-wsse", wsse.as_str()), ("x-aksk", "nonsense")];

    let either = authenticator();
    assert_eq!(ask(&either, &both), Ok(APP_KEY));
    assert_eq!(ask(&either, &bad_wsse), Ok(APP_KEY));
    assert_eq!(ask(&either, &bad_aksk), Err(Refusal::Malformed), "a bad X-AKSK is not overlooked");

    let only_wsse = authenticator_of(&[Scheme::Wsse], None, &[SECRET]);
    assert_eq!(ask(&only_wsse, &bad_aksk), Ok(APP_KEY));
    assert_eq!(ask(&only_wsse, &[("x-aksk", &aksk)]), Err(Refusal::SchemeNotAccepted));

    let only_aksk = authenticator_of(&[Scheme::Aksk], None, &[SECRET]);
    assert_eq!(ask(&only_aksk, &[("x-wsse", &wsse)]), Err(Refusal::SchemeNotAccepted));
    assert_eq!(ask(&authenticator_of(&[], None, &[SECRET]), &both), Err(Refusal::SchemeNotAccepted));
}

#[test]
fn no_credentials_are_no_credentials() {
    let authorization = ("authorization", r#"AKSK realm="SDP",profile="UsernameToken",type="Appkey""#);
    assert_eq!(ask(&authenticator(), &[]), Err(Refusal::Missing));
    assert_eq!(ask(&authenticator(), &[authorization]), Err(Refusal::Missing));
}

#[test]
fn a_credential_header_that_is_there_twice_is_refused() {
    let token = token_1(AKSK_1);
    for twice in ["authorization", "x-aksk", "x-wsse"] {
        let headers = [("x-aksk", token.as_str()), (twice, token.as_str()), (twice, token.as_str())];
        assert_eq!(ask(&authenticator(), &headers), Err(Refusal::Duplicated), "{twice}");
    }
    let unrelated = [("x-aksk", token.as_str()), ("x-forwarded-for", ""), ("x-forwarded-for", "")];
    assert_eq!(ask(&authenticator(), &unrelated), Ok(APP_KEY));
}

#[test]
fn header_bytes_that_are_not_utf_8_are_refused_and_elsewhere_ignored() {
    let (authenticator, token) = (authenticator(), token_1(AKSK_1));
    let headers: [(&str, &[u8]); 2] = [("user-agent", b"\xff"), ("x-aksk", token.as_bytes())];
    assert!(authenticator.authenticate(headers.into_iter(), NOW_MS).is_ok());
    let headers: [(&str, &[u8]); 1] = [("x-aksk", b"UsernameToken \xff")];
    assert_eq!(authenticator.authenticate(headers.into_iter(), NOW_MS).unwrap_err(), Refusal::NotUtf8);
}

#[test]
fn the_window_of_created_is_off_unless_asked_for() {
    let at = |window, now_ms| {
        let token = token_2(AKSK_2);
        let authenticator = authenticator_of(&[Scheme::Aksk], window, &[SECRET]);
        let headers = [("x-aksk", token.as_bytes())];
        authenticator.authenticate(headers.into_iter(), now_ms).map(|_| ())
    };
    for distance_ms in [0, 300_000, -300_000] {
        assert_eq!(at(Some(300), NOW_MS + distance_ms), Ok(()), "{distance_ms}");
    }
    for distance_ms in [300_001, -300_001, 8 * 3_600_000, i64::MAX - NOW_MS, i64::MIN] {
        let now_ms = NOW_MS.saturating_add(distance_ms);
        assert_eq!(at(Some(300), now_ms), Err(Refusal::OutsideWindow), "{distance_ms}");
        assert_eq!(at(None, now_ms), Ok(()), "{distance_ms}");
    }
}

#[test]
fn a_window_needs_a_time_it_can_read_and_tells_it_only_to_the_genuine() {
    let parts = super::Credentials { username: "", digest: "", nonce: "n", created: "yesterday" };
    let digest = base64::Engine::encode(&super::STANDARD, Secret::new(SECRET).digest(Scheme::Aksk, &parts));
    let authenticator = authenticator_of(&[Scheme::Aksk], Some(300), &[SECRET]);
    let genuine = token_of(APP_KEY, &digest, "n", "yesterday");
    assert_eq!(ask(&authenticator, &[("x-aksk", &genuine)]), Err(Refusal::Malformed));
    assert_eq!(ask(&authenticator, &[("x-aksk", &token_1(AKSK_2))]), Err(Refusal::WrongDigest));
}

#[test]
fn p7_no_refusal_and_no_debug_text_shows_what_was_sent_or_configured() {
    let shown = format!("{:?}", authenticator());
    assert!(!shown.contains("fictitious") && !shown.contains("other-secret"), "{shown}");
    for refusal in [
        Refusal::Missing,
        Refusal::Duplicated,
        Refusal::Malformed,
        Refusal::NotUtf8,
        Refusal::UnknownApplication,
        Refusal::WrongDigest,
        Refusal::SchemeNotAccepted,
        Refusal::OutsideWindow,
    ] {
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn the_application_can_be_asked_for() {
    let authenticator = authenticator();
    assert_eq!(authenticator.application(APP_KEY).unwrap().ak.as_deref(), Some("business"));
    assert!(authenticator.application("nobody").is_none());
}

proptest::proptest! {
    #[test]
    fn p6_no_header_makes_it_panic(value in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let authenticator = authenticator_of(&[Scheme::Aksk, Scheme::Wsse], Some(300), &[SECRET]);
        let mut token = b"UsernameToken ".to_vec();
        token.extend_from_slice(&value);
        proptest::prop_assert!(authenticator.authenticate([("x-aksk", value.as_slice())].into_iter(), 0).is_err());
        proptest::prop_assert!(authenticator.authenticate([("x-wsse", token.as_slice())].into_iter(), 0).is_err());
    }
}
