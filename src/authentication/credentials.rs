use privatenumber_contract::hex;
use sha2::{Digest, Sha256};

use super::Refusal;

/// Longest header value that is read at all, in bytes. Huawei's are about 250.
const MAX_HEADER: usize = 4096;
/// Longest `Nonce`, in bytes; the documented range is 1 to 128 characters.
const MAX_NONCE: usize = 128;
/// Longest `Created`, in bytes; the documented form has 20.
const MAX_CREATED: usize = 64;

/// The parts of a `UsernameToken`.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'h> {
    /// `APP_Key` of the application.
    pub username: &'h str,
    /// Base64 of the digest.
    pub digest: &'h str,
    /// Random text of the sender.
    pub nonce: &'h str,
    /// When the sender made the header.
    pub created: &'h str,
}

impl<'h> Credentials<'h> {
    /// Reads `UsernameToken Name="value", …`: the parts in any order, with or without blanks after the commas.
    ///
    /// A part with another name is passed over; one of the four that is missing, empty or there twice is an error.
    pub fn parse(value: &'h [u8]) -> Result<Self, Refusal> {
        if value.len() > MAX_HEADER {
            return Err(Refusal::Malformed);
        }
        let value = std::str::from_utf8(value).map_err(|_| Refusal::NotUtf8)?;
        Self::parse_text(value)
            .filter(|found| found.nonce.len() <= MAX_NONCE && found.created.len() <= MAX_CREATED)
            .ok_or(Refusal::Malformed)
    }

    /// The hex digits of the first half of the SHA-256 of nonce and time of creation, joined as they are signed: two splits of the
    /// same text are the same signature.
    pub fn covered(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.nonce).chain_update(self.created).finalize();
        hash.first_chunk().map(hex).unwrap_or_default()
    }

    fn parse_text(value: &'h str) -> Option<Self> {
        let (token, mut rest) = value.trim_ascii().split_once([' ', '\t'])?;
        if !token.eq_ignore_ascii_case("UsernameToken") {
            return None;
        }
        let (mut username, mut digest, mut nonce, mut created) = ("", "", "", "");
        loop {
            // Base64 holds `=`, so the value is what stands between the quotes, and only the first `=` divides.
            let (name, quoted) = rest.split_once('=')?;
            let (part, after) = quoted.trim_ascii_start().strip_prefix('"')?.split_once('"')?;
            let name = name.trim_ascii();
            let slots = [
                ("Username", &mut username),
                ("PasswordDigest", &mut digest),
                ("Nonce", &mut nonce),
                ("Created", &mut created),
            ];
            for (known, slot) in slots {
                if name.eq_ignore_ascii_case(known) {
                    if part.is_empty() || !slot.is_empty() {
                        return None;
                    }
                    *slot = part;
                }
            }
            rest = after.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
            rest = rest.strip_prefix(',')?;
        }
        let complete = [username, digest, nonce, created].iter().all(|part| !part.is_empty());
        complete.then_some(Self { username, digest, nonce, created })
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Refusal};

    fn parse(value: &str) -> Result<[&str; 4], Refusal> {
        Credentials::parse(value.as_bytes()).map(|found| [found.username, found.digest, found.nonce, found.created])
    }

    #[test]
    fn every_form_seen_of_the_same_header_reads_alike() {
        let expected = Ok(["app", "a+/b==", "n", "2026-01-05T02:30:24Z"]);
        for value in [
            r#"UsernameToken Username="app",PasswordDigest="a+/b==",Nonce="n",Created="2026-01-05T02:30:24Z""#,
            r#"UsernameToken Username="app", PasswordDigest="a+/b==", Nonce="n", Created="2026-01-05T02:30:24Z""#,
            r#"UsernameToken Created="2026-01-05T02:30:24Z",Nonce="n",PasswordDigest="a+/b==",Username="app""#,
            r#"  usernametoken   username = "app" ,passworddigest="a+/b==",  nonce="n",created="2026-01-05T02:30:24Z"  "#,
            r#"UsernameToken Type="Appkey",Username="app",PasswordDigest="a+/b==",Nonce="n",Created="2026-01-05T02:30:24Z",X="""#,
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    #[test]
    fn another_split_of_the_same_covered_text_is_the_same_signature() {
        let covered = |nonce: &str, created: &str| {
            let header =
                format!(r#"UsernameToken Username="a",PasswordDigest="d",Nonce="{nonce}",Created="{created}""#);
            String::from_utf8(Credentials::parse(header.as_bytes()).unwrap().covered().to_vec()).unwrap()
        };
        // Python: hashlib.sha256(b"nonce12026-01-05T02:30:24Z").hexdigest()[:32]
        let expected = "d02c3e91421458d2e646dcd29059a2a7";
        let text = "nonce12026-01-05T02:30:24Z";
        for at in 1..text.len() {
            let (nonce, created) = text.split_at(at);
            assert_eq!(covered(nonce, created), expected);
        }
        assert_ne!(covered("nonce2", "2026-01-05T02:30:24Z"), expected);
    }

    #[test]
    fn what_is_not_a_username_token_is_refused() {
        for value in [
            "",
            "UsernameToken",
            "UsernameToken ",
            r#"Bearer Username="a",PasswordDigest="d",Nonce="n",Created="c""#,
            r#"UsernameTokenUsername="a",PasswordDigest="d",Nonce="n",Created="c""#,
            r#"UsernameToken PasswordDigest="d",Nonce="n",Created="c""#,
            r#"UsernameToken Username="a",Nonce="n",Created="c""#,
            r#"UsernameToken Username="a",PasswordDigest="d",Created="c""#,
            r#"UsernameToken Username="a",PasswordDigest="d",Nonce="n""#,
            r#"UsernameToken Username="",PasswordDigest="d",Nonce="n",Created="c""#,
            r#"UsernameToken Username="a",Username="a",PasswordDigest="d",Nonce="n",Created="c""#,
            r#"UsernameToken Username="a",PasswordDigest="d",Nonce="n",Created="c","#,
            r#"UsernameToken Username="a",PasswordDigest="d",Nonce="n",Created="c" trailing"#,
            r#"UsernameToken Username="a" PasswordDigest="d" Nonce="n" Created="c""#,
            r#"UsernameToken Username=a,PasswordDigest=d,Nonce=n,Created=c"#,
            r#"UsernameToken Username="a",PasswordDigest="d",Nonce="n",Created="c"#,
            r#"UsernameToken Username='a',PasswordDigest='d',Nonce='n',Created='c'"#,
        ] {
            assert_eq!(parse(value), Err(Refusal::Malformed), "{value}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let with = |nonce: usize, created: usize, padding: usize| {
            format!(
                r#"UsernameToken Username="a",PasswordDigest="d",Nonce="{}",Created="{}",X="{}""#,
                "n".repeat(nonce),
                "c".repeat(created),
                "x".repeat(padding)
            )
        };
        assert!(parse(&with(128, 64, 3000)).is_ok());
        for (nonce, created, padding) in [(129, 20, 0), (32, 65, 0), (32, 20, 4096)] {
            assert_eq!(parse(&with(nonce, created, padding)), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        let value = b"UsernameToken Username=\"\xff\",PasswordDigest=\"d\",Nonce=\"n\",Created=\"c\"";
        assert_eq!(Credentials::parse(value).map(|_| ()), Err(Refusal::NotUtf8));
    }
}
