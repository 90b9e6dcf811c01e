//! One queue for each business, so that a slow one holds up nobody else (promise P4).

use std::collections::{BTreeSet, VecDeque};

use super::claim::Claim;
use crate::config::Businesses;
use crate::now::Now;

/// One request, in the unit of [`Bucket::filled`]: what a rate of one request a second fills in one millisecond is 1.
const REQUEST: u64 = 1_000;

/// A token bucket. It holds what a tenth of a second brings, and one request at least.
#[derive(Debug)]
struct Bucket {
    /// Requests a second.
    rate: u64,
    /// In thousandths of a request.
    filled: u64,
    /// The monotonic moment up to which it is filled.
    at: u64,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        Self { rate, filled: Self::most(rate), at: 0 }
    }

    fn most(rate: u64) -> u64 {
        (rate * 100).max(REQUEST)
    }

    /// Takes one request.
    ///
    /// # Errors
    /// The monotonic moment at which one is there.
    fn take(&mut self, now: Now) -> Result<(), u64> {
        let passed = now.monotonic_ms.saturating_sub(self.at);
        self.at = self.at.max(now.monotonic_ms);
        self.filled = self.filled.saturating_add(passed.saturating_mul(self.rate)).min(Self::most(self.rate));
        match self.filled.checked_sub(REQUEST) {
            Some(left) => {
                self.filled = left;
                Ok(())
            }
            None => Err(self.at.saturating_add((REQUEST - self.filled).div_ceil(self.rate))),
        }
    }
}

#[derive(Debug)]
struct BusinessQueue {
    waiting: VecDeque<Claim>,
    in_flight: usize,
    concurrency: usize,
    /// Where its rate is limited.
    bucket: Option<Bucket>,
    /// Whether the queue stands in `BusinessQueues::ready` or `BusinessQueues::paced`.
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
    /// Numbers of queues that could send but for their rate, each with the monotonic moment from which it can.
    paced: BTreeSet<(u64, usize)>,
    waiting: usize,
    in_flight: usize,
}

impl BusinessQueues {
    pub fn new(businesses: &Businesses) -> Self {
        let queues = businesses.all().iter().map(|business| BusinessQueue {
            waiting: VecDeque::new(),
            in_flight: 0,
            concurrency: business.concurrency,
            bucket: business.rate.map(Bucket::new),
            listed: false,
        });
        Self { queues: queues.collect(), ready: VecDeque::new(), paced: BTreeSet::new(), waiting: 0, in_flight: 0 }
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
    pub fn pop(&mut self, now: Now) -> Option<Claim> {
        while let Some(paced) = self.paced.first().copied()
            && paced.0 <= now.monotonic_ms
        {
            self.paced.remove(&paced);
            self.ready.push_back(paced.1);
        }
        loop {
            let index = self.ready.pop_front()?;
            let queue = self.queues.get_mut(index)?;
            queue.listed = false;
            if !queue.can_send() {
                continue;
            }
            if let Some(bucket) = &mut queue.bucket
                && let Err(due) = bucket.take(now)
            {
                queue.listed = true;
                self.paced.insert((due, index));
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

    /// The monotonic moment from which a queue can send that its rate keeps from it, if there is one.
    pub fn due(&self) -> Option<u64> {
        self.paced.first().map(|(due, _)| *due)
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
