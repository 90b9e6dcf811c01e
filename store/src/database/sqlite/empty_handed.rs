//! The ids of workers that were told that there are no works.
//!
//! A request for works may reach the store long after its worker gave it up and heard the answer to a repetition. If that answer held no
//! works, the worker asks with another id from then on, and would never hear of works that the late request is granted. Kept in memory
//! only: what is under way to a store rarely outlives the store.

use std::collections::{HashSet, VecDeque};

use privatenumber_contract::PushId;

/// How many ids are remembered, the latest: a day of 1000 workers that ask every 15 minutes.
const MOST: usize = 100_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct EmptyHanded {
    ids: HashSet<PushId>,
    /// The same, the earliest first.
    order: VecDeque<PushId>,
    most: usize,
}

impl Default for EmptyHanded {
    fn default() -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), most: MOST }
    }
}

impl EmptyHanded {
    /// Remembers the id, and forgets the earliest where there are too many.
    pub(super) fn note(&mut self, push_id: PushId) {
        if !self.ids.insert(push_id) {
            return;
        }
        self.order.push_back(push_id);
        if self.order.len() > self.most
            && let Some(earliest) = self.order.pop_front()
        {
            self.ids.remove(&earliest);
        }
    }

    /// Whether the id is remembered.
    pub(super) fn contains(&self, push_id: PushId) -> bool {
        self.ids.contains(&push_id)
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::PushId;

    use super::EmptyHanded;

    #[test]
    fn p6_the_latest_ids_are_remembered_and_no_more() {
        let id = |byte| PushId::from_bytes([byte; 16]);
        let mut ids = EmptyHanded { most: 2, ..EmptyHanded::default() };
        for byte in [1, 2, 2, 3] {
            ids.note(id(byte));
        }
        assert_eq!([1, 2, 3].map(|byte| ids.contains(id(byte))), [false, true, true]);
        assert_eq!((ids.ids.len(), ids.order.len()), (2, 2));
    }
}
