//! Room: what the filter holds for pushes and calls, against what the configuration allows.
//!
//! A push takes its room before anything of it is held, and a call keeps its room until the store has its outcome. So no claim request
//! is ever dropped because there is no room.
//!
//! Whose a call is, only the store's verdict says. From then on until its callback has ended the call is on the account of its business.
//! A business that holds too much gets no further place, so that several slow ones together never close the gateway for another
//! (promise P4).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use privatenumber_contract::limits;

use crate::config::{Businesses, Limits};

/// What a push takes before any of its body has arrived, bytes.
pub const FIRST_BYTES: usize = 16 * 1_024;

/// Works take at most this part of the room, so that pushes always find some: a quarter.
const WORKS_PART: usize = 4;

/// Counts what is held, against the limits.
#[derive(Debug)]
pub struct Admission(Rc<Account>);

#[derive(Debug)]
struct Account {
    calls: Cell<usize>,
    bytes: Cell<usize>,
    /// The part of `calls` that are works, taken or asked for.
    works: Cell<usize>,
    /// The part of `bytes` that pushes hold whose body has not arrived as a whole.
    unfinished_bytes: Cell<usize>,
    /// What each business holds, by its number.
    businesses: RefCell<Vec<BusinessAccount>>,
    /// What all businesses hold.
    placed: Cell<Held>,
    most_calls: usize,
    most_works: usize,
    most_bytes: usize,
    most_unfinished_bytes: usize,
}

/// Calls, and the bytes of their records.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    calls: usize,
    bytes: usize,
}

impl Held {
    fn plus(self, calls: usize, bytes: usize) -> Self {
        Self { calls: self.calls.saturating_add(calls), bytes: self.bytes.saturating_add(bytes) }
    }

    fn minus(self, calls: usize, bytes: usize) -> Self {
        Self { calls: self.calls.saturating_sub(calls), bytes: self.bytes.saturating_sub(bytes) }
    }
}

#[derive(Clone, Copy, Debug)]
struct BusinessAccount {
    held: Held,
    most_calls: usize,
}

/// Whether one that holds `held` may hold more, where all together hold `placed` of `most`. `own_most` is its limit.
///
/// Once three quarters are taken, nobody gets more who holds more than half of its own limit, or more than is left for all. So
/// `n` businesses that do not answer leave about one part in `n + 1`. What one push can bring, `least`, is held in any case.
fn may_hold_more(held: usize, own_most: usize, placed: usize, most: usize, least: usize) -> bool {
    let is_scarce = placed >= most - most / 4;
    let fair = (own_most / 2).min(most.saturating_sub(placed)).max(least);
    held < own_most && (!is_scarce || held < fair)
}

impl Account {
    /// Whether one more call of a business has a place.
    fn has_place(&self, business: &BusinessAccount, placed: Held) -> bool {
        let (held, most_bytes) = (business.held, self.most_bytes);
        let least_bytes = limits::PUSH_CDRS * limits::CALL_ANSWER_BYTES;
        may_hold_more(held.calls, business.most_calls, placed.calls, self.most_calls, limits::PUSH_CDRS)
            && may_hold_more(held.bytes, most_bytes, placed.bytes, most_bytes, least_bytes)
    }

    /// Whether `bytes` more fit into all that may be held.
    fn has_room(&self, bytes: usize) -> bool {
        fits(self.bytes.get(), bytes, self.most_bytes)
    }

    fn take_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    fn give_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

fn fits(used: usize, more: usize, most: usize) -> bool {
    used.checked_add(more).is_some_and(|sum| sum <= most)
}

impl Admission {
    /// Nothing is held yet.
    pub fn new(limits: &Limits, businesses: &Businesses) -> Self {
        let account = |most_calls| BusinessAccount { held: Held::default(), most_calls };
        let businesses = businesses.all().iter().map(|business| account(business.pending_calls)).collect();
        Self(Rc::new(Account {
            calls: Cell::new(0),
            works: Cell::new(0),
            bytes: Cell::new(0),
            unfinished_bytes: Cell::new(0),
            businesses: RefCell::new(businesses),
            placed: Cell::default(),
            most_calls: limits.pending_calls,
            most_works: limits.pending_calls / WORKS_PART,
            most_bytes: limits.pending_bytes,
            most_unfinished_bytes: limits.pending_bytes / 2,
        }))
    }

