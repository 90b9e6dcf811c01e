use std::fmt;

use hmac::digest::common::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Scheme;
use super::credentials::Credentials;

/// An application's `APP_Secret`, ready for use.
#[derive(Clone)]
pub struct Secret {
    /// HMAC with the key already worked in: saves two of the four SHA-256 blocks of every check.
    keyed: Hmac<Sha256>,
    /// X-WSSE hashes the secret itself, behind the nonce.
    bytes: Box<[u8]>,
}

impl Secret {
    /// From the secret as Huawei's console shows it, without blanks around it. An empty one protects nothing; refusing it
    /// is the configuration's business.
    pub fn new(bytes: &[u8]) -> Self {
        Self { keyed: Hmac::new(&key_block(bytes)), bytes: bytes.into() }
    }

    /// The digest that whoever knows this secret sends with `nonce` and `created`: the raw bytes, before Base64.
    pub(super) fn digest(&self, scheme: Scheme, credentials: &Credentials<'_>) -> [u8; 32] {
        match scheme {
            Scheme::Aksk => {
                let mut hmac = self.keyed.clone();
                hmac.update(credentials.nonce.as_bytes());
                hmac.update(credentials.created.as_bytes());
                hmac.finalize().into_bytes().into()
            }
            Scheme::Wsse => {
                let mut hash = Sha256::new();
                hash.update(credentials.nonce);
                hash.update(credentials.created);
                hash.update(&self.bytes);
                hash.finalize().into()
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

/// The key as HMAC takes it (RFC 2104, section 2): padded with zeros to one block, a longer one hashed first.
fn key_block(bytes: &[u8]) -> Key<Hmac<Sha256>> {
    let mut block = Key::<Hmac<Sha256>>::default();
    let hashed = Sha256::digest(bytes);
    let key = if bytes.len() > block.len() { hashed.as_slice() } else { bytes };
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::{Credentials, Scheme, Secret};

    #[test]
    fn a_secret_of_any_length_is_keyed_as_rfc_2104_says() {
        let credentials = Credentials { username: "", digest: "", nonce: "nonce", created: "created" };
        for length in [0, 1, 26, 63, 64, 65, 200] {
            let bytes = vec![b'k'; length];
            let mut hmac = Hmac::<Sha256>::new_from_slice(&bytes).unwrap();
            hmac.update(b"noncecreated");
            let expected: [u8; 32] = hmac.finalize().into_bytes().into();
            assert_eq!(Secret::new(&bytes).digest(Scheme::Aksk, &credentials), expected, "{length}");
        }
    }

    #[test]
    fn p7_a_secret_is_masked_in_debug() {
        assert_eq!(format!("{:?}", Secret::new(b"fictitious-app-secret-0001")), "Secret(***)");
    }
}
