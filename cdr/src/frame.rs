//! The frame of a push: its top level, and where its CDRs stand in it.
//!
//! Every part of a body is checked by serde_json exactly once: each CDR by itself, because it goes on as a [`RawValue`], and the rest
//! without them. If the parts are JSON where the scanner of [`Members`] has divided the body, so is the body.

use std::borrow::Cow;
use std::fmt;

use privatenumber_contract::limits;
use serde_json::value::RawValue;

use crate::fee_info::{Cdr, Source, Unusable};
use crate::members::{self, Members};
use crate::value::{self, Found, raw};

/// Huawei merges at most that many CDRs into one push.
pub const MAX_CDRS: usize = limits::PUSH_CDRS;

/// A push that is not one. Shows no value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPush {
    /// JSON pointer (RFC 6901) to what is wrong; "" is the whole body.
    pub pointer: Cow<'static, str>,
    /// What is wrong there, and what to do about it.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for InvalidPush {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the body" } else { &self.pointer };
        write!(formatter, "{place}: {}", self.reason)
    }
}

impl std::error::Error for InvalidPush {}

pub(crate) fn invalid(pointer: &'static str, reason: impl Into<Cow<'static, str>>) -> InvalidPush {
    InvalidPush { pointer: pointer.into(), reason: reason.into() }
}

/// The members of a push's top level that are used, by the texts of their values; others are passed over.
#[derive(Default)]
pub(crate) struct Frame<'a> {
    pub event_type: Option<&'a str>,
    pub fee_lst: Option<List<'a>>,
    pub status_info: Option<&'a str>,
    pub num_info: Option<&'a str>,
    pub sms_event: Option<&'a str>,
}

/// `feeLst`.
pub(crate) enum List<'a> {
    /// An array.
    Cdrs(Vec<Element<'a>>),
    /// An array of so many, which are more than [`MAX_CDRS`].
    TooMany(usize),
    /// Something else.
    Value(&'a str),
}

/// An element of `feeLst`, or what stands in its place.
pub(crate) struct Element<'a> {
    pub text: &'a RawValue,
    /// What is used of it.
    pub cdr: Result<Cdr<'a>, Unusable>,
}

impl<'a> Element<'a> {
    /// The value with which `text`, a part of `source`, begins. `None` where it is not JSON.
    pub fn read(source: Source<'a>, text: &'a str) -> Option<Self> {
        let (cdr, length) = match Found::kind_of(text) {
            Found::Object => Cdr::read(source, text)?,
            other => (Err(Unusable::NotAnObject(other)), members::length(text)?),
        };
        Some(Self { text: raw(text.get(..length)?)?, cdr })
    }
}

