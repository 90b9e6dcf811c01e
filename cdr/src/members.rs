//! The members of a JSON object, found without checking that it is JSON.
//!
//! serde_json does that, once. To find members costs less this way, and a key that stands twice is no error here. Text that is not well
//! formed ends the members early or divides it somewhere; nothing else happens.

use std::ops::Range;

/// The members of an object, in their order.
pub(crate) struct Members<'a> {
    text: &'a str,
    /// Where the next member is looked for.
    at: usize,
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

    /// The next key, and whether it has escapes. Its value comes next.
    pub fn key(&mut self) -> Option<(&'a str, bool)> {
        let (length, escaped) = string_length(self.rest())?;
        let key = self.text.get(self.at + 1..self.at + length - 1)?;
        self.at += length;
        Some((key, escaped))
    }

    /// The text of the value that comes next.
    pub fn value(&mut self) -> Option<&'a str> {
        let length = value_length(self.rest())?;
        let value = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(value)
    }

    /// Passes over the rest of the object. Returns how long it is from its first brace to its last.
    pub fn end(mut self) -> Option<usize> {
        (self.rest().first() == Some(&b'}')).then_some(self.at + 1)
    }

    /// Divides the value that comes next into elements, if it is an array, and passes over it: nothing but they, commas and white
    /// space is in it. `element` is given the text from each element on, and returns how long that element is. Returns where the array
    /// stands in the object's text, its brackets included.
    pub fn array(&mut self, mut element: impl FnMut(&'a str) -> Option<usize>) -> Option<Range<usize>> {
        if self.rest().first() != Some(&b'[') {
            return None;
        }
        let mut at = self.at + 1;
        let next = |at: &mut usize| {
            let rest = self.text.get(*at..)?.trim_ascii_start();
            *at = self.text.len() - rest.len();
            Some(rest)
        };
        if !next(&mut at)?.starts_with(']') {
            loop {
                at += element(next(&mut at)?)?;
                match next(&mut at)?.as_bytes().first()? {
                    b',' => at += 1,
                    b']' => break,
                    _ => return None,
                }
            }
        }
        let place = self.at..at + 1;
        self.at = place.end;
        Some(place)
    }
}

/// How long the value is with which `text` begins.
pub(crate) fn length(text: &str) -> Option<usize> {
    value_length(text.as_bytes())
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
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')),
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
        let mut members = Members::of(object);
        std::iter::from_fn(|| Some((members.key()?.0, members.value()?))).collect()
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
    fn an_array_is_divided_into_its_elements() {
        let array = |text: &'static str| {
            let mut elements = Vec::new();
            let place = Members { text, at: 0 }.array(|rest| {
                let length = super::length(rest)?;
                elements.push(&rest[..length]);
                Some(length)
            })?;
            assert_eq!(place, 0..text.rfind(']').unwrap() + 1);
            Some(elements)
        };
        assert_eq!(array("[]"), Some(vec![]));
        assert_eq!(array("[ ] x"), Some(vec![]));
        assert_eq!(array("[{\"]\":[]} , 1]"), Some(vec!["{\"]\":[]}", "1"]));
        // Not JSON, which whoever reads the elements will find.
        assert_eq!(array("[1,]"), Some(vec!["1", ""]));
        assert_eq!(array("[,]"), Some(vec!["", ""]));
        for text in ["{}", "", "[", "[1", "[1 2]", "[\"", "[}"] {
            assert_eq!(array(text), None, "{text}");
        }
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