    /// Room for a push whose body has yet to arrive; `None` where unfinished pushes hold all that they may.
    pub fn admit_body(&self) -> Option<BodyPermit> {
        let mut permit = BodyPermit { account: Rc::clone(&self.0), bytes: 0, is_complete: false };
        permit.grow(FIRST_BYTES).then_some(permit)
    }

    /// Room for `calls` calls whose claim request has `bytes` bytes. Whose they are is not known yet.
    pub fn admit(&self, calls: usize, bytes: usize) -> Option<Permit> {
        let account = &self.0;
        if !fits(account.calls.get(), calls, account.most_calls) || !account.has_room(bytes) {
            return None;
        }
        account.calls.set(account.calls.get() + calls);
        account.take_bytes(bytes);
        Some(Permit { account: Rc::clone(account), calls, bytes, business: None, of_works: false })
    }

    /// How many works may be asked for: as many as fit a quarter of the room for calls, a quarter of the bytes that are free, and one
    /// answer.
    pub fn works(&self) -> usize {
        let account = &self.0;
        let calls = account.most_calls.saturating_sub(account.calls.get());
        let works = account.most_works.saturating_sub(account.works.get());
        let bytes = account.most_bytes.saturating_sub(account.bytes.get()) / WORKS_PART;
        limits::WORKS.min(calls).min(works).min(bytes / limits::CALL_ANSWER_BYTES)
    }

    /// Room for works, and for how many; `None` where there is none.
    pub fn admit_works(&self) -> Option<(Permit, usize)> {
        let (account, calls) = (&self.0, self.works());
        if calls == 0 {
            return None;
        }
        let bytes = calls * limits::CALL_ANSWER_BYTES;
        account.calls.set(account.calls.get() + calls);
        account.works.set(account.works.get() + calls);
        account.take_bytes(bytes);
        Some((Permit { account: Rc::clone(account), calls, bytes, business: None, of_works: true }, calls))
    }

    /// Whether `bytes` more fit into all that may be held, whichever pushes hold it.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.has_room(bytes)
    }

    /// How many calls are pending.
    pub fn calls(&self) -> usize {
        self.0.calls.get()
    }

    /// How many bytes are held, bodies of pushes included.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// How many of them unfinished pushes hold.
    pub fn unfinished_bytes(&self) -> usize {
        self.0.unfinished_bytes.get()
    }
}

/// Room for a push's body, for as long as Envoy holds it; given back when dropped.
#[derive(Debug)]
pub struct BodyPermit {
    account: Rc<Account>,
    bytes: usize,
    is_complete: bool,
}

impl BodyPermit {
    /// Grows to what has arrived. `false`, and nothing changes, where unfinished pushes hold all that they may.
    pub fn grow(&mut self, arrived: usize) -> bool {
        let more = arrived.saturating_sub(self.bytes);
        if more == 0 || self.is_complete {
            return true;
        }
        let account = &self.account;
        if !fits(account.unfinished_bytes.get(), more, account.most_unfinished_bytes) || !account.has_room(more) {
            return false;
        }
        account.unfinished_bytes.set(account.unfinished_bytes.get() + more);
        account.take_bytes(more);
        self.bytes += more;
        true
    }

    /// How many bytes it has taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The push gives way. What it took first is free at once, because headers have bounds of the host's own. What has arrived of its
    /// body counts until the host has let go of it, though not among the unfinished ones any more.
    pub fn leave(&mut self) {
        self.complete(self.bytes.saturating_sub(FIRST_BYTES));
    }

    /// The body has arrived as a whole: from now on it counts among what is pending, and by its own size.
    pub fn complete(&mut self, size: usize) {
        if self.is_complete {
            return;
        }
        self.is_complete = true;
        let unfinished = &self.account.unfinished_bytes;
        unfinished.set(unfinished.get().saturating_sub(self.bytes));
        self.account.give_bytes(self.bytes);
        self.account.take_bytes(size);
        self.bytes = size;
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.complete(self.bytes);
        self.account.give_bytes(self.bytes);
    }
}

/// Room for some calls; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    account: Rc<Account>,
    calls: usize,
    bytes: usize,
    /// The business on whose account they are.
    business: Option<usize>,
    of_works: bool,
}

