//! Claim requests whose answer was missed: asked again with the same push id until the store answers (promise P8).

use std::collections::BTreeMap;

use super::claim::ClaimRequest;

/// How many are asked at once; the others wait, so that a store that comes back is not buried.
const AT_ONCE: usize = 4;

/// Claim requests that wait to be asked again. Bounded by admission: each holds its permit.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// By the monotonic moment they are due, then by arrival.
    waiting: BTreeMap<(u64, u64), ClaimRequest>,
    asking: usize,
    arrivals: u64,
}

impl Outstanding {
    pub fn add(&mut self, request: ClaimRequest, due: u64) {
        self.arrivals = self.arrivals.wrapping_add(1);
        self.waiting.insert((due, self.arrivals), request);
    }

    /// When the next one is due; `None` while enough are asked or there is none.
    pub fn due(&self) -> Option<u64> {
        let (due, _) = self.waiting.first_key_value().filter(|_| self.asking < AT_ONCE)?.0;
        Some(*due)
    }

    pub fn take(&mut self, now: u64) -> Option<ClaimRequest> {
        self.due().filter(|due| *due <= now)?;
        self.asking += 1;
        self.waiting.pop_first().map(|(_, request)| request)
    }

    /// One that was asked has its answer, or failed.
    pub fn landed(&mut self) {
        self.asking = self.asking.saturating_sub(1);
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.asking
    }
}
