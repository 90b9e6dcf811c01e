//! The right to call back, from asking for it to using it up.

use privatenumber_contract::PushId;

use super::permit::Permit;
use crate::callback::TraceContext;

/// A push's claim request: what was, or will be, asked of the store.
///
/// There is one for each push and it cannot be cloned: it is consumed by the store's answer
/// ([`Dispatcher::settle`](super::Dispatcher::settle)), or by giving it to the root to ask again
/// ([`Dispatcher::ask_again`](super::Dispatcher::ask_again)), never by both.
#[derive(Debug)]
#[must_use = "a claim request that is dropped leaves calls `unknown` that the store may have granted"]
pub struct ClaimRequest {
    pub(crate) push_id: PushId,
    pub(crate) body: Vec<u8>,
    pub(crate) calls: usize,
    pub(crate) parked: usize,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) permit: Permit,
    pub(crate) attempts: u32,
    /// Monotonic milliseconds.
    pub(crate) asked_at: u64,
}

impl ClaimRequest {
    /// What is asked: the JSON of [`privatenumber_contract::Push`].
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The push it belongs to.
    pub fn push_id(&self) -> PushId {
        self.push_id
    }
}

/// A granted claim whose callback has not left: consumed by its dispatch.
#[derive(Debug)]
pub(super) struct Claim {
    pub call_id: Box<str>,
    pub push_id: PushId,
    /// The number of its business.
    pub lane: usize,
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
