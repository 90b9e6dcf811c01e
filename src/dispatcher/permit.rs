//! Bounded memory, by admission: whatever is admitted has its place until the store has its outcome, so nothing that was
//! admitted is ever dropped for want of room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::{Businesses, Limits};

/// Counts what is pending, against the limits.
#[derive(Debug)]
pub struct Ledger(Rc<Account>);

#[derive(Debug)]
struct Account {
    calls: Cell<usize>,
    bytes: Cell<usize>,
    /// Calls pending for each business, by its number.
    lanes: RefCell<Vec<Lane>>,
    most_calls: usize,
    most_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    calls: usize,
    most_calls: usize,
}

impl Ledger {
    /// An empty ledger with these limits.
    pub fn new(limits: &Limits, businesses: &Businesses) -> Self {
        let lanes =
            businesses.all().iter().map(|business| Lane { calls: 0, most_calls: business.pending_calls }).collect();
        Self(Rc::new(Account {
            calls: Cell::new(0),
            bytes: Cell::new(0),
            lanes: RefCell::new(lanes),
            most_calls: limits.pending_calls,
            most_bytes: limits.pending_bytes,
        }))
    }

    /// Room for `calls` calls that hold `bytes` bytes and presumably go to the business numbered `lane`, if there is any.
    pub fn admit(&self, calls: usize, bytes: usize, lane: Option<usize>) -> Option<Permit> {
        let account = &self.0;
        let fits = |used: usize, more: usize, most: usize| used.checked_add(more).is_some_and(|sum| sum <= most);
        if !fits(account.calls.get(), calls, account.most_calls)
            || !fits(account.bytes.get(), bytes, account.most_bytes)
        {
            return None;
        }
        if let Some(index) = lane {
            let mut lanes = account.lanes.borrow_mut();
            let lane = lanes.get_mut(index)?;
            if !fits(lane.calls, calls, lane.most_calls) {
                return None;
            }
            lane.calls += calls;
        }
        account.calls.set(account.calls.get() + calls);
        account.bytes.set(account.bytes.get() + bytes);
        Some(Permit { account: Rc::clone(account), calls, bytes, lane })
    }

    /// How many calls are pending.
    pub fn calls(&self) -> usize {
        self.0.calls.get()
    }

    /// How many bytes they hold.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }
}

/// Room for some calls; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    account: Rc<Account>,
    calls: usize,
    bytes: usize,
    lane: Option<usize>,
}

impl Permit {
    /// The part of the room that one call takes up, holding `bytes` bytes from now on. Without a call left it is room for
    /// the bytes alone.
    pub fn split(&mut self, bytes: usize) -> Self {
        let calls = self.calls.min(1);
        self.calls -= calls;
        // What is held already is counted, beyond the limit if need be; it is the next admission that is refused.
        self.account.bytes.set(self.account.bytes.get().saturating_add(bytes));
        Self { account: Rc::clone(&self.account), calls, bytes, lane: self.lane }
    }

    /// Gives the bytes back and keeps the calls.
    pub fn release_bytes(&mut self) {
        self.account.bytes.set(self.account.bytes.get().saturating_sub(self.bytes));
        self.bytes = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release_bytes();
        self.account.calls.set(self.account.calls.get().saturating_sub(self.calls));
        if let Some(index) = self.lane
            && let Some(lane) = self.account.lanes.borrow_mut().get_mut(index)
        {
            lane.calls = lane.calls.saturating_sub(self.calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;
    use crate::config::{Businesses, Limits};

    fn ledger(pending_calls: usize, pending_bytes: usize) -> Ledger {
        Ledger::new(&Limits { max_body_bytes: 0, pending_calls, pending_bytes }, &Businesses::default())
    }

    #[test]
    fn room_is_given_up_to_the_limit_and_again_once_it_is_back() {
        let ledger = ledger(50, 1_000);
        let first = ledger.admit(30, 400, None).unwrap();
        assert!(ledger.admit(21, 1, None).is_none(), "too many calls");
        assert!(ledger.admit(1, 601, None).is_none(), "too many bytes");
        let second = ledger.admit(20, 600, None).unwrap();
        drop(first);
        assert_eq!((ledger.calls(), ledger.bytes()), (20, 600));
        drop(second);
        assert_eq!((ledger.calls(), ledger.bytes()), (0, 0));
    }

    #[test]
    fn a_permit_that_is_split_gives_back_each_part_by_itself() {
        let ledger = ledger(50, 1_000);
        let mut permit = ledger.admit(3, 100, None).unwrap();
        let one = permit.split(40);
        assert_eq!((ledger.calls(), ledger.bytes()), (3, 140));
        drop(permit);
        assert_eq!((ledger.calls(), ledger.bytes()), (1, 40));
        drop(one);
        assert_eq!((ledger.calls(), ledger.bytes()), (0, 0));
    }
}
