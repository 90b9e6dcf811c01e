//! Reads the body of a request: bounded in bytes, in time, and in the bytes of all requests together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use privatenumber_contract::{PushIdError, limits};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use tokio::sync::Semaphore;

use super::problem::{Kind, Refusal};
use super::slow::SlowBodies;
use crate::writer::Share;

/// What a body may cost.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The largest body, in bytes.
    pub bytes: usize,
    /// How long a body may take to arrive.
    pub time: Duration,
    /// One permit for each byte that all requests together may hold.
    pub budget: Arc<Semaphore>,
    /// The bodies that are still arriving after [`SLOW_AFTER`].
    pub slow: Arc<SlowBodies>,
}

/// A body that has not arrived by then counts as slow. What a gateway holds as a whole arrives sooner.
const SLOW_AFTER: Duration = Duration::from_millis(250);

/// A body that has arrived. Its share of the budget is given back when this is dropped, unless it is taken out.
#[derive(Debug)]
pub struct JsonBody {
    bytes: Vec<u8>,
    share: Share,
}

impl JsonBody {
    /// Reads the body of `request`, which must be declared to be plain JSON.
    ///
    /// # Errors
    /// 415, 413, 408, or 503 where the budget of all requests is used up.
    pub async fn read(request: Request, limits: &BodyLimits) -> Result<Self, Refusal> {
        check_headers(request.headers(), limits)?;
        let mut arriving = pin!(collect(request, limits));
        if let Ok(body) = tokio::time::timeout(limits.time.min(SLOW_AFTER), arriving.as_mut()).await {
            return body;
        }
        let mut place = limits.slow.enter();
        tokio::select! {
            body = tokio::time::timeout(limits.time.saturating_sub(SLOW_AFTER), arriving) => body.unwrap_or_else(|_| {
                let detail = format!("the body did not arrive within {} s", limits.time.as_secs_f64());
                Err(Refusal::new(Kind::RequestTimeout, detail))
            }),
            () = place.taken() => {
                let detail = "too many bodies arrive slowly, and this one was the slowest; send it again, all at once";
                Err(Refusal::new(Kind::Overloaded, detail))
            }
        }
    }

    /// Parses the body.
    ///
    /// # Errors
    /// 400 where it is not JSON, 422 where it is not what belongs here; both say where and quote no values.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Refusal> {
        parse(&self.bytes)
    }

    /// The share of what was made of this body, for as long as that is held.
    pub fn into_share(self) -> Share {
        self.share
    }
}

/// Parses an object: a body, or a part of one.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    // What serde reads as an object it would also take as the list of its members.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => Refusal::new(Kind::InvalidBody, "`.`: wrong type or value; expected an object"),
            Err(error) => explain::<IgnoredAny>(bytes, error),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, error))
}

/// What arrived is JSON, and not what belongs here; `detail` says where and why, without values.
pub(super) fn invalid(detail: String) -> Refusal {
    Refusal::new(Kind::InvalidBody, detail)
}

/// Checks a text that may be left out; `name` is where it stands in the body.
///
/// # Errors
/// 422 where it is empty, longer than [`limits::KEY_PART_BYTES`], or holds a NUL.
pub(super) fn check_text(name: &str, text: Option<&str>) -> Result<(), Refusal> {
    match text {
        Some("") => Err(invalid(format!("`{name}`: empty; give a value or leave it out"))),
        Some(text) if text.len() > limits::KEY_PART_BYTES => {
            Err(invalid(format!("`{name}`: longer than {} bytes", limits::KEY_PART_BYTES)))
        }
        Some(text) if text.contains('\0') => Err(invalid(format!("`{name}`: holds the character U+0000"))),
        _ => Ok(()),
    }
}

