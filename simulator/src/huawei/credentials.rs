//! The headers by which Huawei proves that a push is its own.
//!
//! Source: the CDR page of Huawei Cloud's Private Number reference (AKSK) and its versions until November 2024 (WSSE).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use privatenumber_contract::Private;
use sha2::{Digest as _, Sha256};

use crate::clock;

/// The content type of every push.
const CONTENT_TYPE: &str = "application/json;charset=UTF-8";

/// How a push is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheme {
    /// The present one: header `X-AKSK`, digest HMAC-SHA256 with the secret as key.
    #[default]
    Aksk,
    /// The one until about November 2024: header `X-WSSE`, digest SHA-256 over nonce, time and secret.
    Wsse,
}

impl Scheme {
    /// The header that carries the credentials, in lower case as Huawei's own examples print it.
    pub const fn header_name(self) -> &'static str {
        match self {
            Self::Aksk => "x-aksk",
            Self::Wsse => "x-wsse",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Aksk => "AKSK",
            Self::Wsse => "WSSE",
        }
    }
}

/// Credentials that no header could carry. Never holds the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The APP_Key does not fit between the quotes of the header.
    #[error("the APP_Key must be 1 to 128 visible ASCII characters other than `\"` and `\\`")]
    AppKey,
    /// There is no APP_Secret.
    #[error("the APP_Secret is empty")]
    EmptySecret,
}

/// Text that is not a nonce or a `Created` time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The nonce is not in Huawei's form.
    #[error("a nonce is 1 to 128 digits and letters, such as 66C92B11FF8A425FB8D4CCFE0ED9ED1F")]
    Nonce,
    /// `Created` is not in Huawei's form.
    #[error("Created is a UTC time such as 2026-01-05T02:30:24Z")]
    Created,
}

/// What makes each signature another one: the nonce and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    nonce: String,
    created: String,
}

impl Stamp {
    /// A random nonce of 32 upper-case hex digits, as Huawei's example has it, and the present time.
    ///
    /// # Errors
    ///
    /// The operating system gave no random bytes.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let nonce = format!("{:032X}", u128::from_be_bytes(bytes));
        Ok(Self { nonce, created: clock::created_time(clock::epoch_seconds()) })
    }

    /// The same stamp with another nonce.
    ///
    /// # Errors
    ///
    /// [`StampError::Nonce`].
    pub fn with_nonce(self, nonce: &str) -> Result<Self, StampError> {
        let fits = (1..=128).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if fits { Ok(Self { nonce: nonce.to_owned(), ..self }) } else { Err(StampError::Nonce) }
    }

    /// The same stamp with another time.
    ///
    /// # Errors
    ///
    /// [`StampError::Created`].
    pub fn with_created(self, created: &str) -> Result<Self, StampError> {
        clock::parse_created_time(created).ok_or(StampError::Created)?;
        Ok(Self { created: created.to_owned(), ..self })
    }
}

enum Key {
    Aksk(Hmac<Sha256>),
    Wsse(Private<String>),
}

