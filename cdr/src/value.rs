//! One JSON value of a CDR, read tolerantly.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::time;

/// What a field must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A text of at most that many characters, or what can be taken for one.
    Text(usize),
    /// A CDR time.
    Time,
    /// `direction`.
    Direction,
    /// `recordFlag`.
    Flag,
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(longest) => write!(formatter, "a text of at most {longest} characters"),
            Self::Time => formatter.write_str("a UTC time yyyy-MM-dd HH:mm:ss"),
            Self::Direction => formatter.write_str("0, 1 or 2"),
            Self::Flag => formatter.write_str("0 or 1"),
        }
    }
}

/// What a field holds instead: the kind of it, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The field is missing.
    Nothing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
    /// Of the right kind, and not one of those expected.
    OtherNumber,
    /// Of the right kind, and not one of those expected.
    OtherText,
    /// A text longer than what is taken.
    LongText,
    /// Half of a surrogate pair: no character.
    BrokenEscape,
    /// PostgreSQL, for one, cannot hold it in a text.
    Nul,
}

impl Found {
    /// The kind of a JSON value; its first byte tells.
    pub fn kind_of(raw: &RawValue) -> Self {
        match raw.get().as_bytes().first() {
            None => Self::Nothing,
            Some(b'"') => Self::Text,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            Some(_) => Self::Number,
        }
    }

    /// What is found where a value of this kind might have done, but not this one.
    pub fn other(raw: Option<&RawValue>) -> Self {
        match raw.map_or(Self::Nothing, Self::kind_of) {
            Self::Number => Self::OtherNumber,
            Self::Text => Self::OtherText,
            kind => kind,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "nothing",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Object => "an object",
            Self::OtherNumber => "another number",
            Self::OtherText => "another text",
            Self::LongText => "a longer one",
            Self::BrokenEscape => "an escape that is no character",
            Self::Nul => "a text with a NUL in it",
        })
    }
}

/// The value as text: a string as it is meant, a number or boolean as it is written. `None` where it is absent, `null` or "".
pub(super) fn text(raw: Option<&RawValue>, longest: usize) -> Result<Option<Cow<'_, str>>, Found> {
    let Some(text) = raw.map(unbounded_text).transpose()? else { return Ok(None) };
    if text.is_empty() {
        Ok(None)
    } else if text.len() > longest && text.chars().nth(longest).is_some() {
        Err(Found::LongText)
    } else {
        Ok(Some(text))
    }
}

/// The value as a CDR time, epoch milliseconds. A number is none, not even as an epoch: Huawei sends none in a CDR, and its
/// unit would be a guess.
pub(super) fn moment(raw: Option<&RawValue>) -> Result<Option<i64>, Found> {
    let Some(text) = text(raw, LONGEST_MOMENT)? else { return Ok(None) };
    let kind = raw.map_or(Found::Nothing, Found::kind_of);
    if kind != Found::Text {
        return Err(kind);
    }
    time::parse(&text).map(Some).ok_or(Found::OtherText)
}

/// The longest text that Huawei documents for a time.
const LONGEST_MOMENT: usize = 128;

/// The value as one digit, bare or in quotes. Absent is not 0.
pub(super) fn digit(raw: Option<&RawValue>) -> Result<Option<u8>, Found> {
    let Some(text) = text(raw, usize::MAX)? else { return Ok(None) };
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Ok(Some(digit - b'0')),
        _ => Err(Found::other(raw)),
    }
}

/// The value as a flag: 0, 1, true or false, bare or in quotes. Absent is not false.
pub(super) fn flag(raw: Option<&RawValue>) -> Result<Option<bool>, Found> {
    let Some(text) = text(raw, usize::MAX)? else { return Ok(None) };
    match text.as_ref() {
        "0" | "false" => Ok(Some(false)),
        "1" | "true" => Ok(Some(true)),
        _ => Err(Found::other(raw)),
    }
}

fn unbounded_text(raw: &RawValue) -> Result<Cow<'_, str>, Found> {
    match Found::kind_of(raw) {
        Found::Text => {
            let quoted = raw.get();
            match quoted.get(1..quoted.len().saturating_sub(1)) {
                Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
                _ => unescape(quoted).map(Cow::Owned),
            }
        }
        Found::Null => Ok(Cow::Borrowed("")),
        Found::Bool | Found::Number => Ok(Cow::Borrowed(raw.get())),
        kind => Err(kind),
    }
}

