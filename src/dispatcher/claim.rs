//! A granted claim.

use privatenumber_contract::PushId;

use crate::admission::Permit;
use crate::callback::TraceContext;

/// A granted claim whose callback has not left: consumed by its dispatch.
#[derive(Debug)]
pub(super) struct Claim {
    pub call_id: Box<str>,
    pub push_id: PushId,
    /// The number of its business.
    pub business: usize,
    /// The callback's body.
    pub record: Box<[u8]>,
    pub trace: Option<TraceContext>,
    /// The span id of its callback.
    pub span_id: [u8; 8],
    pub permit: Permit,
    /// How often Envoy refused it.
    pub refusals: u32,
}

/// A span id of its own for the `index`-th call of a push; the push id is random already.
pub(super) fn span_id(push_id: PushId, index: usize) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *push_id.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).wrapping_add(index as u64).wrapping_add(1).to_be_bytes()
}
