//! Bodies that are not UTF-8: which bytes are characters, and which are JSON's own.
//!
//! A body is read as a text of the same length, in which each byte that is not understood is masked: so places in the text are
//! places in the body. Only fields that are used are looked at, and a masked one among them is found by comparing both.

use std::borrow::Cow;

use crate::value::raw;

/// What stands for a byte that is not understood: DEL may stand in a JSON string, and nowhere else.
const MASK: u8 = 0x7f;

/// In which character set a body is written, as its `content-type` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, another one, or none.
    #[default]
    Utf8,
    /// GBK, or GB 2312 before it and GB 18030 after it: any of them is read by the rules of the last.
    Gbk,
}

impl Charset {
    /// From the value of a `content-type`.
    pub fn of(content_type: &[u8]) -> Self {
        let is_gbk = |parameter: &[u8]| {
            let mut parts = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
            let is_charset = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"charset"));
            let value = parts.next().unwrap_or_default();
            let names: [&[u8]; 6] = [b"gbk", b"gb2312", b"gb18030", b"\"gbk\"", b"\"gb2312\"", b"\"gb18030\""];
            is_charset && names.iter().any(|name| value.eq_ignore_ascii_case(name))
        };
        if content_type.split(|byte| *byte == b';').skip(1).any(is_gbk) { Self::Gbk } else { Self::Utf8 }
    }
}

/// The text of a body without its byte order mark, as long as the body. It is borrowed where nothing is masked.
pub(crate) fn text(body: &[u8], charset: Charset) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if charset == Charset::Utf8 || text.is_ascii() => return Cow::Borrowed(text),
        _ => {}
    }
    let [expected, other]: [fn(&[u8]) -> String; 2] = match charset {
        Charset::Utf8 => [utf8, gbk],
        Charset::Gbk => [gbk, utf8],
    };
    let text = expected(body);
    if raw(&text).is_some() {
        return Cow::Owned(text);
    }
    let other = other(body);
    Cow::Owned(if raw(&other).is_some() { other } else { text })
}

/// Masks what is not UTF-8.
fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::from(MASK)));
    }
    text
}

/// Masks what is not ASCII, and the ASCII bytes with which a character of GBK or GB 18030 goes on.
fn gbk(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let length = gbk_length(rest).min(rest.len()).max(1);
        if first.is_ascii() {
            text.push(char::from(*first));
        } else {
            text.extend((0..length).map(|_| char::from(MASK)));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    text
}

/// How many bytes the character has with which `bytes` begins; 1 also where none begins.
fn gbk_length(bytes: &[u8]) -> usize {
    match bytes {
        [0x81..=0xfe, 0x40..=0x7e | 0x80..=0xfe, ..] => 2,
        [0x81..=0xfe, 0x30..=0x39, 0x81..=0xfe, 0x30..=0x39, ..] => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::{Charset, text};

    #[test]
    fn a_charset_is_found_among_the_parameters() {
        for (content_type, expected) in [
            (&b"application/json"[..], Charset::Utf8),
            (b"application/json;charset=UTF-8", Charset::Utf8),
            (b"application/json; charset=gbk", Charset::Gbk),
            (b"application/json;x=y; Charset=\"GB18030\"", Charset::Gbk),
            (b"application/json;charset = gb2312 ;x", Charset::Gbk),
            (b"application/json;charset=gbk2", Charset::Utf8),
            (b"application/json;charset", Charset::Utf8),
            (b"gbk", Charset::Utf8),
            (b"", Charset::Utf8),
        ] {
            assert_eq!(Charset::of(content_type), expected, "{content_type:?}");
        }
    }

    #[test]
    fn a_character_that_ends_like_a_backslash_is_no_escape() {
        // 0x95 0x5c is one character of GBK.
        let body = b"{\"a\":\"\x95\x5c\",\"b\":\"\x81\x30\x81\x30\"}";
        for charset in [Charset::Utf8, Charset::Gbk] {
            assert_eq!(text(body, charset), "{\"a\":\"\u{7f}\u{7f}\",\"b\":\"\u{7f}\u{7f}\u{7f}\u{7f}\"}");
        }
    }

    #[test]
    fn what_is_well_formed_as_utf_8_is_read_as_that_where_nothing_else_is_said() {
        let body = "{\"a\":\"话\"}".as_bytes();
        assert!(matches!(text(body, Charset::Utf8), Cow::Borrowed("{\"a\":\"话\"}")));
        assert_eq!(text(b"{\"a\":\"\xd6\xd0\"}", Charset::Utf8), "{\"a\":\"\u{7f}\u{7f}\"}");
        assert_eq!(text(b"{\"a\":\"\xe8\xaf\x9d\xff\"}", Charset::Utf8), "{\"a\":\"话\u{7f}\"}");
        assert!(matches!(text(b"{}", Charset::Gbk), Cow::Borrowed("{}")));
    }

    proptest! {
        #[test]
        fn p6_a_place_in_the_text_is_the_place_in_the_body(
            body in prop::collection::vec(any::<u8>(), 0..60),
            charset in prop::sample::select(vec![Charset::Utf8, Charset::Gbk]),
        ) {
            let text = text(&body, charset);
            prop_assert_eq!(text.len(), body.len());
            let same = text.bytes().zip(&body).all(|(byte, original)| byte == *original || byte == super::MASK);
            prop_assert!(same);
        }
    }
}