fn unescape(quoted: &str) -> Result<String, Found> {
    let text: String = serde_json::from_str(quoted).map_err(|_| Found::BrokenEscape)?;
    if text.contains('\0') { Err(Found::Nul) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::value::RawValue;

    use super::{Found, digit, flag, moment, text};

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_text_is_read_from_whatever_can_be_taken_for_one() {
        for (json, expected) in [
            (r#""a""#, Ok(Some("a"))),
            (r#"" a ""#, Ok(Some(" a "))),
            (r#""\u4e2d\"\/\ud83d\ude00""#, Ok(Some("中\"/😀"))),
            (r#""中""#, Ok(Some("中"))),
            ("7", Ok(Some("7"))),
            ("-0.50e+3", Ok(Some("-0.50e+3"))),
            ("123456789012345678901234567890", Ok(Some("123456789012345678901234567890"))),
            ("true", Ok(Some("true"))),
            ("false", Ok(Some("false"))),
            ("null", Ok(None)),
            (r#""""#, Ok(None)),
            ("{}", Err(Found::Object)),
            ("[\"a\"]", Err(Found::Array)),
            (r#""\ud800""#, Err(Found::BrokenEscape)),
            (r#""\udc00\ud800""#, Err(Found::BrokenEscape)),
            (r#""a\u0000b""#, Err(Found::Nul)),
        ] {
            assert_eq!(text(Some(raw(json)), 64).as_ref().map(Option::as_deref), expected.as_ref().copied(), "{json}");
        }
        assert_eq!(text(None, 64), Ok(None));
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(matches!(text(Some(raw(r#""中中中""#)), 3), Ok(Some(Cow::Borrowed("中中中")))));
        assert_eq!(text(Some(raw(r#""中中中中""#)), 3), Err(Found::LongText));
        assert_eq!(text(Some(raw("1234")), 3), Err(Found::LongText));
        assert_eq!(text(Some(raw(r#""\u0061\u0061\u0061\u0061""#)), 3), Err(Found::LongText));
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        assert!(matches!(text(Some(raw(r#""+8617010000001""#)), 64), Ok(Some(Cow::Borrowed(_)))));
    }

    #[test]
    fn a_moment_is_a_text_of_one_form() {
        assert_eq!(moment(Some(raw(r#""2026-01-05 02:30:03""#))), Ok(Some(1_767_580_203_000)));
        assert_eq!(moment(None), Ok(None));
        for (json, expected) in [
            ("null", Ok(None)),
            (r#""""#, Ok(None)),
            ("1767580203", Err(Found::Number)),
            (r#""1767580203""#, Err(Found::OtherText)),
            (r#""   ""#, Err(Found::OtherText)),
            ("true", Err(Found::Bool)),
            ("{}", Err(Found::Object)),
            ("[]", Err(Found::Array)),
        ] {
            assert_eq!(moment(Some(raw(json))), expected, "{json}");
        }
    }

    #[test]
    fn absent_zero_and_empty_are_kept_apart() {
        assert_eq!((digit(None), flag(None)), (Ok(None), Ok(None)));
        for (json, as_digit, as_flag) in [
            ("0", Ok(Some(0)), Ok(Some(false))),
            (r#""0""#, Ok(Some(0)), Ok(Some(false))),
            ("1", Ok(Some(1)), Ok(Some(true))),
            (r#""1""#, Ok(Some(1)), Ok(Some(true))),
            ("null", Ok(None), Ok(None)),
            (r#""""#, Ok(None), Ok(None)),
            ("true", Err(Found::Bool), Ok(Some(true))),
            (r#""false""#, Err(Found::OtherText), Ok(Some(false))),
            ("1.0", Err(Found::OtherNumber), Err(Found::OtherNumber)),
            ("-1", Err(Found::OtherNumber), Err(Found::OtherNumber)),
            ("1e400", Err(Found::OtherNumber), Err(Found::OtherNumber)),
            ("{}", Err(Found::Object), Err(Found::Object)),
            ("[0]", Err(Found::Array), Err(Found::Array)),
        ] {
            assert_eq!((digit(Some(raw(json))), flag(Some(raw(json)))), (as_digit, as_flag), "{json}");
        }
    }
}
