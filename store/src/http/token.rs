//! The bearer token that may guard the contract's paths.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::{Kind, Refusal};

/// A token that requests must carry. Only its hash is kept.
#[derive(Clone, Debug)]
pub struct Token([u8; 32]);

impl Token {
    /// Takes over `token`.
    pub fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether the request carries it. Hashes are compared in constant time, so neither length nor content shows.
    ///
    /// # Errors
    /// 401.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let hash: [u8; 32] = Sha256::digest(given.unwrap_or_default().as_bytes()).into();
        if given.is_some() && bool::from(self.0.ct_eq(&hash)) {
            return Ok(());
        }
        let detail = "send `authorization: Bearer` and the token that the store was started with";
        Err(Refusal::with_header(Kind::Unauthorized, detail, header::WWW_AUTHENTICATE, "Bearer"))
    }
}
