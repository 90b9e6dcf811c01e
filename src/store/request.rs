//! What is asked of the store for one push.

use std::io::Write;

use privatenumber_contract::{Push, PushId};

use crate::admission::Permit;
use crate::callback::TraceContext;
use crate::now::Now;
use crate::streams::StreamId;

/// A push's claim request: what was, or will be, asked of the store.
///
/// There is one for each push and it cannot be cloned: it is consumed by the store's verdict, or it is put back to be asked again,
/// never both.
#[derive(Debug)]
#[must_use = "a claim request that is dropped leaves calls `unknown` that the store may have granted"]
pub struct ClaimRequest {
    draft: Draft,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) permit: Permit,
    /// The stream that waits for the verdict, where the filter answers it.
    pub(crate) stream: Option<StreamId>,
    /// How often an answer was missed.
    pub(crate) attempts: u32,
    /// The most pushes with which it may be asked together.
    pub(crate) company: usize,
    /// When the push was complete, monotonic milliseconds.
    received_at: u64,
    /// When it was last asked, monotonic milliseconds.
    pub(crate) asked_at: u64,
}

/// A claim request that has no room yet.
#[derive(Debug)]
pub(crate) struct Draft {
    push_id: PushId,
    /// The JSON of [`Push`] with an age of 0.
    json: Vec<u8>,
    /// How much of `json` comes before the age.
    stem: usize,
    calls: usize,
    /// The places of calls that are further versions of an earlier one.
    further: Vec<usize>,
    parked: usize,
}

impl Draft {
    /// Writes what is asked for `push`, which has no age. `further`: the places of calls that are further versions of an earlier one;
    /// `size`: about how many bytes that takes. `None` if it cannot be written.
    pub fn new(push: &Push<'_>, further: Vec<usize>, size: usize) -> Option<Self> {
        let mut json = Vec::with_capacity(size);
        serde_json::to_writer(&mut json, push).ok()?;
        // The age stands last, so that it can be written anew whenever the push is asked for.
        json.pop().filter(|last| *last == b'}')?;
        let stem = json.len();
        write_age(&mut json, 0);
        Some(Self { push_id: push.push_id, json, stem, calls: push.calls.len(), further, parked: push.parked.len() })
    }

    /// How many calls it asks for.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// The claim request, now that it has room.
    pub fn admitted(self, permit: Permit, trace: Option<TraceContext>, now: Now) -> ClaimRequest {
        ClaimRequest {
            draft: self,
            trace,
            permit,
            stream: None,
            attempts: 0,
            company: usize::MAX,
            received_at: now.monotonic_ms,
            asked_at: now.monotonic_ms,
        }
    }
}

impl ClaimRequest {
    /// The push it belongs to.
    pub fn push_id(&self) -> PushId {
        self.draft.push_id
    }

    /// What is asked at the moment it is made: the JSON of [`Push`].
    pub fn json(&self) -> &[u8] {
        &self.draft.json
    }

    /// Writes what is asked now.
    pub(crate) fn write(&self, now: Now, into: &mut Vec<u8>) {
        let Draft { json, stem, .. } = &self.draft;
        into.extend_from_slice(json.get(..*stem).unwrap_or_default());
        write_age(into, now.since(self.received_at));
    }

    /// How many calls it asks for.
    pub(crate) fn calls(&self) -> usize {
        self.draft.calls()
    }

    /// Whether the call at that place is a further version of an earlier one, which is not called back again.
    pub(crate) fn is_further(&self, place: usize) -> bool {
        self.draft.further.contains(&place)
    }

    /// How many of its CDRs are parked.
    pub(crate) fn parked(&self) -> usize {
        self.draft.parked
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        self.draft.bytes()
    }

    /// When the push was complete, monotonic milliseconds.
    pub(crate) fn received_at(&self) -> u64 {
        self.received_at
    }
}

fn write_age(json: &mut Vec<u8>, age_ms: u64) {
    // Writing into memory cannot fail.
    let _ = write!(json, ",\"ageMs\":{age_ms}}}");
}
