//! What a file of CDRs holds: each CDR with its line.

use std::borrow::Cow;

use anyhow::bail;
use encoding_rs::GB18030;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::csv;

/// A CDR of the file.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// The CDR, a JSON object; or a field, what is wrong there and what to do, without any value.
    pub cdr: Result<Cow<'t, RawValue>, String>,
}

/// The text of a file in UTF-8, with or without a byte order mark, or in GBK.
///
/// # Errors
/// The bytes are neither.
pub(super) fn decode(bytes: &[u8]) -> anyhow::Result<Cow<'_, str>> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("its bytes are UTF-16; save it as UTF-8");
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => match GB18030.decode_without_bom_handling_and_without_replacement(bytes) {
            Some(text) => Ok(text),
            None => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
                bail!("line {line} is neither UTF-8 nor GBK; save the file as UTF-8")
            }
        },
    }
}

/// The CDRs of a file.
///
/// # Errors
/// Nothing in it can be a CDR.
pub(super) fn entries(text: &str) -> anyhow::Result<Vec<Entry<'_>>> {
    let start = text.trim_start();
    if start.is_empty() {
        bail!("it is empty");
    }
    if !start.starts_with(['{', '[']) {
        return csv::entries(text);
    }
    let lines = Lines::of(text);
    let whole = match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => {
            let mut entries = Vec::new();
            expand(value, &lines, &mut entries);
            return Ok(entries);
        }
        Err(error) => error,
    };
    let entries = json_lines(text, &lines);
    if entries.iter().all(|entry| entry.cdr.is_err()) {
        let (line, column) = (whole.line(), whole.column());
        bail!("it is not JSON (line {line}, column {column}), and no line of it is; correct it there");
    }
    Ok(entries)
}

/// A text of which each line is a JSON value, or an element of an array that begins and ends on lines of its own.
fn json_lines<'t>(text: &'t str, lines: &Lines) -> Vec<Entry<'t>> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let value = line.trim().trim_end_matches(',').trim_end();
        if matches!(value, "" | "[" | "]") {
            continue;
        }
        match serde_json::from_str::<&RawValue>(value) {
            Ok(value) => expand(value, lines, &mut entries),
            Err(error) => {
                let reason = format!("not JSON (column {}); a line holds one CDR or one push", error.column());
                entries.push(Entry { line: index.saturating_add(1), cdr: Err(reason) });
            }
        }
    }
    entries
}

/// The body of a push, or a CDR.
#[derive(Deserialize)]
struct Push<'t> {
    #[serde(borrow, rename = "feeLst", default)]
    fee_lst: Option<&'t RawValue>,
}

/// Adds the CDRs of `value`: itself, those of a push, or those of an array of either. Arrays within arrays are no CDRs.
fn expand<'t>(value: &'t RawValue, lines: &Lines, entries: &mut Vec<Entry<'t>>) {
    let list = |value: &'t RawValue| serde_json::from_str::<Vec<&'t RawValue>>(value.get()).ok();
    for value in list(value).unwrap_or_else(|| vec![value]) {
        let push = if value.get().starts_with('{') { serde_json::from_str::<Push<'t>>(value.get()).ok() } else { None };
        match push.and_then(|push| push.fee_lst) {
            Some(fee_lst) => {
                let cdrs = list(fee_lst).unwrap_or_else(|| vec![fee_lst]);
                entries.extend(cdrs.into_iter().map(|cdr| entry(cdr, lines)));
            }
            None => entries.push(entry(value, lines)),
        }
    }
}

fn entry<'t>(value: &'t RawValue, lines: &Lines) -> Entry<'t> {
    let is_object = value.get().starts_with('{');
    let cdr = if is_object { Ok(Cow::Borrowed(value)) } else { Err("not a JSON object, so not a CDR".to_owned()) };
    Entry { line: lines.line_of(value.get()), cdr }
}

/// Where the lines of a text begin.
struct Lines {
    text: usize,
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let starts =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index.saturating_add(1));
        Self { text: text.as_ptr().addr(), starts: starts.collect() }
    }

    /// The line on which `part`, a part of the text, begins.
    fn line_of(&self, part: &str) -> usize {
        let place = part.as_ptr().addr().saturating_sub(self.text);
        self.starts.partition_point(|start| *start <= place).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, entries};

    /// The CDRs of a file, with their lines; `Err` with the reason.
    fn read(text: &str) -> Vec<(usize, Result<String, String>)> {
        let entries = entries(text).unwrap();
        entries.into_iter().map(|entry| (entry.line, entry.cdr.map(|cdr| cdr.get().to_owned()))).collect()
    }

    fn ok(line: usize, cdr: &str) -> (usize, Result<String, String>) {
        (line, Ok(cdr.to_owned()))
    }

    #[test]
    fn an_array_and_lines_and_pushes_hold_the_same_cdrs() {
        let (a, b) = (r#"{"a":1.0}"#, r#"{ "b": "\u4e2d" }"#);
        for text in [
            format!("[{a},\n{b}]"),
            format!("{a}\n{b}\n"),
            format!("{a}\r\n{b}"),
            format!("[{{\"eventType\":\"fee\",\"feeLst\":[{a}]}},\n{b}]"),
            format!("{{\"feeLst\":[{a},\n{b}],\"eventType\":\"fee\"}}"),
            format!("{{\"feeLst\":[{a}]}}\n{{\"feeLst\":{b}}}"),
        ] {
            assert_eq!(read(&text), [ok(1, a), ok(2, b)], "{text}");
        }
        assert_eq!(read(&format!("[\n{a},\n{b}\n]\n")), [ok(2, a), ok(3, b)]);
        assert_eq!(read("\n{\n \"a\": 1\n}"), [ok(2, "{\n \"a\": 1\n}")], "one CDR over several lines");
    }

    #[test]
    fn p4_a_bad_line_is_named_and_does_not_hinder_the_others() {
        let text = "{\"a\":1}\n{\"a\":+8617010000001}\n\n[1]\n{\"b\":1}";
        let entries = read(text);
        assert_eq!((&entries[0], &entries[3]), (&ok(1, "{\"a\":1}"), &ok(5, "{\"b\":1}")));
        assert_eq!(entries[1], (2, Err("not JSON (column 6); a line holds one CDR or one push".to_owned())));
        assert_eq!(entries[2], (4, Err("not a JSON object, so not a CDR".to_owned())));
        // An array with one element on each line is read line by line too.
        let entries = read("[\n{\"a\":1},\n{\"a\":},\n{\"b\":1}\n]");
        assert_eq!((entries.len(), entries[1].0, entries[2].0), (3, 3, 4));
    }

    #[test]
    fn p7_a_file_that_cannot_be_read_says_where_without_values() {
        for (text, expected) in [
            (" \n", "it is empty"),
            ("{\"a\":\n+8617010000001}", "it is not JSON (line 2, column 1), and no line of it is; correct it there"),
        ] {
            assert_eq!(entries(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_file_is_utf_8_or_gbk() {
        assert_eq!(decode("\u{feff}中".as_bytes()).unwrap(), "中");
        assert_eq!(decode(b"\xd6\xd0\x95\x5c").unwrap(), "中昞");
        assert_eq!(decode(b"\xff\xfea\0").unwrap_err().to_string(), "its bytes are UTF-16; save it as UTF-8");
        let error = decode(b"a\n\xff").unwrap_err().to_string();
        assert_eq!(error, "line 2 is neither UTF-8 nor GBK; save the file as UTF-8");
    }
}
