//! What can be asked of the database, and how much of it at a time.

use privatenumber_contract::{CallState, Private};

/// A page ends early rather than grow much beyond this many bytes of stored text.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How many earlier versions of a binding are given at most.
pub const HISTORY_MAX: u32 = 1000;

/// Which page of a list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many entries at most.
    pub limit: u32,
    /// Only entries older than this number; the first page has none.
    pub before: Option<i64>,
    /// Where a span of time begins, as the first page of it found out.
    pub since: Option<Since>,
}

impl Page {
    /// The first page, of so many entries at most.
    pub fn first(limit: u32) -> Self {
        Self { limit, before: None, since: None }
    }
}

/// Where a span of time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// From, and up to but without, epoch milliseconds.
    pub times: (i64, i64),
    /// No call of this span has a lower number.
    pub number: i64,
}

/// Which calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// In one of these states when asked; `pending` and `unknown` are derived. Empty: in any state.
    pub states: Vec<CallState>,
    /// Of this business.
    pub ak: Option<String>,
    /// Of this binding.
    pub subscription_id: Option<String>,
    /// Of this Huawei application.
    pub app_key: Option<String>,
    /// Recorded at or after this moment, epoch milliseconds.
    pub from: Option<i64>,
    /// Recorded before this moment, epoch milliseconds.
    pub to: Option<i64>,
}

/// A parked CDR, to be read again.
#[derive(Clone, Debug)]
pub struct ParkedText {
    /// The Huawei application that authenticated the push.
    pub app_key: String,
    /// The business of the application when the CDR came, where the gateway told it.
    pub ak: Option<String>,
    /// When the gateway received it first, epoch milliseconds.
    pub received_at: i64,
    /// The CDR as Huawei sent it.
    pub bytes: Private<Vec<u8>>,
    /// The call that was made of it.
    pub call_id: Option<String>,
}

/// How many calls wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitingCalls {
    /// For their binding, due or not.
    pub binding: u64,
    /// For a worker alone.
    pub released: u64,
    /// For their business, which is paused or resumes.
    pub paused: u64,
    /// How many businesses are paused.
    pub paused_businesses: u64,
    /// How long the work that is due longest waits for a worker, milliseconds; 0 where none is due.
    pub oldest_due_ms: u64,
}

/// Collects a page: takes one entry more than asked for to learn whether there is a next page.
pub(crate) struct Pager<T> {
    limit: usize,
    bytes: usize,
    entries: Vec<T>,
    last: Option<i64>,
    more: bool,
}

impl<T> Pager<T> {
    pub(crate) fn new(page: &Page) -> Self {
        Self { limit: page.limit as usize, bytes: 0, entries: Vec::new(), last: None, more: false }
    }

    /// Takes an entry of `bytes` bytes with its number; false once the page is full.
    pub(crate) fn take(&mut self, number: i64, bytes: usize, entry: T) -> bool {
        let full = self.entries.len() >= self.limit || self.bytes.saturating_add(bytes) > PAGE_BYTES;
        // An entry larger than a page is a page of its own.
        if full && !self.entries.is_empty() {
            self.more = true;
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.last = Some(number);
        self.entries.push(entry);
        true
    }

    /// The entries, and the number to continue before if there are more.
    pub(crate) fn finish(self) -> (Vec<T>, Option<i64>) {
        let next = if self.more { self.last } else { None };
        (self.entries, next)
    }
}
