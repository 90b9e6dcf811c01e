use std::collections::BTreeMap;
use std::iter;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use privatenumber_cdr::time;
use privatenumber_contract::WithoutBinding;
use subtle::{Choice, ConstantTimeEq};

use super::credentials::Credentials;
use super::{Refusal, Secret};

/// How a push shows who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `X-AKSK`: `Base64(HMAC-SHA256(APP_Secret, Nonce + Created))`, in use since the end of 2024.
    Aksk,
    /// `X-WSSE`: `Base64(SHA256(Nonce + Created + APP_Secret))`, before that.
    Wsse,
}

impl Scheme {
    /// Its name in the store's contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aksk => "aksk",
            Self::Wsse => "wsse",
        }
    }

    /// The header that carries the credentials, in lower case.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Aksk => "x-aksk",
            Self::Wsse => "x-wsse",
        }
    }
}

/// One application of the Huawei account.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its `APP_Key`.
    pub app_key: String,
    /// Which business gets the calls that have no binding row.
    pub ak: Option<String>,
    /// What to do with a call that has no binding row.
    pub without_binding: WithoutBinding,
    secrets: Vec<Secret>,
}

impl Application {
    /// Its calls without a binding row are delivered. `secrets`: one, or two while the secret is being changed. With none, no push of
    /// the application is accepted.
    pub fn new(app_key: String, ak: Option<String>, secrets: Vec<Secret>) -> Self {
        Self { app_key, ak, without_binding: WithoutBinding::default(), secrets }
    }
}

/// Who sent a push, and how that was shown.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'a> {
    /// The application.
    pub application: &'a Application,
    /// How it signed.
    pub scheme: Scheme,
    /// What the signature covered: the hex digits of the first half of the SHA-256 of nonce and time of creation, joined.
    pub covered: [u8; 32],
}

/// Tells which application sent a push.
#[derive(Clone, Debug)]
pub struct Authenticator {
    aksk: bool,
    wsse: bool,
    created_window_ms: Option<i64>,
    applications: BTreeMap<String, Application>,
    /// Stands in where there is no secret to check, so that every check costs the same. Never authenticates anybody.
    decoy: Secret,
    /// How many secrets are checked for every push: the most that any application has, at least one.
    rounds: usize,
}

impl Authenticator {
    /// `created_window_seconds`: how far `Created` may be from now, either way. `None` switches that check off, as long as
    /// it is not known what Huawei's clock does and whether a repeated push carries a fresh `Created`. Of two applications
    /// with the same `app_key` the later counts.
    pub fn new(
        schemes: impl IntoIterator<Item = Scheme>,
        created_window_seconds: Option<u32>,
        applications: impl IntoIterator<Item = Application>,
    ) -> Self {
        let (mut aksk, mut wsse) = (false, false);
        for scheme in schemes {
            match scheme {
                Scheme::Aksk => aksk = true,
                Scheme::Wsse => wsse = true,
            }
        }
        // One by one: collecting would bring a whole sorting algorithm into the module.
        let mut by_key = BTreeMap::new();
        for application in applications {
            by_key.insert(application.app_key.clone(), application);
        }
        let applications = by_key;
        let rounds = applications.values().map(|application| application.secrets.len()).max().unwrap_or(0).max(1);
        Self {
            aksk,
            wsse,
            created_window_ms: created_window_seconds.map(|seconds| i64::from(seconds) * 1000),
            applications,
            decoy: Secret::new(b"decoy"),
            rounds,
        }
    }

    /// The application whose credentials the request carries.
    ///
    /// `headers`: all pairs of the request, names in lower case. `now_ms`: epoch milliseconds. With both headers there,
    /// `x-aksk` counts if it is accepted. `authorization` holds no secret and need not be there.
    ///
    /// # Errors
    /// Why the request must be refused.
    pub fn authenticate<'h>(
        &self,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        now_ms: i64,
    ) -> Result<Authenticated<'_>, Refusal> {
        let (scheme, value) = self.select(headers)?;
        let credentials = Credentials::parse(value)?;
        let application = self.applications.get(credentials.username);
        let genuine = self.verify(application, scheme, &credentials);
        let application = application.ok_or(Refusal::UnknownApplication)?;
        if !genuine {
            return Err(Refusal::WrongDigest);
        }
        self.check_created(credentials.created, now_ms)?;
        Ok(Authenticated { application, scheme, covered: credentials.covered() })
    }

    /// The application of that key.
    pub fn application(&self, app_key: &str) -> Option<&Application> {
        self.applications.get(app_key)
    }

    fn select<'h>(&self, headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Result<(Scheme, &'h [u8]), Refusal> {
        let (mut authorization, mut aksk, mut wsse) = (None, None, None);
        for (name, value) in headers {
            let slot = match name {
                "authorization" => &mut authorization,
                "x-aksk" => &mut aksk,
                "x-wsse" => &mut wsse,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Duplicated);
            }
        }
        match (aksk, wsse) {
            (Some(value), _) if self.aksk => Ok((Scheme::Aksk, value)),
            (_, Some(value)) if self.wsse => Ok((Scheme::Wsse, value)),
            (None, None) => Err(Refusal::Missing),
            _ => Err(Refusal::SchemeNotAccepted),
        }
    }

    /// Tries all secrets, without stopping at the one that fits, and as many for an application that does not exist: the
    /// time taken tells neither which applications there are nor which secret is in use.
    fn verify(&self, application: Option<&Application>, scheme: Scheme, credentials: &Credentials<'_>) -> bool {
        let sent = decode_digest(credentials.digest);
        let secrets = application.map(|application| application.secrets.as_slice()).unwrap_or_default();
        let candidates = secrets.iter().map(|secret| (secret, Choice::from(1)));
        let decoys = iter::repeat((&self.decoy, Choice::from(0)));
        let mut genuine = Choice::from(0);
        for (secret, counts) in candidates.chain(decoys).take(self.rounds) {
            let expected = secret.digest(scheme, credentials);
            genuine |= counts & expected.ct_eq(&sent.unwrap_or_default());
        }
        sent.is_some() & bool::from(genuine)
    }

    fn check_created(&self, created: &str, now_ms: i64) -> Result<(), Refusal> {
        let Some(window_ms) = self.created_window_ms else { return Ok(()) };
        let created_ms = time::parse_created(created).ok_or(Refusal::Malformed)?;
        if now_ms.abs_diff(created_ms) > window_ms.unsigned_abs() { Err(Refusal::OutsideWindow) } else { Ok(()) }
    }
}

/// The 32 bytes of a digest; `None` where the text is not Base64 of as many.
fn decode_digest(text: &str) -> Option<[u8; 32]> {
    // Larger than a digest, because Base64 may ask for whole groups.
    let mut buffer = [0; 48];
    let length = STANDARD.decode_slice(text, &mut buffer).ok()?;
    buffer.get(..length)?.try_into().ok()
}

#[cfg(test)]
mod tests;
