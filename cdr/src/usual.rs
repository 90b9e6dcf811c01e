//! A push as Huawei usually sends it: its CDRs, found in one pass over its text.
//!
//! Whatever is not as usual is `None` here and left to the thorough reading, which alone decides what is refused, and why. What both
//! read is the same (`both_ways_of_reading_agree`).

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::push::MAX_CDRS;

/// The CDRs of a push, unread; the type of the push comes with them, to be looked at by the caller. Keys that a push of another
/// type would have are known here so that one that stands twice is noticed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsualPush<'a> {
    #[serde(borrow)]
    pub event_type: &'a RawValue,
    #[serde(borrow)]
    fee_lst: Elements<'a>,
    #[serde(default, rename = "statusInfo")]
    _status_info: Option<IgnoredAny>,
    #[serde(default, rename = "numInfo")]
    _num_info: Option<IgnoredAny>,
    #[serde(default, rename = "smsEvent")]
    _sms_event: Option<IgnoredAny>,
}

impl<'a> UsualPush<'a> {
    /// Reads the text of a push.
    pub fn read(text: &'a str) -> Option<Self> {
        // serde would take an array for a structure as well.
        if text.trim_ascii_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
    }

    /// Its CDRs, 1 to [`MAX_CDRS`].
    pub fn into_cdrs(self) -> Vec<&'a RawValue> {
        self.fee_lst.0
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List).map(Self)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1 to {MAX_CDRS} CDRs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            // Bounded here and not afterwards: a list may be as long as the body.
            if elements.len() == MAX_CDRS {
                return Err(A::Error::custom("too many"));
            }
            elements.push(element);
        }
        if elements.is_empty() { Err(A::Error::custom("none")) } else { Ok(elements) }
    }
}
