//! Signatures of callbacks by the Standard Webhooks specification, as a business checks them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far `webhook-timestamp` may be from now unless told otherwise: what the specification's own libraries allow.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_mins(5);

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// One symmetric secret: `whsec_` and the Base64 of 24 to 64 bytes.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

/// A text that is not a signing secret. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningSecretError {
    /// The prefix is missing.
    #[error("a signing secret starts with `whsec_`")]
    Prefix,
    /// The rest is not Base64.
    #[error("a signing secret is `whsec_` and then standard Base64 with its padding")]
    Base64,
    /// Too short or too long.
    #[error("a signing secret is 24 to 64 bytes in Base64 after `whsec_`; this one has {0}")]
    Length(usize),
}

impl FromStr for SigningSecret {
    type Err = SigningSecretError;

    fn from_str(text: &str) -> Result<Self, SigningSecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SigningSecretError::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| SigningSecretError::Base64)?;
        if !(24..=64).contains(&key.len()) {
            return Err(SigningSecretError::Length(key.len()));
        }
        let mac = Hmac::new_from_slice(&key).map_err(|_| SigningSecretError::Length(key.len()))?;
        Ok(Self(mac))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(***)")
    }
}

impl SigningSecret {
    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

/// The value of `webhook-signature`: one `v1,…` for each secret, separated by blanks.
///
/// `timestamp` is the value of `webhook-timestamp`, seconds since 1970.
pub fn sign(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let signatures = secrets.iter().map(|secret| {
        let digest = secret.mac(id, &timestamp, body).finalize().into_bytes();
        format!("{VERSION}{}", STANDARD.encode(digest))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

/// The three headers of a signed callback, as received.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeaders<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `webhook-timestamp` is not a whole number of seconds.
    #[error("webhook-timestamp is not a number of seconds since 1970")]
    Timestamp,
    /// `webhook-timestamp` is too far from now.
    #[error("webhook-timestamp is further from now than the tolerance allows")]
    OutsideTolerance,
    /// `webhook-signature` holds no signature of version `v1`.
    #[error("webhook-signature holds no `v1,` signature")]
    NoSignature,
    /// No signature fits any secret.
    #[error("webhook-signature fits none of the secrets")]
    Mismatch,
}

/// Accepts the callback when any of its `v1` signatures fits any of the secrets: either side may be in the middle of a
/// rotation. Digests are compared in constant time.
///
/// `now` is seconds since 1970; without a `tolerance` the timestamp may be of any age.
///
/// # Errors
///
/// The first rule that does not hold, see [`SignatureError`].
pub fn verify(
    secrets: &[SigningSecret],
    headers: SignatureHeaders<'_>,
    body: &[u8],
    now: i64,
    tolerance: Option<Duration>,
) -> Result<(), SignatureError> {
    let timestamp: i64 = headers.timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
    if tolerance.is_some_and(|tolerance| now.abs_diff(timestamp) > tolerance.as_secs()) {
        return Err(SignatureError::OutsideTolerance);
    }
    let mut given = headers.signature.split(' ').filter_map(|part| part.strip_prefix(VERSION)).peekable();
    if given.peek().is_none() {
        return Err(SignatureError::NoSignature);
    }
    let fits = |digest: Vec<u8>| {
        secrets.iter().any(|secret| secret.mac(headers.id, headers.timestamp, body).verify_slice(&digest).is_ok())
    };
    let accepted = given.filter_map(|encoded| STANDARD.decode(encoded).ok()).any(fits);
    if accepted { Ok(()) } else { Err(SignatureError::Mismatch) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{SignatureError, SignatureHeaders, SigningSecret, SigningSecretError, sign, verify};

    // The specification's published example.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIMESTAMP: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    const OTHER_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

    fn secrets(texts: &[&str]) -> Vec<SigningSecret> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn check(secrets: &[SigningSecret], signature: &str, now: i64) -> Result<(), SignatureError> {
        let timestamp = TIMESTAMP.to_string();
        let headers = SignatureHeaders { id: ID, timestamp: &timestamp, signature };
        verify(secrets, headers, BODY, now, Some(Duration::from_mins(5)))
    }

    #[test]
    fn the_published_vector_is_signed_and_verified() {
        let secrets = secrets(&[SECRET]);
        assert_eq!(sign(&secrets, ID, TIMESTAMP, BODY), SIGNATURE);
        assert_eq!(check(&secrets, SIGNATURE, TIMESTAMP), Ok(()));
    }

    #[test]
    fn a_rotation_is_accepted_from_either_side() {
        let (old, new, both) = (secrets(&[SECRET]), secrets(&[OTHER_SECRET]), secrets(&[OTHER_SECRET, SECRET]));
        let signed_by_both = sign(&both, ID, TIMESTAMP, BODY);
        assert_eq!(signed_by_both.split(' ').count(), 2);
        for business in [&old, &new, &both] {
            assert_eq!(check(business, &signed_by_both, TIMESTAMP), Ok(()));
        }
        assert_eq!(check(&both, SIGNATURE, TIMESTAMP), Ok(()));
        assert_eq!(check(&new, SIGNATURE, TIMESTAMP), Err(SignatureError::Mismatch));
    }

    #[test]
    fn whatever_does_not_hold_is_refused_with_its_reason() {
        let secrets = secrets(&[SECRET]);
        assert_eq!(check(&secrets, SIGNATURE, TIMESTAMP + 300), Ok(()));
        assert_eq!(check(&secrets, SIGNATURE, TIMESTAMP + 301), Err(SignatureError::OutsideTolerance));
        assert_eq!(check(&secrets, SIGNATURE, TIMESTAMP - 301), Err(SignatureError::OutsideTolerance));
        assert_eq!(check(&secrets, "v1a,AAAA", TIMESTAMP), Err(SignatureError::NoSignature));
        assert_eq!(check(&secrets, "v1,not base64", TIMESTAMP), Err(SignatureError::Mismatch));
        assert_eq!(check(&secrets, "v1,AAAA", TIMESTAMP), Err(SignatureError::Mismatch));
        let timestamp = TIMESTAMP.to_string();
        let headers = SignatureHeaders { id: ID, timestamp: &timestamp, signature: SIGNATURE };
        assert_eq!(verify(&secrets, headers, b"{}", TIMESTAMP, None), Err(SignatureError::Mismatch));
        let headers = SignatureHeaders { timestamp: "yesterday", ..headers };
        assert_eq!(verify(&secrets, headers, BODY, TIMESTAMP, None), Err(SignatureError::Timestamp));
    }

    #[test]
    fn p7_a_secret_shows_itself_neither_in_debug_nor_in_errors() {
        assert_eq!(format!("{:?}", secrets(&[SECRET])), "[SigningSecret(***)]");
        for (text, error) in [
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SigningSecretError::Prefix),
            ("whsec_C2FVsBQIhrsc!", SigningSecretError::Base64),
            ("whsec_C2FVsBQIhrsc", SigningSecretError::Length(9)),
        ] {
            assert_eq!(text.parse::<SigningSecret>().unwrap_err(), error);
            assert!(!error.to_string().contains("C2FV"));
        }
    }

    /// The table of "Test vector of a signature", in both languages.
    #[test]
    fn the_documented_vector_comes_out() {
        for document in [include_str!("../../docs/operations.md"), include_str!("../../docs/operations.zh-CN.md")] {
            let row = document.find("| `webhook-id` | `").unwrap();
            let table = document[..row].rfind("| --- | --- |\n").unwrap();
            let values: Vec<&str> = document[table..]
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with('|'))
                .map(|line| line.split_once(" | `").unwrap().1.strip_suffix("` |").unwrap())
                .collect();
            let [secret, key, id, timestamp, body, signature] = values[..] else { panic!("{values:?}") };
            let decoded = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
            assert_eq!(decoded.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), key);
            assert_eq!(sign(&secrets(&[secret]), id, timestamp.parse().unwrap(), body.as_bytes()), signature);
            // The filter's own test has the same vector.
            assert_eq!((secret, id, body.as_bytes(), signature), (SECRET, ID, BODY, SIGNATURE));
            assert_eq!(timestamp, TIMESTAMP.to_string());
        }
    }
}
