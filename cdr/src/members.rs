//! The members of a JSON object whose text is known to be well formed, without checking it a second time.
//!
//! serde_json has checked the whole push when the CDRs are looked into. To find the members again costs less this way, and a key
//! that stands twice is no error here. Text that is not well formed ends the members early; nothing else happens.

/// The members of an object, in their order.
pub(crate) struct Members<'a> {
    text: &'a str,
    /// Where the next member is looked for.
    at: usize,
}

/// A member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The key as it stands between its quotes.
    pub key: &'a str,
    /// Whether the key has escapes.
    pub escaped: bool,
    /// The text of the value.
    pub value: &'a str,
}

impl<'a> Members<'a> {
    /// Those of `object`, the text of a JSON object from its first brace on.
    pub fn of(object: &'a str) -> Self {
        Self { text: object, at: 1 }
    }

    /// What is left from the next byte on that is not white space, a comma or a colon.
    fn rest(&mut self) -> &'a [u8] {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t' | b',' | b':') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at..).unwrap_or_default()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let (length, escaped) = string_length(self.rest())?;
        let key = self.text.get(self.at + 1..self.at + length - 1)?;
        self.at += length;
        let length = value_length(self.rest())?;
        let value = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(Member { key, escaped, value })
    }
}

/// How long the string is with which `text` begins, its quotes included, and whether it has escapes.
fn string_length(text: &[u8]) -> Option<(usize, bool)> {
    let (mut length, mut escaped) = (1, false);
    if text.first() != Some(&b'"') {
        return None;
    }
    loop {
        let rest = text.get(length..)?;
        let end = quote_or_backslash(rest)?;
        length += end + 1;
        if rest.get(end) == Some(&b'"') {
            return Some((length, escaped));
        }
        length += 1;
        escaped = true;
    }
}

/// Where the first quote or backslash stands. Eight bytes are looked at together: strings are most of a CDR.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    /// The highest bit of each byte of `word` that is `byte`; above the first such byte also of others.
    const fn equal(word: u64, byte: u8) -> u64 {
        let difference = word ^ each(byte);
        difference.wrapping_sub(each(1)) & !difference & each(0x80)
    }
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let place = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(words.len() * 8 + place)
}

/// How long the value is with which `text` begins.
fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_length(text).map(|(length, _)| length),
        b'{' | b'[' => nested_length(text),
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t')),
    }
}

/// How long the object or array is with which `text` begins, however deep it is.
fn nested_length(text: &[u8]) -> Option<usize> {
    let (mut length, mut depth) = (0, 0_usize);
    loop {
        let rest = text.get(length..)?;
        let next = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))?;
        length += next;
        match rest.get(next)? {
            b'"' => {
                length += string_length(rest.get(next..)?)?.0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth = depth.checked_sub(1)?,
        }
        length += 1;
        if depth == 0 {
            return Some(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::Members;

    fn members(object: &str) -> Vec<(&str, &str)> {
        Members::of(object).map(|member| (member.key, member.value)).collect()
    }

    #[test]
    fn keys_and_values_stand_as_they_were_sent() {
        let object = "{ \"a\" : 1 ,\n\"b\\\"\":\"x\\\\\", \"a\":[{\"}\":\"]\"},[]]\t,\"\":null}";
        let expected = [("a", "1"), ("b\\\"", "\"x\\\\\""), ("a", "[{\"}\":\"]\"},[]]"), ("", "null")];
        assert_eq!(members(object), expected);
        assert_eq!(members("{}"), []);
        assert_eq!(members("{ }"), []);
    }

    #[test]
    fn the_end_of_a_string_is_found_at_any_place() {
        for length in 0..40 {
            for end in ["\"", "\\\""] {
                let text = format!("{}{end}\"\\\"", "!é#[]"[..1].repeat(length));
                assert_eq!(super::quote_or_backslash(text.as_bytes()), Some(length), "{text}");
                assert_eq!(super::quote_or_backslash(&text.as_bytes()[..length]), None);
            }
        }
    }

    #[test]
    fn p6_what_is_not_well_formed_ends_the_members() {
        for text in ["", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":[", "{\"a\":[}", "{\"a\\", "[1]"]
        {
            assert!(members(text).len() <= 1, "{text}");
        }
    }

    proptest! {
        #[test]
        fn p6_no_text_makes_it_panic(text in ".{0,40}", object in "\\{[\"{}\\[\\],:a\\\\ 1é]{0,40}") {
            members(&text);
            members(&object);
        }

        #[test]
        fn both_readings_of_an_object_agree(
            object in prop::collection::btree_map(".{0,6}", prop::sample::select(vec![
                "1", "null", "\"a\\\"}\"", "[1, {\"x\":[]}]", "{\"y\": \"\\\\\"}", "-1.5e3", "true", "\"\"",
            ]), 0..6),
            spaces in prop::sample::select(vec!["", " ", "\n\t"]),
        ) {
            let text: Vec<_> = object
                .iter()
                .map(|(key, value)| format!("{spaces}{}{spaces}:{spaces}{value}{spaces}", serde_json::to_string(key).unwrap()))
                .collect();
            let text = format!("{{{}}}", text.join(","));
            let read: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            let members: BTreeMap<String, &str> = members(&text)
                .into_iter()
                .map(|(key, value)| (serde_json::from_str(&format!("\"{key}\"")).unwrap(), value))
                .collect();
            prop_assert_eq!(read.into_iter().map(|(key, value)| (key, value.get())).collect::<BTreeMap<_, _>>(), members);
        }
    }
}