impl Permit {
    /// The part of the room that one call takes up, holding `bytes` bytes from now on. Without a call left it is room for
    /// the bytes alone.
    pub fn split(&mut self, bytes: usize) -> Self {
        let calls = self.calls.min(1);
        self.calls -= calls;
        // What is held already is counted, beyond the limit if need be; it is the next admission that is refused.
        self.account.take_bytes(bytes);
        Self { account: Rc::clone(&self.account), calls, bytes, business: None, of_works: self.of_works }
    }

    /// Moves to the account of the business with that number, until [`Permit::leave`]. A work moves there beyond that one's limit, because
    /// works together have a limit of their own.
    ///
    /// # Errors
    /// The room as it was, where that business gets no further place or there is none.
    pub fn place(mut self, index: usize) -> Result<Self, Self> {
        let account = &self.account;
        let placed = account.placed.get();
        if let Some(business) = account.businesses.borrow_mut().get_mut(index)
            && (self.of_works || account.has_place(business, placed))
        {
            business.held = business.held.plus(self.calls, self.bytes);
        } else {
            return Err(self);
        }
        account.placed.set(placed.plus(self.calls, self.bytes));
        self.business = Some(index);
        Ok(self)
    }

    /// Leaves its business's account: the callback has ended, or there is none.
    pub fn leave(&mut self) {
        self.take_off(self.calls, self.bytes);
        self.business = None;
    }

    /// Gives the bytes back and keeps the calls.
    pub fn release_bytes(&mut self) {
        self.take_off(0, self.bytes);
        self.account.give_bytes(self.bytes);
        self.bytes = 0;
    }

