//! One push as an HTTP request: where it goes, what it carries, and how it looks.

use std::fmt;

use http_body_util::Full;
use hyper::Request;
use hyper::Uri;
use hyper::body::Bytes;

use super::{Cdr, Signer, Stamp, push_body};

/// What is pushed.
#[derive(Clone)]
pub struct Push {
    /// The body, byte for byte.
    pub body: Bytes,
    /// How many CDRs it holds; 0 for a body that is not a push of CDRs.
    pub cdrs: usize,
}

impl fmt::Debug for Push {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Push({} CDRs, {} bytes)", self.cdrs, self.body.len())
    }
}

impl Push {
    /// A push of `cdrs`.
    ///
    /// # Errors
    ///
    /// As [`push_body`].
    pub fn of(cdrs: &[Cdr]) -> Result<Self, serde_json::Error> {
        Ok(Self { body: push_body(cdrs)?.into(), cdrs: cdrs.len() })
    }

    /// A push of `body` as it stands, whatever it is.
    pub fn as_it_stands(body: impl Into<Bytes>) -> Self {
        #[derive(serde::Deserialize)]
        struct Counted {
            #[serde(rename = "feeLst")]
            fee_lst: Vec<serde::de::IgnoredAny>,
        }
        let body = body.into();
        let cdrs = serde_json::from_slice(&body).map_or(0, |counted: Counted| counted.fee_lst.len());
        Self { body, cdrs }
    }
}

/// An address that cannot be pushed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an address at all.
    #[error("not an absolute address; write it like http://127.0.0.1:10000/huawei/fee")]
    NotAbsolute,
    /// HTTPS or something else.
    #[error("only http:// can be pushed to, not {0}://; push to the plain port behind whatever ends the TLS")]
    NotHttp(String),
}

/// Where pushes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let uri: Uri = text.trim().parse().map_err(|_| TargetError::NotAbsolute)?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(TargetError::NotAbsolute);
        };
        if scheme != "http" {
            return Err(TargetError::NotHttp(scheme.to_owned()));
        }
        // An IPv6 address stands in brackets in an address, and without them everywhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { uri, host, port })
    }
}

impl Target {
    /// Host name or IP address, and port, to connect to.
    pub fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    fn authority(&self) -> &str {
        self.uri.authority().map_or(self.host.as_str(), |authority| authority.as_str())
    }
}

/// One signed attempt of one push.
pub struct PushRequest<'a> {
    target: &'a Target,
    body: Bytes,
    headers: Vec<(&'static str, String)>,
}

impl<'a> PushRequest<'a> {
    /// Signs `push` with `stamp`. Unless `keep_alive`, the request asks for the short connection Huawei uses.
    pub fn sign(target: &'a Target, signer: &Signer, stamp: &Stamp, push: &Push, keep_alive: bool) -> Self {
        let mut headers = vec![("host", target.authority().to_owned())];
        headers.extend(signer.headers(stamp));
        headers.push(("content-length", push.body.len().to_string()));
        if !keep_alive {
            headers.push(("connection", "close".to_owned()));
        }
        Self { target, body: push.body.clone(), headers }
    }

    /// As hyper sends it.
    ///
    /// # Errors
    ///
    /// A header that HTTP cannot carry; [`Signer`] and [`Stamp`] make none.
    pub fn to_hyper(&self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::post(self.target.path_and_query());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Full::new(self.body.clone()))
    }

    /// As it stands on the wire.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut text = format!("POST {} HTTP/1.1\r\n", self.target.path_and_query());
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut wire = text.into_bytes();
        wire.extend_from_slice(&self.body);
        wire
    }

    /// As a `curl` command for a POSIX shell.
    pub fn to_curl(&self) -> String {
        // These curl writes itself.
        let own = ["host", "content-length", "connection"];
        let headers = self.headers.iter().filter(|(name, _)| !own.contains(name));
        let headers: String =
            headers.map(|(name, value)| format!(" \\\n  -H {}", quoted(&format!("{name}: {value}")))).collect();
        let body = quoted(&String::from_utf8_lossy(&self.body));
        format!("curl -i {}{headers} \\\n  --data-binary {body}", quoted(&self.target.uri.to_string()))
    }
}

/// `text` as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::Private;

    use super::{Push, PushRequest, Target, TargetError};
    use crate::huawei::{Scheme, Signer, Stamp};

    #[test]
    fn the_request_on_the_wire_is_the_worked_examples() {
        let target: Target = "http://receiver.example.com/huawei/fee".parse().unwrap();
        let signer =
            Signer::new(Scheme::Aksk, "demoAppKey000000000000000001", &Private::from("fictitious-app-secret-0001"))
                .unwrap();
        let stamp = Stamp::fresh().unwrap().with_nonce("00112233445566778899aabbccddeeff").unwrap();
        let stamp = stamp.with_created("2026-01-05T02:30:24Z").unwrap();
        let push = Push::as_it_stands(r#"{"eventType":"fee","feeLst":[{},{}],"note":"it's"}"#);
        assert_eq!(push.cdrs, 2);
        let request = PushRequest::sign(&target, &signer, &stamp, &push, false);
        let credentials = r#"UsernameToken Username="demoAppKey000000000000000001", PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=", Nonce="00112233445566778899aabbccddeeff", Created="2026-01-05T02:30:24Z""#;
        let expected = [
            "POST /huawei/fee HTTP/1.1",
            "host: receiver.example.com",
            "content-type: application/json;charset=UTF-8",
            r#"authorization: AKSK realm="SDP",profile="UsernameToken",type="Appkey""#,
            &format!("x-aksk: {credentials}"),
            "content-length: 50",
            "connection: close",
            "",
            r#"{"eventType":"fee","feeLst":[{},{}],"note":"it's"}"#,
        ];
        assert_eq!(String::from_utf8(request.to_wire()).unwrap(), expected.join("\r\n"));
        let curl = request.to_curl();
        assert!(curl.starts_with("curl -i 'http://receiver.example.com/huawei/fee' \\\n  -H 'content-type:"), "{curl}");
        assert!(curl.contains(&format!("-H 'x-aksk: {credentials}'")), "{curl}");
        assert!(curl.ends_with(r#""note":"it'\''s"}'"#), "{curl}");
    }

    #[test]
    fn addresses_say_where_to_connect_or_what_is_wrong_with_them() {
        let endpoint = |text: &str| {
            let target: Target = text.parse().unwrap();
            let (host, port) = target.endpoint();
            (host.to_owned(), port, target.path_and_query().to_owned())
        };
        assert_eq!(endpoint("http://[::1]:8080"), ("::1".to_owned(), 8080, "/".to_owned()));
        assert_eq!(endpoint("http://example.com/a?b=c"), ("example.com".to_owned(), 80, "/a?b=c".to_owned()));
        assert_eq!("https://a/b".parse::<Target>(), Err(TargetError::NotHttp("https".to_owned())));
        for text in ["", "/huawei/fee", "127.0.0.1", "http://"] {
            assert_eq!(text.parse::<Target>(), Err(TargetError::NotAbsolute), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_a_push_counts_no_cdrs() {
        for body in ["", "not json", r#"{"eventType":"callin","statusInfo":{}}"#, r#"{"feeLst":{}}"#] {
            assert_eq!(Push::as_it_stands(body).cdrs, 0, "{body}");
        }
    }
}
