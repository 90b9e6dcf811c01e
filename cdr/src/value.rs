//! One JSON value of a CDR, read tolerantly. A value comes as its JSON text, which is well formed.

use std::borrow::Cow;
use std::fmt;

use privatenumber_contract::limits::KEY_PART_BYTES;
use serde_json::value::RawValue;

use crate::time;

/// What a field must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A text, or a number in its place.
    KeyPart,
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
            Self::KeyPart => write!(formatter, "a text of at most {KEY_PART_BYTES} bytes"),
            Self::Text(longest) => write!(formatter, "a text of at most {longest} characters"),
            Self::Time => {
                formatter.write_str("a UTC time yyyy-MM-dd HH:mm:ss, ISO 8601 with a zone, or epoch milliseconds")
            }
            Self::Direction => formatter.write_str("0, 1 or 2"),
            Self::Flag => formatter.write_str("0 or 1"),
        }
    }
}

/// What a field holds instead: the kind of it, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The field is missing, `null` or "".
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
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// The field is there more than once, with different values.
    Several,
}

impl Found {
    /// The kind of a JSON value; its first byte tells.
    pub(crate) fn kind_of(value: &str) -> Self {
        match value.as_bytes().first() {
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
    pub(crate) fn other(value: &str) -> Self {
        match Self::kind_of(value) {
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
            Self::NotUtf8 => "bytes that are not UTF-8",
            Self::Several => "several different values",
        })
    }
}

/// The value as text: a string as it is meant, a number or boolean as it is written. `None` where it is `null` or "".
pub(crate) fn text(value: &str, longest: usize) -> Result<Option<Cow<'_, str>>, Found> {
    let text = meaning(value)?;
    if text.is_empty() {
        Ok(None)
    } else if text.len() > longest && text.chars().nth(longest).is_some() {
        Err(Found::LongText)
    } else {
        Ok(Some(text))
    }
}

/// The value as a part of the call key: neither trimmed nor folded, a number by its digits as they are written. A boolean is none,
/// because all calls with `true` there would be one. `None` where it is `null` or "".
pub(crate) fn key_part(value: &str) -> Result<Option<Cow<'_, str>>, Found> {
    if Found::kind_of(value) == Found::Bool {
        return Err(Found::Bool);
    }
    let text = meaning(value)?;
    if text.is_empty() {
        Ok(None)
    } else if text.len() > KEY_PART_BYTES {
        Err(Found::LongText)
    } else {
        Ok(Some(text))
    }
}

/// The value as a moment, epoch milliseconds: a text of a form that [`time::parse`] knows, or the 13 digits of epoch milliseconds
/// as text or number.
pub(crate) fn moment(value: &str) -> Result<Option<i64>, Found> {
    // What is read this way has no escapes to look for.
    if let Some(usual) = value.len().checked_sub(1).and_then(|end| value.get(1..end)).and_then(time::parse_usual)
        && Found::kind_of(value) == Found::Text
    {
        return Ok(Some(usual));
    }
    let text = match text(value, LONGEST_MOMENT)? {
        None => return Ok(None),
        Some(text) => text,
    };
    let moment = match Found::kind_of(value) {
        Found::Text => time::parse(&text),
        Found::Number => time::parse_epoch_ms(&text),
        kind => return Err(kind),
    };
    moment.map(Some).ok_or(Found::other(value))
}

/// The longest text that Huawei documents for a time.
const LONGEST_MOMENT: usize = 128;

/// The value as one digit, bare or in quotes. Absent is not 0.
pub(crate) fn digit(value: &str) -> Result<Option<u8>, Found> {
    let text = meaning(value)?;
    match text.as_bytes() {
        [] => Ok(None),
        [digit @ b'0'..=b'9'] => Ok(Some(digit - b'0')),
        _ => Err(Found::other(value)),
    }
}

/// The value as a flag: 0, 1, true or false, bare or in quotes. Absent is not false.
pub(crate) fn flag(value: &str) -> Result<Option<bool>, Found> {
    match meaning(value)?.as_ref() {
        "" => Ok(None),
        "0" | "false" => Ok(Some(false)),
        "1" | "true" => Ok(Some(true)),
        _ => Err(Found::other(value)),
    }
}

/// What a value says, whatever its form: a string without its escapes, a number or boolean as it is written, `null` as "".
pub(crate) fn meaning(value: &str) -> Result<Cow<'_, str>, Found> {
    match Found::kind_of(value) {
        Found::Text => match value.get(1..value.len().saturating_sub(1)) {
            Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
            inner => match unescape(inner.unwrap_or_default()) {
                None => Err(Found::BrokenEscape),
                Some(text) if text.contains('\0') => Err(Found::Nul),
                Some(text) => Ok(Cow::Owned(text)),
            },
        },
        Found::Null => Ok(Cow::Borrowed("")),
        Found::Bool | Found::Number => Ok(Cow::Borrowed(value)),
        kind => Err(kind),
    }
}

