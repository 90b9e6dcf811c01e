//! Who sent a push: Huawei's `X-AKSK` header.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use privatenumber_contract::{Private, PushId};
use sha2::{Digest as _, Sha256};
use time::PrimitiveDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// How far `Created` may be from now, milliseconds: a repeated push may carry that of the first attempt, which is up to five
/// hours old, and the clock may be eight hours ahead.
const CREATED_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;
/// `Created`, UTC.
const CREATED: StaticFormatDescription = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// The first half of the SHA-256 of nonce and `Created`, as 32 hex digits.
#[derive(Clone, Copy)]
pub struct SignedHash([u8; 32]);

impl SignedHash {
    fn of(nonce: &str, created: &str) -> Self {
        let hash = Sha256::new().chain_update(nonce).chain_update(created).finalize();
        let mut half = [0; 16];
        half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        // A push id has the same form.
        Self(PushId::from_bytes(half).to_hex())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Checks the credentials of one application.
pub struct Authenticator {
    app_key: String,
    /// Keyed with the secret; each push goes on from a copy.
    mac: Hmac<Sha256>,
}

#[derive(Default)]
struct UsernameToken<'h> {
    username: Option<&'h str>,
    password_digest: Option<&'h str>,
    nonce: Option<&'h str>,
    created: Option<&'h str>,
}

impl<'h> UsernameToken<'h> {
    /// Reads `UsernameToken Username="…", PasswordDigest="…", Nonce="…", Created="…"`.
    fn parse(value: &'h str) -> Option<Self> {
        let (scheme, parts) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("UsernameToken") {
            return None;
        }
        let mut token = Self::default();
        for part in parts.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            match name {
                "Username" => token.username = Some(value),
                "PasswordDigest" => token.password_digest = Some(value),
                "Nonce" => token.nonce = Some(value),
                "Created" => token.created = Some(value),
                _ => {}
            }
        }
        Some(token)
    }
}

impl Authenticator {
    /// Checks the credentials of the application `app_key`.
    pub fn new(app_key: String, secret: &Private<String>) -> anyhow::Result<Self> {
        let secret = secret.expose();
        anyhow::ensure!(!secret.is_empty(), "the APP_Secret is empty; set HUAWEI_APP_SECRET");
        Ok(Self { app_key, mac: Hmac::new_from_slice(secret.as_bytes())? })
    }

    /// The application whose pushes are taken.
    pub fn app_key(&self) -> &str {
        &self.app_key
    }

    /// What a request's signature covered, as [`Signature`](privatenumber_contract::Signature) tells it, if the application
    /// signed the request; why not as the error. `now_ms`: epoch milliseconds.
    pub fn check(&self, headers: &HeaderMap, now_ms: i64) -> Result<SignedHash, &'static str> {
        const MALFORMED: &str = "the credentials are not a well-formed UsernameToken";
        let header = headers.get("x-aksk").ok_or("no X-AKSK header")?.to_str().map_err(|_| MALFORMED)?;
        let Some(UsernameToken {
            username: Some(username),
            password_digest: Some(digest),
            nonce: Some(nonce),
            created: Some(created),
        }) = UsernameToken::parse(header)
        else {
            return Err(MALFORMED);
        };
        if username != self.app_key {
            return Err("the Username is not a configured application");
        }
        // Longer than a digest, because Base64 may ask for whole groups.
        let mut buffer = [0; 48];
        let digest = STANDARD.decode_slice(digest, &mut buffer).ok().and_then(|length| buffer.get(..length));
        let mac = self.mac.clone().chain_update(nonce).chain_update(created);
        // In constant time.
        mac.verify_slice(digest.ok_or(MALFORMED)?)
            .map_err(|_| "the PasswordDigest does not fit the application's secret")?;
        let created_ms = PrimitiveDateTime::parse(created, CREATED).map_err(|_| MALFORMED)?.as_utc().unix_timestamp();
        if now_ms.abs_diff(created_ms.saturating_mul(1000)) > CREATED_WINDOW_MS {
            return Err("Created is too far from the current time");
        }
        Ok(SignedHash::of(nonce, created))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use privatenumber_contract::Private;

    use super::Authenticator;

    /// 2026-01-05T02:30:24Z.
    const CREATED_MS: i64 = 1_767_580_224_000;

    fn check(secret: &str, now_ms: i64) -> Result<String, &'static str> {
        let value = r#"UsernameToken Username="demoAppKey000000000000000001", PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=", Nonce="00112233445566778899aabbccddeeff", Created="2026-01-05T02:30:24Z""#;
        let headers = HeaderMap::from_iter([("x-aksk".parse().unwrap(), HeaderValue::from_static(value))]);
        let secret = Private::from(secret);
        let authenticator = Authenticator::new("demoAppKey000000000000000001".to_owned(), &secret).unwrap();
        authenticator.check(&headers, now_ms).map(|hash| hash.as_str().to_owned())
    }

    #[test]
    fn the_worked_example_is_genuine_for_a_day() {
        // Python: hashlib.sha256(b"00112233445566778899aabbccddeeff2026-01-05T02:30:24Z").hexdigest()[:32]
        let hash = "04b0314759f3243e16ed1877ee65b009".to_owned();
        assert_eq!(check("fictitious-app-secret-0001", CREATED_MS), Ok(hash));
        assert!(check("fictitious-app-secret-0002", CREATED_MS).is_err());
        assert!(check("fictitious-app-secret-0001", CREATED_MS + 86_401_000).is_err());
        assert!(check("fictitious-app-secret-0001", CREATED_MS - 86_401_000).is_err());
    }
}
