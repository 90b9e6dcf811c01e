//! One queue for each business, so that a slow one holds up nobody else (promise P4).

use std::collections::VecDeque;

use super::claim::Claim;
use crate::config::Businesses;

#[derive(Debug)]
struct BusinessQueue {
    waiting: VecDeque<Claim>,
    in_flight: usize,
    concurrency: usize,
    /// Whether the queue stands in `BusinessQueues::ready`.
    listed: bool,
}

impl BusinessQueue {
    fn can_send(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.concurrency
    }
}

/// The queues of all businesses. The cost of a call does not grow with their number.
#[derive(Debug)]
pub(super) struct BusinessQueues {
    queues: Vec<BusinessQueue>,
    /// Numbers of queues that can send, in turn.
    ready: VecDeque<usize>,
    waiting: usize,
    in_flight: usize,
}

impl BusinessQueues {
    pub fn new(businesses: &Businesses) -> Self {
        let queue = |concurrency| BusinessQueue { waiting: VecDeque::new(), in_flight: 0, concurrency, listed: false };
        let queues = businesses.all().iter().map(|business| queue(business.concurrency)).collect();
        Self { queues, ready: VecDeque::new(), waiting: 0, in_flight: 0 }
    }

    /// Queues a claim. Gives it back if there is no such queue.
    pub fn push(&mut self, claim: Claim) -> Result<(), Box<Claim>> {
        let index = claim.business;
        let Some(queue) = self.queues.get_mut(index) else { return Err(Box::new(claim)) };
        queue.waiting.push_back(claim);
        self.waiting += 1;
        self.list(index);
        Ok(())
    }

    /// The next claim whose callback may leave; its queue counts it as in flight until [`BusinessQueues::completed`].
    pub fn pop(&mut self) -> Option<Claim> {
        loop {
            let index = self.ready.pop_front()?;
            let queue = self.queues.get_mut(index)?;
            queue.listed = false;
            if !queue.can_send() {
                continue;
            }
            let claim = queue.waiting.pop_front()?;
            queue.in_flight += 1;
            self.waiting -= 1;
            self.in_flight += 1;
            self.list(index);
            return Some(claim);
        }
    }

    /// A callback of this queue ended, or was refused.
    pub fn completed(&mut self, index: usize) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.in_flight = queue.in_flight.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(1);
            self.list(index);
        }
    }

    /// Whether a callback may leave now.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many claims wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many callbacks are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn list(&mut self, index: usize) {
        if let Some(queue) = self.queues.get_mut(index)
            && !queue.listed
            && queue.can_send()
        {
            queue.listed = true;
            self.ready.push_back(index);
        }
    }
}
