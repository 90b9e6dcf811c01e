//! One queue for each business, so that a slow one holds up nobody else (promise P4).

use std::collections::VecDeque;

use super::claim::Claim;
use crate::config::Businesses;

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Claim>,
    in_flight: usize,
    concurrency: usize,
    /// Whether the lane stands in `Lanes::ready`.
    listed: bool,
}

impl Lane {
    fn can_send(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.concurrency
    }
}

/// The queues of all businesses. The cost of a call does not grow with their number.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Numbers of lanes that can send, in turn.
    ready: VecDeque<usize>,
    waiting: usize,
    in_flight: usize,
}

impl Lanes {
    pub fn new(businesses: &Businesses) -> Self {
        let lane = |concurrency| Lane { waiting: VecDeque::new(), in_flight: 0, concurrency, listed: false };
        let lanes = businesses.all().iter().map(|business| lane(business.concurrency)).collect();
        Self { lanes, ready: VecDeque::new(), waiting: 0, in_flight: 0 }
    }

    /// Queues a claim. Gives it back if there is no such lane.
    pub fn push(&mut self, claim: Claim) -> Result<(), Box<Claim>> {
        let index = claim.lane;
        let Some(lane) = self.lanes.get_mut(index) else { return Err(Box::new(claim)) };
        lane.waiting.push_back(claim);
        self.waiting += 1;
        self.list(index);
        Ok(())
    }

    /// The next claim whose callback may leave; its lane counts it as in flight until [`Lanes::landed`].
    pub fn pop(&mut self) -> Option<Claim> {
        loop {
            let index = self.ready.pop_front()?;
            let lane = self.lanes.get_mut(index)?;
            lane.listed = false;
            if !lane.can_send() {
                continue;
            }
            let claim = lane.waiting.pop_front()?;
            lane.in_flight += 1;
            self.waiting -= 1;
            self.in_flight += 1;
            self.list(index);
            return Some(claim);
        }
    }

    /// A callback of this lane ended, or was refused.
    pub fn landed(&mut self, index: usize) {
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(1);
            self.list(index);
        }
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
        if let Some(lane) = self.lanes.get_mut(index)
            && !lane.listed
            && lane.can_send()
        {
            lane.listed = true;
            self.ready.push_back(index);
        }
    }
}
