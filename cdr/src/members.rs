//! The members of a JSON object whose text is known to be well formed, without checking it a second time.
//!
//! serde_json has checked the whole push when the CDRs are looked into. To find the members again costs less this way, and a key
//! that stands twice is no error here. Text that is not well formed ends the members early; nothing else happens.

/// The members of an object, in their order: each key as it stands between its quotes, and the text of its value.
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

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Goes on to the next byte that is not white space, a comma or a colon.
    fn skip_between(&mut self) {
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':');
        self.at += self.rest().iter().take_while(|byte| is_between(byte)).count();
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_between();
        let key = self.at..self.at + string_length(self.rest())?;
        self.at = key.end;
        self.skip_between();
        let value = self.at..self.at + value_length(self.rest())?;
        self.at = value.end;
        Some((self.text.get(key.start + 1..key.end - 1)?, self.text.get(value)?))
    }
}

/// How long the string is with which `text` begins, its quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut length = 1;
    if text.first() != Some(&b'"') {
        return None;
    }
    loop {
        let rest = text.get(length..)?;
        let ends = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        length += ends + 1;
        match rest.get(ends) {
            Some(b'\\') => length += 1,
            _ => return Some(length),
        }
    }
}

/// How long the value is with which `text` begins.
fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_length(text),
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
                length += string_length(rest.get(next..)?)?;
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
        Members::of(object).collect()
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