    /// Takes something off the account of its business, if it is on any.
    fn take_off(&self, calls: usize, bytes: usize) {
        let Some(index) = self.business else { return };
        if let Some(business) = self.account.businesses.borrow_mut().get_mut(index) {
            business.held = business.held.minus(calls, bytes);
        }
        let placed = &self.account.placed;
        placed.set(placed.get().minus(calls, bytes));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.leave();
        self.release_bytes();
        self.account.calls.set(self.account.calls.get().saturating_sub(self.calls));
        if self.of_works {
            self.account.works.set(self.account.works.get().saturating_sub(self.calls));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, FIRST_BYTES, Permit, may_hold_more};
    use crate::config::{Businesses, Limits};
    use crate::testing::config;
    use serde_json::json;

    fn admission(pending_calls: usize, pending_bytes: usize) -> Admission {
        Admission::new(&Limits { max_body_bytes: 0, pending_calls, pending_bytes }, &Businesses::default())
    }

    #[test]
    fn room_is_given_up_to_the_limit_and_again_once_it_is_back() {
        let admission = admission(50, 1_000);
        let first = admission.admit(30, 400).unwrap();
        assert!(admission.admit(21, 1).is_none(), "too many calls");
        assert!(admission.admit(1, 601).is_none(), "too many bytes");
        let second = admission.admit(20, 600).unwrap();
        drop(first);
        assert_eq!((admission.calls(), admission.bytes()), (20, 600));
        drop(second);
        assert_eq!((admission.calls(), admission.bytes()), (0, 0));
    }

    #[test]
    fn a_permit_that_is_split_gives_back_each_part_by_itself() {
        let admission = admission(50, 1_000);
        let mut permit = admission.admit(3, 100).unwrap();
        let one = permit.split(40);
        assert_eq!((admission.calls(), admission.bytes()), (3, 140));
        drop(permit);
        assert_eq!((admission.calls(), admission.bytes()), (1, 40));
        drop(one);
        assert_eq!((admission.calls(), admission.bytes()), (0, 0));
    }

    #[test]
    fn p4_works_leave_room_for_pushes() {
        let admission = admission(50, 4_096 * 1_024);
        let (mut permit, works) = admission.admit_works().unwrap();
        assert_eq!((works, admission.calls(), admission.bytes()), (12, 12, 12 * 16 * 1_024));
        assert!(admission.admit_works().is_none(), "a quarter of the calls");
        let one = permit.split(100);
        drop(permit);
        assert_eq!((admission.calls(), admission.bytes(), admission.works()), (1, 100, 11));
        drop(one);
        assert_eq!((admission.calls(), admission.bytes(), admission.works()), (0, 0, 12));
        let _push = admission.admit(45, 1).unwrap();
        assert_eq!(admission.works(), 5, "what is left of the calls");
        let _push = admission.admit(0, 4_096 * 1_024 - 256 * 1_024).unwrap();
        assert_eq!(admission.works(), 3, "a quarter of the bytes that are free");
    }

    #[test]
    fn p6_unfinished_bodies_hold_half_of_the_bytes_at_most_and_nothing_for_what_was_only_announced() {
        let admission = admission(50, 4 * FIRST_BYTES);
        let mut first = admission.admit_body().unwrap();
        let second = admission.admit_body().unwrap();
        assert_eq!(admission.unfinished_bytes(), 2 * FIRST_BYTES);
        assert!(admission.admit_body().is_none(), "half is held");
        assert!(!first.grow(FIRST_BYTES + 1));
        assert!(first.grow(FIRST_BYTES), "within what it has");
        first.complete(100);
        assert_eq!((admission.unfinished_bytes(), admission.bytes()), (FIRST_BYTES, FIRST_BYTES + 100));
        drop(second);
        drop(first);
        assert_eq!((admission.unfinished_bytes(), admission.bytes()), (0, 0));
    }
    /// Businesses with room for 4,000 calls each, in a gateway with room for 10,000: the defaults.
    fn crowd(businesses: usize) -> Admission {
        let business =
            |number| json!({"ak": format!("B{number}"), "cluster": "b", "authority": "b.example.com", "path": "/"});
        let config = config("hold", json!({"businesses": (0..businesses).map(business).collect::<Vec<_>>()}));
        Admission::new(&config.limits, &config.businesses)
    }

    fn place(admission: &Admission, index: usize, bytes: usize) -> Option<Permit> {
        admission.admit(1, 0)?.split(bytes).place(index).ok()
    }

    #[test]
    fn p4_businesses_that_never_answer_leave_a_place_for_another_however_many_they_are() {
        for hanging in [1, 3, 5, 20, 100] {
            let admission = crowd(hanging + 1);
            let mut held = Vec::new();
            // Each is offered more than there is room for, in turn.
            for index in (0..10_000).flat_map(|_| 0..hanging).take(20_000) {
                held.extend(place(&admission, index, 2_000));
            }
            let left = 10_000 - held.len();
            assert!(left >= 50, "{hanging} leave {left}");
            assert!(place(&admission, hanging, 2_000).is_some(), "{hanging}");
            if hanging == 1 {
                assert_eq!(held.len(), 4_000, "one alone gets all that its own limit allows");
            }
        }
    }

    #[test]
    fn p4_nor_do_their_records_take_all_bytes() {
        let admission = crowd(4);
        let mut held = Vec::new();
        for index in (0..3_000).flat_map(|_| 0..3) {
            held.extend(place(&admission, index, 16_384));
        }
        assert!(admission.bytes() < 60_000_000, "{} bytes are held", admission.bytes());
        assert!(place(&admission, 3, 16_384).is_some());
    }

    #[test]
    fn a_call_that_leaves_gives_its_place_to_another() {
        let admission = crowd(1);
        let mut held: Vec<_> = (0..4_000).map(|_| place(&admission, 0, 10).unwrap()).collect();
        assert!(place(&admission, 0, 10).is_none());
        held[0].leave();
        assert!(place(&admission, 0, 10).is_some());
        assert!(place(&admission, 1, 10).is_none(), "there is no such business");
        drop(held);
        assert_eq!((admission.calls(), admission.bytes()), (0, 0));
        assert_eq!((admission.0.placed.get().calls, admission.0.placed.get().bytes), (0, 0));
    }

    #[test]
    fn one_push_is_never_cut_in_two_by_a_small_total() {
        for held in 0..50 {
            assert!(may_hold_more(held, 4_000, held, 50, 50));
        }
        assert!(!may_hold_more(50, 50, 50, 10_000, 50), "its own limit");
        assert!(may_hold_more(1_999, 4_000, 7_500, 10_000, 50));
        assert!(!may_hold_more(2_000, 4_000, 7_500, 10_000, 50), "half of its limit, three quarters of all");
        assert!(may_hold_more(3_999, 4_000, 7_499, 10_000, 50));
    }
}