/// Signs pushes with the APP_Key and APP_Secret of one application.
pub struct Signer {
    app_key: String,
    key: Key,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("app_key", &self.app_key).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs as the application `app_key`.
    ///
    /// # Errors
    ///
    /// See [`CredentialsError`].
    pub fn new(scheme: Scheme, app_key: &str, secret: &Private<String>) -> Result<Self, CredentialsError> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if !(1..=128).contains(&app_key.len()) || !app_key.bytes().all(fits) {
            return Err(CredentialsError::AppKey);
        }
        if secret.expose().is_empty() {
            return Err(CredentialsError::EmptySecret);
        }
        let key = match scheme {
            Scheme::Aksk => Hmac::new_from_slice(secret.expose().as_bytes())
                .map(Key::Aksk)
                .map_err(|_| CredentialsError::EmptySecret)?,
            Scheme::Wsse => Key::Wsse(secret.clone()),
        };
        Ok(Self { app_key: app_key.to_owned(), key })
    }

    const fn scheme(&self) -> Scheme {
        match self.key {
            Key::Aksk(_) => Scheme::Aksk,
            Key::Wsse(_) => Scheme::Wsse,
        }
    }

    /// `PasswordDigest`: Base64 of the 32 raw bytes of the digest.
    fn digest(&self, stamp: &Stamp) -> String {
        let (nonce, created) = (stamp.nonce.as_bytes(), stamp.created.as_bytes());
        match &self.key {
            Key::Aksk(mac) => {
                let mac = mac.clone().chain_update(nonce).chain_update(created);
                STANDARD.encode(mac.finalize().into_bytes())
            }
            Key::Wsse(secret) => {
                let hash = Sha256::new().chain_update(nonce).chain_update(created);
                STANDARD.encode(hash.chain_update(secret.expose().as_bytes()).finalize())
            }
        }
    }

    /// The headers a push carries beside `host` and `content-length`: content type, `authorization` and the credentials.
    ///
    /// They cover neither body nor address: the same headers fit any push.
    pub fn headers(&self, stamp: &Stamp) -> [(&'static str, String); 3] {
        let scheme = self.scheme();
        let credentials = format!(
            r#"UsernameToken Username="{}", PasswordDigest="{}", Nonce="{}", Created="{}""#,
            self.app_key,
            self.digest(stamp),
            stamp.nonce,
            stamp.created
        );
        [
            ("content-type", CONTENT_TYPE.to_owned()),
            ("authorization", format!(r#"{} realm="SDP",profile="UsernameToken",type="Appkey""#, scheme.word())),
            (scheme.header_name(), credentials),
        ]
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::Private;

    use super::{CredentialsError, Scheme, Signer, Stamp, StampError};

    const APP_KEY: &str = "demoAppKey000000000000000001";

    fn signer(scheme: Scheme) -> Signer {
        Signer::new(scheme, APP_KEY, &Private::from("fictitious-app-secret-0001")).unwrap()
    }

    fn stamp(nonce: &str, created: &str) -> Stamp {
        Stamp::fresh().unwrap().with_nonce(nonce).unwrap().with_created(created).unwrap()
    }

    #[test]
    fn digests_are_those_of_the_worked_example() {
        let first = stamp("66C92B11FF8A425FB8D4CCFE0ED9ED1F", "2018-02-12T15:30:20Z");
        let second = stamp("00112233445566778899aabbccddeeff", "2026-01-05T02:30:24Z");
        for (scheme, stamp, digest) in [
            (Scheme::Aksk, &first, "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0tA="),
            (Scheme::Wsse, &first, "daLw3clNtaK72mVQEa1b2QFbJShd8k9EgSM+rWjRX24="),
            (Scheme::Aksk, &second, "z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ="),
            (Scheme::Wsse, &second, "tmkRGaCOqqDNG+Gwvigzv/2/tKv+npeUtFrEVSwaNaA="),
        ] {
            assert_eq!(signer(scheme).digest(stamp), digest, "{scheme:?}");
        }
    }

    #[test]
    fn headers_have_huaweis_form() {
        let stamp = stamp("00112233445566778899aabbccddeeff", "2026-01-05T02:30:24Z");
        let headers = signer(Scheme::Aksk).headers(&stamp);
        let expected = [
            ("content-type", "application/json;charset=UTF-8"),
            ("authorization", r#"AKSK realm="SDP",profile="UsernameToken",type="Appkey""#),
            (
                "x-aksk",
                r#"UsernameToken Username="demoAppKey000000000000000001", PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=", Nonce="00112233445566778899aabbccddeeff", Created="2026-01-05T02:30:24Z""#,
            ),
        ];
        assert_eq!(headers.each_ref().map(|(name, value)| (*name, value.as_str())), expected);
        let [_, authorization, credentials] = signer(Scheme::Wsse).headers(&stamp);
        assert_eq!(authorization.1, r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#);
        assert_eq!(credentials.0, "x-wsse");
    }

    #[test]
    fn every_push_gets_a_nonce_of_its_own() {
        let (one, other) = (Stamp::fresh().unwrap(), Stamp::fresh().unwrap());
        assert_ne!(one.nonce, other.nonce);
        assert_eq!(one.nonce.len(), 32);
        assert!(one.nonce.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()));
    }

    #[test]
    fn what_no_header_could_carry_is_refused() {
        let secret = Private::from("secret");
        for app_key in ["", "a\"b", "a b", "键", &"k".repeat(129)] {
            assert_eq!(Signer::new(Scheme::Aksk, app_key, &secret).unwrap_err(), CredentialsError::AppKey);
        }
        assert_eq!(Signer::new(Scheme::Wsse, APP_KEY, &Private::from("")).unwrap_err(), CredentialsError::EmptySecret);
        let stamp = Stamp::fresh().unwrap();
        assert_eq!(stamp.clone().with_nonce("a-b"), Err(StampError::Nonce));
        assert_eq!(stamp.with_created("2026-01-05 02:30:24"), Err(StampError::Created));
    }
}
