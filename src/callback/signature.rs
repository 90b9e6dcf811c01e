//! Signed callbacks after Standard Webhooks 1.0: `webhook-signature: v1,<Base64 of HMAC-SHA256>` over
//! `<webhook-id>.<webhook-timestamp>.<body>`, one signature for each secret in use.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{self, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What every secret starts with, so that it is recognised for what it is.
const PREFIX: &str = "whsec_";
/// How long a secret may be, in bytes after decoding.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets are given with and without padding.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret shared with a business, ready for use.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

/// Why a text is not a secret. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSecret {
    /// It does not start with `whsec_`.
    Prefix,
    /// What follows is not Base64.
    Base64,
    /// It is too short to be safe or too long; the number of its bytes after decoding.
    Length(usize),
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shortest, longest) = (LENGTH.start(), LENGTH.end());
        match self {
            Self::Prefix => write!(formatter, "must start with {PREFIX}"),
            Self::Base64 => write!(formatter, "must be standard Base64 behind {PREFIX}"),
            Self::Length(length) => {
                write!(formatter, "must hold {shortest} to {longest} bytes, Base64-encoded, but holds {length}")
            }
        }
    }
}

impl std::error::Error for InvalidSecret {}

impl SigningSecret {
    /// Reads `whsec_` and Base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` makes it.
    ///
    /// # Errors
    /// Why the text is not a secret.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
        let key = SECRET_BASE64.decode(encoded).map_err(|_| InvalidSecret::Base64)?;
        if !LENGTH.contains(&key.len()) {
            return Err(InvalidSecret::Length(key.len()));
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| InvalidSecret::Length(key.len()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(***)")
    }
}

/// The value of `webhook-signature`: one signature for each secret, in their order, divided by a blank. "" without secrets.
///
/// `id`: the value of `webhook-id`. `timestamp`: that of `webhook-timestamp`, epoch seconds. `body`: exactly what is sent.
pub fn sign(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    /// `v1,`, 44 characters of Base64 and a blank.
    const EACH: usize = 48;
    let timestamp = timestamp.to_string();
    let mut header = String::with_capacity(secrets.len() * EACH);
    for secret in secrets {
        let mut hmac = secret.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            hmac.update(part);
        }
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        general_purpose::STANDARD.encode_string(hmac.finalize().into_bytes(), &mut header);
    }
    header
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::{InvalidSecret, SigningSecret, sign};

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIMESTAMP: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    #[test]
    fn the_published_vector_comes_out() {
        assert_eq!(sign(&[SigningSecret::parse(SECRET).unwrap()], ID, TIMESTAMP, BODY), SIGNATURE);
    }

    #[test]
    fn every_secret_in_use_signs() {
        let other = SigningSecret::parse(&format!("whsec_{}", STANDARD.encode([7; 64]))).unwrap();
        let secret = SigningSecret::parse(SECRET).unwrap();
        let alone = sign(std::slice::from_ref(&other), ID, TIMESTAMP, BODY);
        assert_ne!(alone, SIGNATURE);
        assert_eq!(sign(&[other, secret], ID, TIMESTAMP, BODY), format!("{alone} {SIGNATURE}"));
        assert_eq!(sign(&[], ID, TIMESTAMP, BODY), "");
    }

    #[test]
    fn every_part_is_signed() {
        let secrets = [SigningSecret::parse(SECRET).unwrap()];
        assert_ne!(sign(&secrets, "msg", TIMESTAMP, BODY), SIGNATURE);
        assert_ne!(sign(&secrets, ID, TIMESTAMP + 1, BODY), SIGNATURE);
        assert_ne!(sign(&secrets, ID, TIMESTAMP, b"{}"), SIGNATURE);
    }

    #[test]
    fn a_secret_may_come_without_padding() {
        let secret = |text: &str| sign(&[SigningSecret::parse(text).unwrap()], ID, TIMESTAMP, BODY);
        let (padded, bare) = (STANDARD.encode([7; 32]), STANDARD_NO_PAD.encode([7; 32]));
        assert_ne!(padded, bare);
        assert_eq!(secret(&format!("whsec_{padded}")), secret(&format!("whsec_{bare}")));
    }

    #[test]
    fn what_is_no_secret_is_refused_with_a_reason() {
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for (text, expected) in [
            (String::new(), InvalidSecret::Prefix),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(), InvalidSecret::Prefix),
            ("WHSEC_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(), InvalidSecret::Prefix),
            ("whsec_".to_owned(), InvalidSecret::Length(0)),
            ("whsec_not base64 at all".to_owned(), InvalidSecret::Base64),
            ("whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD".to_owned(), InvalidSecret::Base64),
            (format!("{SECRET}\n"), InvalidSecret::Base64),
            (of(23), InvalidSecret::Length(23)),
            (of(65), InvalidSecret::Length(65)),
        ] {
            assert_eq!(SigningSecret::parse(&text).map(|_| ()), Err(expected), "{text}");
        }
        for length in [24, 64] {
            assert!(SigningSecret::parse(&of(length)).is_ok(), "{length}");
        }
    }

    #[test]
    fn p7_neither_a_secret_nor_what_is_wrong_with_one_shows_it() {
        assert_eq!(format!("{:?}", SigningSecret::parse(SECRET).unwrap()), "SigningSecret(***)");
        assert_eq!(InvalidSecret::Length(23).to_string(), "must hold 24 to 64 bytes, Base64-encoded, but holds 23");
    }
}
