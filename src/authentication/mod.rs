//! Who sent a push: Huawei's `X-AKSK` header, and its older form `X-WSSE`.
//!
//! Both carry `UsernameToken Username="…", PasswordDigest="…", Nonce="…", Created="…"`. The digest shows that the sender
//! knows the application's secret; it covers neither the body nor the address, so it says nothing about either.

mod authenticator;
mod credentials;
mod refusal;
mod secret;

pub use authenticator::{Application, Authenticated, Authenticator, Scheme};
pub use refusal::Refusal;
pub use secret::Secret;