fn check_headers(headers: &HeaderMap, limits: &BodyLimits) -> Result<(), Refusal> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let media_type = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
        let detail = "send the body as JSON, with `content-type: application/json`";
        return Err(Refusal::new(Kind::UnsupportedMediaType, detail));
    }
    if text(header::CONTENT_ENCODING).is_some_and(|coding| !coding.trim().eq_ignore_ascii_case("identity")) {
        let detail = "send the body as it is, without `content-encoding`";
        return Err(Refusal::new(Kind::UnsupportedMediaType, detail));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|value| value.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.bytes) {
        return Err(too_large(limits));
    }
    Ok(())
}

async fn collect(request: Request, limits: &BodyLimits) -> Result<JsonBody, Refusal> {
    let mut body = request.into_body();
    // Nothing is reserved for what was only announced: a client may announce much and send nothing.
    let mut collected = JsonBody { bytes: Vec::new(), share: None };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::new(Kind::MalformedJson, "the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.bytes.len().saturating_add(data.len()) > limits.bytes {
            return Err(too_large(limits));
        }
        collected.take_share(data.len(), limits)?;
        collected.bytes.extend_from_slice(&data);
    }
    Ok(collected)
}

impl JsonBody {
    fn take_share(&mut self, bytes: usize, limits: &BodyLimits) -> Result<(), Refusal> {
        let share =
            u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(&limits.budget).try_acquire_many_owned(bytes).ok());
        let Some(share) = share else {
            let detail =
                "requests together hold too much memory; try again later, or raise --buffer-bytes if this lasts";
            return Err(Refusal::new(Kind::Overloaded, detail));
        };
        match &mut self.share {
            Some(held) => held.merge(share),
            none => *none = Some(share),
        }
        Ok(())
    }
}

fn too_large(limits: &BodyLimits) -> Refusal {
    Refusal::new(Kind::TooLarge, format!("the body may have {} bytes; send less at a time", limits.bytes))
}

/// Says where a body is wrong. Parses it once more, this time keeping track of the path, which the good case need not pay.
fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8], error: serde_json::Error) -> Refusal {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {}
        Category::Eof => return Refusal::new(Kind::MalformedJson, format!("the JSON ends too early ({place})")),
        Category::Syntax | Category::Io => {
            return Refusal::new(Kind::MalformedJson, format!("the JSON is malformed ({place})"));
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let (path, member) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => safe_path(error.path()),
        Ok(_) => (".".to_owned(), String::new()),
    };
    Refusal::new(Kind::InvalidBody, format!("`{path}`: {} ({place})", safe_reason(&error.to_string(), &member)))
}

/// The path as far as the contract could have named it, and the member it ends with: a key that a client made up may be anything.
fn safe_path(path: &serde_path_to_error::Path) -> (String, String) {
    use serde_path_to_error::Segment;
    let (mut text, mut member) = (String::new(), String::new());
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                let Some(name) = safe_name(key) else { break };
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
                name.clone_into(&mut member);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    (if text.is_empty() { ".".to_owned() } else { text }, member)
}

/// A name that consists of letters, as all names of the contract do. Any other name may hold personal data.
pub(super) fn safe_name(name: &str) -> Option<&str> {
    let safe = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    safe.then_some(name)
}

/// What is said of the name of `what` that is not a [`safe_name`].
pub(super) fn hidden_name(what: &str) -> String {
    format!(
        "the name of {what} has something other than letters in it; it is not repeated here because it may be personal data"
    )
}

/// What serde says of `member`, without the value that it quotes.
fn safe_reason(message: &str, member: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let named = |prefix: &str| {
        let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
        let (name, _) = rest.split_once('`')?;
        Some(safe_name(name).map(str::to_owned))
    };
    if let Some(Some(name)) = named("missing field ") {
        return format!("the member `{name}` is missing; add it");
    }
    if let Some(Some(name)) = named("duplicate field ") {
        return format!("the member `{name}` is there twice; leave one out");
    }
    match named("unknown field ") {
        Some(Some(name)) => {
            return format!("there is no member `{name}`; leave it out, or see /openapi.json for what there is");
        }
        Some(None) => {
            let hidden = hidden_name("a member");
            return format!("{hidden}; leave that member out, or see /openapi.json for what there is");
        }
        None => {}
    }
    if message == PushIdError.to_string() {
        return message.to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("wrong type or value; expected {}", in_words(expected, member)),
        None => "wrong type or value; see /openapi.json for what belongs here".to_owned(),
    }
}

