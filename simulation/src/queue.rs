//! What is to happen, in the order of virtual time.

use std::collections::BTreeMap;

/// Events by the moment they happen, then by the order they were put in.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(u64, u64), E>,
    arrivals: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), arrivals: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event in, `at` milliseconds of virtual time.
    pub fn put(&mut self, at: u64, event: E) {
        self.arrivals += 1;
        self.events.insert((at, self.arrivals), event);
    }

    /// All events, in the order they come.
    pub fn events(&self) -> impl Iterator<Item = &E> {
        self.events.values()
    }

    /// The next event and its moment.
    pub fn take(&mut self) -> Option<(u64, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_put_in() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.put(at, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(order, [(1, 'a'), (2, 'b'), (5, 'c'), (5, 'd')]);
    }
}
