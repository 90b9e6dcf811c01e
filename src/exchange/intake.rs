//! What a push's headers must be like, and what becomes of them.

use std::borrow::Cow;

use privatenumber_cdr::{Charset, InvalidPush};

use super::{HeaderEdits, Removed, Signed};
use crate::callback::TraceContext;
use crate::config::Config;
use crate::now::Now;
use crate::reply::Reply;
use crate::streams::StreamId;

/// What the route to the store demands, and what nobody outside can set (`envoy.yaml` removes it): were the route's path and
/// `push_path` ever to differ, pushes that nobody has checked would otherwise reach the store.
pub const AUTHENTICATED_HEADER: &str = "privatenumber-authenticated";

/// Whether a request with these headers is for the configured push path. A query is ignored.
pub fn is_push<N: AsRef<str>, V: AsRef<[u8]>>(config: &Config, headers: &[(N, V)]) -> bool {
    let path = first(headers, ":path").and_then(|path| path.split(|byte| *byte == b'?').next());
    path == Some(config.push_path.as_bytes())
}

/// Examines the headers of a request: `None` for one that is no push, and the answer for one that is refused.
pub(super) fn examine<N: AsRef<str>, V: AsRef<[u8]>>(
    config: &Config,
    stream: StreamId,
    headers: &[(N, V)],
    is_end: bool,
    now: Now,
) -> Result<Option<Signed>, Reply> {
    if !is_push(config, headers) {
        return Ok(None);
    }
    if first(headers, ":method") != Some(b"POST") {
        return Err(Reply::MethodNotAllowed);
    }
    let content_type = first(headers, "content-type").filter(|value| is_json(value));
    let Some(content_type) = content_type else { return Err(Reply::UnsupportedMediaType) };
    // Wider than a length can be here: what does not fit is too large as well.
    let declared =
        first(headers, "content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
    if declared
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > config.limits.max_body_bytes))
    {
        return Err(Reply::TooLarge(config.limits.max_body_bytes));
    }
    let pairs = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let authenticated = config.authenticator.authenticate(pairs, now.wall_ms).map_err(Reply::Unauthorized)?;
    if is_end {
        return Err(Reply::Invalid(InvalidPush { pointer: "".into(), reason: "the body is missing".into() }));
    }
    Ok(Some(Signed {
        stream,
        announced: declared,
        app_key: authenticated.application.app_key.clone(),
        ak: authenticated.application.ak.clone(),
        without_binding: authenticated.application.without_binding,
        scheme: authenticated.scheme.name(),
        covered: authenticated.covered,
        charset: Charset::of(content_type),
        trace: TraceContext::parse(only(headers, "traceparent"), first(headers, "tracestate")),
    }))
}

/// Edits that turn the headers of a push into those of a request to the store. The content length is left to whoever knows
/// it, and the path to the route: Envoy selects the route anew when a filter sets the path, and a route for the store's own
/// path would let strangers in (`docs/decisions/0001-the-route-rewrites-the-path.md`).
pub(super) fn forward_edits(config: &Config) -> HeaderEdits {
    let mut set =
        vec![("content-type", Cow::Borrowed("application/json")), (AUTHENTICATED_HEADER, Cow::Borrowed("true"))];
    if let Some(authorization) = &config.store.authorization {
        set.push(("authorization", Cow::Owned(authorization.expose().to_string())));
    }
    HeaderEdits { remove: Removed::OfPush, set }
}

/// Huawei's credentials are not the store's business; a compressed answer could not be read; and what a pusher says to
/// Envoy (`x-envoy-retry-on`, time-outs) must not steer the request.
pub(super) fn is_dropped(name: &str) -> bool {
    const DROPPED: [&str; 7] =
        ["authorization", "x-aksk", "x-wsse", "content-length", "content-encoding", "accept-encoding", "expect"];
    DROPPED.contains(&name) || name.starts_with("x-envoy-")
}

fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// The value of the header of that (lower-case) name, if there is one such header.
fn only<'h, N: AsRef<str>, V: AsRef<[u8]>>(headers: &'h [(N, V)], name: &str) -> Option<&'h [u8]> {
    let mut values =
        headers.iter().filter(|(candidate, _)| candidate.as_ref() == name).map(|(_, value)| value.as_ref());
    values.next().filter(|_| values.next().is_none())
}

/// The first value of the header of that (lower-case) name.
pub fn first<'h, N: AsRef<str>, V: AsRef<[u8]>>(headers: &'h [(N, V)], name: &str) -> Option<&'h [u8]> {
    headers.iter().find(|(candidate, _)| candidate.as_ref() == name).map(|(_, value)| value.as_ref())
}