/// `text` as a value that is passed on as it stands, if it is JSON.
pub(crate) fn raw(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// What stands between the quotes of a JSON string, without its escapes; `None` where one of them is no character.
#[cold]
pub(crate) fn unescape(inner: &str) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut characters = escape.chars();
        text.push(match characters.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => unescape_unit(&mut characters)?,
            character => character,
        });
        rest = characters.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// The character of the four digits that come next, or of two times four where the first are half of a pair.
fn unescape_unit(characters: &mut std::str::Chars<'_>) -> Option<char> {
    fn unit(characters: &mut std::str::Chars<'_>) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | characters.next()?.to_digit(16)?))
    }
    let first = unit(characters)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    if (characters.next()?, characters.next()?) != ('\\', 'u') {
        return None;
    }
    let low = unit(characters)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::{Found, digit, flag, key_part, moment, text, unescape};

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
            assert_eq!(text(json, 64).as_ref().map(Option::as_deref), expected.as_ref().copied(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn escapes_are_read_as_serde_json_reads_them(
            parts in prop::collection::vec(prop::sample::select(vec![
                "a", "中", "\\n", "\\t", "\\r", "\\b", "\\f", "\\\\", "\\/", "\\\"", "\\u0041", "\\u4E2d", "\\ud83d", "\\ude00", "\\u0000",
            ]), 0..8),
        ) {
            let inner = parts.concat();
            prop_assert_eq!(unescape(&inner), serde_json::from_str(&format!("\"{inner}\"")).ok());
        }
    }

    #[test]
    fn what_is_no_escape_is_no_character() {
        for inner in ["\\", "\\u", "\\u00", "\\u00g0", "\\ud800\\", "\\ud800\\n0000", "\\ud800\\u0041", "\\ud800x"] {
            assert_eq!(unescape(inner), None, "{inner}");
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(matches!(text(r#""中中中""#, 3), Ok(Some(Cow::Borrowed("中中中")))));
        assert_eq!(text(r#""中中中中""#, 3), Err(Found::LongText));
        assert_eq!(text("1234", 3), Err(Found::LongText));
        assert_eq!(text(r#""\u0061\u0061\u0061\u0061""#, 3), Err(Found::LongText));
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        assert!(matches!(text(r#""+8617010000001""#, 64), Ok(Some(Cow::Borrowed(_)))));
    }

    #[test]
    fn a_moment_is_whatever_can_mean_one_thing_only() {
        assert_eq!(moment(r#""2026-01-05 02:30:03""#), Ok(Some(1_767_580_203_000)));
        for (json, expected) in [
            ("null", Ok(None)),
            (r#""""#, Ok(None)),
            ("1767580203", Err(Found::OtherNumber)),
            (r#""1767580203""#, Err(Found::OtherText)),
            ("1767580203000", Ok(Some(1_767_580_203_000))),
            (r#""1767580203000""#, Ok(Some(1_767_580_203_000))),
            (r#""2026-01-05T10:30:03.5+08:00""#, Ok(Some(1_767_580_203_500))),
            ("1767580203000.0", Err(Found::OtherNumber)),
            ("0", Err(Found::OtherNumber)),
            (r#""   ""#, Err(Found::OtherText)),
            ("true", Err(Found::Bool)),
            ("{}", Err(Found::Object)),
            ("[]", Err(Found::Array)),
        ] {
            assert_eq!(moment(json), expected, "{json}");
        }
    }

    #[test]
    fn a_part_of_the_key_is_a_text_or_the_digits_of_a_number() {
        for (json, expected) in [
            (r#"" A ""#, Ok(Some(" A "))),
            ("-1.50e3", Ok(Some("-1.50e3"))),
            ("null", Ok(None)),
            (r#""""#, Ok(None)),
            ("true", Err(Found::Bool)),
            ("[]", Err(Found::Array)),
            (r#""\ud800""#, Err(Found::BrokenEscape)),
            (r#""\u0000""#, Err(Found::Nul)),
        ] {
            assert_eq!(key_part(json).as_ref().map(Option::as_deref), expected.as_ref().copied(), "{json}");
        }
        let longest = format!("\"{}\"", "a".repeat(1024));
        assert!(key_part(&longest).is_ok());
        assert_eq!(key_part(&longest.replace("\"a", "\"aa")), Err(Found::LongText));
    }

    #[test]
    fn absent_zero_and_empty_are_kept_apart() {
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
            assert_eq!((digit(json), flag(json)), (as_digit, as_flag), "{json}");
        }
    }
}