impl<'a> Frame<'a> {
    /// Reads the text of `source`.
    ///
    /// # Errors
    /// It is not JSON, not an object, or a key that is used stands in it twice.
    pub fn read(source: Source<'a>) -> Result<Self, InvalidPush> {
        let text = source.text;
        if text.trim_ascii_start().starts_with('[') {
            return Err(invalid("", "must be a JSON object, found an array"));
        }
        Self::find(source, text.trim_ascii()).ok_or_else(|| {
            // serde's own message may hold a value of the body.
            let reason = match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Cow::Borrowed("must be a JSON object in which no key is there more than once"),
                Err(error) => {
                    Cow::Owned(format!("is not JSON: error at line {}, column {}", error.line(), error.column()))
                }
            };
            invalid("", reason)
        })
    }

    fn find(source: Source<'a>, text: &'a str) -> Option<Self> {
        if Found::kind_of(text) != Found::Object {
            return None;
        }
        // Where the CDRs stand, each of which is JSON.
        let mut checked = None;
        let (mut frame, mut members) = (Self::default(), Members::of(text));
        while let Some((key, escaped)) = members.key() {
            let key = if escaped { value::unescape(key).unwrap_or_default().into() } else { Cow::Borrowed(key) };
            let member = match key.as_ref() {
                "feeLst" => {
                    let (mut cdrs, mut count) = (Vec::new(), 0);
                    let array = members.array(|text| {
                        count += 1;
                        if count > MAX_CDRS {
                            return members::length(text);
                        }
                        let element = Element::read(source, text)?;
                        let length = element.text.get().len();
                        cdrs.push(element);
                        Some(length)
                    });
                    let list = match array {
                        Some(_) if count > MAX_CDRS => List::TooMany(count),
                        Some(place) => {
                            checked = Some(place);
                            List::Cdrs(cdrs)
                        }
                        None => List::Value(members.value()?),
                    };
                    if frame.fee_lst.replace(list).is_some() {
                        return None;
                    }
                    continue;
                }
                "eventType" => Some(&mut frame.event_type),
                "statusInfo" => Some(&mut frame.status_info),
                "numInfo" => Some(&mut frame.num_info),
                "smsEvent" => Some(&mut frame.sms_event),
                _ => None,
            };
            let value = members.value()?;
            if member.is_some_and(|member| member.replace(value).is_some()) {
                return None;
            }
        }
        match checked {
            Some(place) => raw(&[text.get(..place.start)?, "[]", text.get(place.end..)?].concat())?,
            None => raw(text)?,
        };
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{Frame, List, Source};

    const SAMPLES: [&str; 3] = [
        include_str!("../../tests/samples/ax-fee-a-called-answered-recorded.json"),
        include_str!("../../tests/samples/ax-fee-batch-3-mixed.json"),
        include_str!("../../tests/samples/ax-status-5-disconnect-normal.json"),
    ];

    /// What serde_json alone makes of a body: its CDRs, if it is JSON, an object, and names no key twice that is used.
    fn expected(text: &str) -> Option<Option<Vec<&str>>> {
        struct Members<'a>(Vec<(String, &'a RawValue)>);
        impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = Vec<(String, &'de RawValue)>;
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut members = Vec::new();
                        while let Some(member) = map.next_entry()? {
                            members.push(member);
                        }
                        Ok(members)
                    }
                }
                deserializer.deserialize_map(Visitor).map(Self)
            }
        }
        let Members(members) = serde_json::from_str(text).ok()?;
        let used = ["eventType", "feeLst", "statusInfo", "numInfo", "smsEvent"];
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, _) in members.iter().filter(|(key, _)| used.contains(&key.as_str())) {
            *counts.entry(key).or_default() += 1;
        }
        let list = members.iter().find(|(key, _)| key == "feeLst").map(|(_, value)| value.get());
        let list: Option<Vec<&RawValue>> = list.and_then(|list| serde_json::from_str(list).ok());
        let is_once = counts.values().all(|count| *count == 1);
        is_once.then(|| list.map(|list| list.into_iter().map(RawValue::get).collect()))
    }

    fn found(text: &str) -> Option<Option<Vec<&str>>> {
        let frame = Frame::read(Source { text, masked: None }).ok()?;
        Some(match frame.fee_lst {
            Some(List::Cdrs(cdrs)) => Some(cdrs.into_iter().map(|cdr| cdr.text.get()).collect()),
            Some(List::TooMany(_)) => panic!("no list is that long here"),
            Some(List::Value(_)) | None => None,
        })
    }

    #[test]
    fn a_body_is_divided_as_serde_json_divides_it() {
        for text in SAMPLES {
            assert!(expected(text).is_some());
            assert_eq!(found(text), expected(text));
        }
    }

    proptest! {
        /// Pushes with something put in the place of something else, anywhere.
        #[test]
        fn p6_whatever_is_changed_a_body_is_divided_as_serde_json_divides_it(
            sample in prop::sample::select(SAMPLES.to_vec()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(vec![
                "", "\"", "\\", "\\u0000", "{}", "[]", "[", "]", "{", "}", "null", "0", "1", ",", ":", "\"direction\":1,",
                "\"feeLst\":[],", "\"eventType\":\"fee\",", "+8617010000001", " ", "\u{fffd}", "é", "1e9", "true",
            ])), 0..4),
        ) {
            let mut text = sample.to_owned();
            for (place, length, put) in changes {
                let ends: Vec<_> = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect();
                let start = place.index(ends.len());
                let end = (start + length).min(ends.len() - 1);
                text.replace_range(ends[start]..ends[end], put);
            }
            prop_assert_eq!(found(&text), expected(&text), "{}", text);
        }
    }
}
