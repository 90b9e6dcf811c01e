//! What texts of the configuration must look like.

use super::fields::TextRule;

const fn rule(description: &'static str, pattern: &'static str, accepts: fn(&str) -> bool) -> TextRule {
    TextRule { description, pattern, accepts }
}

fn is_printable(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_token(text: &str, longest: usize) -> bool {
    is_printable(text, longest) && !text.contains(' ')
}

/// A name: of a cluster, an application, a business.
pub const NAME: TextRule =
    rule("1 to 256 printable ASCII characters without blanks", "^[!-~]{1,256}$", |text| is_token(text, 256));

/// An `:authority`.
pub const AUTHORITY: TextRule = rule("a host name, with a port if need be", "^[A-Za-z0-9._:\\[\\]-]{1,255}$", |text| {
    is_token(text, 255) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:[]-".contains(&byte))
});

/// A path without a query, to be compared with byte by byte. Clients and proxies rewrite any other spelling, so that it never matches.
pub const PATH: TextRule = rule(
    "a path as it is on the wire: starts with /, no query or fragment, no spaces, no //, no . or .. between slashes, no escapes of \
     letters, digits or -._~/\\",
    "^(?!.*//)(?!.*/\\.{1,2}(/|$))(?!.*%(2[DEFdef]|3[0-9]|[46][1-9A-Fa-f]|5[0-9ACFacf]|7[0-9AEae]))\
     (?=.{1,1024}$)/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*$",
    |text| {
        let is_dots = |segment: &str| matches!(segment, "." | "..");
        text.len() <= 1024
            && text.starts_with('/')
            && !text.contains("//")
            && !text.split('/').any(is_dots)
            && has_one_spelling(text.as_bytes())
    },
);

/// Whether every byte may stand in a path as it is, and every escape must.
fn has_one_spelling(mut path: &[u8]) -> bool {
    while let [first, rest @ ..] = path {
        path = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
                let escaped = u8::try_from(16 * high + low).unwrap_or_default();
                if is_unreserved(escaped) || matches!(escaped, b'/' | b'\\') {
                    return false;
                }
                rest
            }
            (byte, rest) if is_unreserved(*byte) || b"!$&'()*+,;=:@/".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

/// Whether RFC 3986 calls the character unreserved: its escape means the same as itself.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A path to be sent to; may have a query.
pub const TARGET: TextRule = rule("a path that starts with / and has no #", "^/[!\"$-~]{0,2047}$", |text| {
    text.starts_with('/') && is_token(text, 2048) && !text.contains('#')
});

/// The name of an environment variable.
pub const VARIABLE: TextRule = rule("the name of an environment variable", "^[A-Za-z_][A-Za-z0-9_]{0,127}$", |text| {
    is_token(text, 128)
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
});

/// A secret. A space at its end is a slip of whoever copied it, and nobody sees it.
pub const SECRET: TextRule = rule(
    "1 to 512 printable ASCII characters, without a space at either end",
    "^[!-~](?:[ -~]{0,510}[!-~])?$",
    |text| is_printable(text, 512) && !text.starts_with(' ') && !text.ends_with(' '),
);

/// A secret that callbacks are signed with, as far as a pattern can say it.
pub const SIGNING_SECRET: TextRule =
    rule("whsec_ and the Base64 of 24 to 64 bytes", "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", |text| {
        crate::callback::SigningSecret::parse(text).is_ok()
    });

/// Free text.
pub const NOTE: TextRule =
    rule("1 to 128 printable ASCII characters", "^[ -~]{1,128}$", |text| is_printable(text, 128));

/// The name of a header that a callback may carry: an allow-list in reverse, for what is not refused goes out.
///
/// `x-envoy-*` would make Envoy itself retry the one callback; the others belong to HTTP or to this filter.
pub const HEADER_NAME: TextRule = rule(
    "a lower-case header name, not x-envoy-*, webhook-* or one that HTTP or the gateway sets itself",
    "^(?!x-envoy-|webhook-|x-forwarded-)(?!(?:connection|content-encoding|content-length|content-type|expect|host|keep-alive|te|\
     traceparent|tracestate|trailer|transfer-encoding|upgrade|user-agent|x-request-id)$)[a-z0-9!#$%&'*+.^_`|~-]{1,64}$",
    |name| {
        let is_name_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let reserved_prefixes = ["x-envoy-", "webhook-", "x-forwarded-"];
        (1..=64).contains(&name.len())
            && name.bytes().all(is_name_byte)
            && !reserved_prefixes.iter().any(|prefix| name.starts_with(prefix))
            && !RESERVED_HEADERS.contains(&name)
    },
);

const RESERVED_HEADERS: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-request-id",
];

/// The value of a header that a callback carries.
pub const HEADER_VALUE: TextRule = rule(
    "1 to 1024 printable ASCII characters, without a space at either end",
    "^[!-~](?:[ -~]{0,1022}[!-~])?$",
    |text| is_printable(text, 1024) && !text.starts_with(' ') && !text.ends_with(' '),
);
