//! Bodies that arrive slowly: at most so many at a time, so that they never take every connection.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The bodies that arrive slowly. Where there is no room for a further one, the one that arrives longest makes place: it is the least
/// likely to end.
#[derive(Debug)]
pub struct SlowBodies {
    most: usize,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    /// The number of the next one.
    next: u64,
    /// Oldest first. What is dropped here has to give way.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of a body; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    bodies: &'a SlowBodies,
    number: u64,
    gone: oneshot::Receiver<()>,
}

impl SlowBodies {
    /// Room for so many slow bodies; for one at least.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), bodies: Mutex::default() }
    }

    /// Gives a further slow body a place, and takes that of the oldest where there are too many.
    pub(super) fn enter(&self) -> Place<'_> {
        let (keep, gone) = oneshot::channel();
        let mut bodies = self.bodies();
        if bodies.places.len() >= self.most {
            bodies.places.pop_first();
        }
        let number = bodies.next;
        bodies.next = number.wrapping_add(1);
        bodies.places.insert(number, keep);
        Place { bodies: self, number, gone }
    }

    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits until the place is taken by another body.
    pub(super) async fn taken(&mut self) {
        let _ = (&mut self.gone).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.bodies.bodies().places.remove(&self.number);
    }
}
