use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Content type of a [`Problem`].
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// An error answer of the store (RFC 9457). Whoever receives one knows that nothing of the request was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem<'a> {
    /// What kind of problem: `urn:privatenumber:problem:` and a name, or `about:blank`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// The kind in words.
    #[serde(borrow)]
    pub title: Cow<'a, str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request and what to do. Holds no phone number, secret or other private value.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}