/// What serde expects of `member`, in the words of somebody who writes JSON.
fn in_words(expected: &str, member: &str) -> String {
    let unit = if ["Time", "At", "Deadline"].iter().any(|end| member.ends_with(end)) {
        " (epoch milliseconds)"
    } else if member.ends_with("Ms") {
        " (milliseconds)"
    } else {
        ""
    };
    match expected {
        "i8" | "i16" | "i32" | "i64" => format!("a whole number{unit}"),
        "u8" | "u16" | "u32" | "u64" | "usize" => format!("a whole number, 0 or more{unit}"),
        "a string" | "a borrowed string" | "string" | "str" => "text in double quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list in square brackets".to_owned(),
        "a map" => "an object".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::{Binding, Push};

    use super::{JsonBody, Refusal};

    fn detail<'a, T: serde::Deserialize<'a>>(body: &'a JsonBody) -> String {
        match body.parse::<T>() {
            Err(Refusal::Problem { detail, .. }) => detail,
            Err(Refusal::Unknown) => panic!("the answer must be a problem"),
            Ok(_) => panic!("the body must not parse"),
        }
    }

    fn body(text: &str) -> JsonBody {
        JsonBody { bytes: text.as_bytes().to_vec(), share: None }
    }

    #[test]
    fn p7_an_error_says_where_and_quotes_nothing() {
        let push = r#"{"pushId":"000102030405060708090a0b0c0d0eff","appKey":"app","receivedAt":1,"calls":[{"appKey":"app","sessionId":"s","claimDeadline":"+8617010000001"}]}"#;
        let text = detail::<Push<'_>>(&body(push));
        assert!(
            text.starts_with(
                "`calls[0].claimDeadline`: wrong type or value; expected a whole number (epoch milliseconds) (line 1"
            ),
            "{text}"
        );
        assert!(!text.contains("8617010000001"), "{text}");

        let text = detail::<Binding>(&body(r#"{"+8617010000001":1}"#));
        assert!(
            text.starts_with("`.`: the name of a member has something other than letters in it; it is not"),
            "{text}"
        );
        assert!(text.contains("leave that member out"), "{text}");
        assert!(!text.contains("8617010000001"), "{text}");
        let text = detail::<Binding>(&body(r#"{"colour":1}"#));
        assert!(text.contains("there is no member `colour`; leave it out"), "{text}");
        let text = detail::<Push<'_>>(&body(r#"{"pushId":"+8617010000001"}"#));
        assert!(text.starts_with("`pushId`: a push id is 32 lower-case hex digits"), "{text}");
        let text = detail::<Push<'_>>(&body(r#"{"pushId":"000102030405060708090a0b0c0d0eff"}"#));
        assert!(text.contains("the member `appKey` is missing"), "{text}");
        let text = detail::<Binding>(&body(r#"{"origNum":"+8617010000001", expected x"#));
        assert!(text.starts_with("the JSON is malformed (line 1"), "{text}");
        let text = detail::<Binding>(&body(r#"{"maxDuration":"x, expected +8617010000001"}"#));
        assert!(!text.contains("8617010000001"), "{text}");
    }

    #[test]
    fn p6_deep_nesting_is_an_error_and_not_an_overflow() {
        let text = detail::<Binding>(&body(&format!(r#"{{"remark":{}"#, "[".repeat(1_000_000))));
        assert!(!text.is_empty());
        let text = detail::<Push<'_>>(&body(&"[".repeat(1_000_000)));
        assert!(!text.is_empty());
    }
}
