//! What a database engine must be able to do. Everything the store decides is decided above this line, once; a further engine is a
//! further implementation of these traits.
//!
//! Every statement of a transaction is about all works of a group at once, and no two entries of a set have the same key. So an
//! engine behind a network can do a group in a constant number of round trips; one inside the process may loop.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use privatenumber_contract::{
    BusinessView, CallDetail, CallPage, EventPage, Outcome, OutcomeReport, ParkedPage, PushId, RegisteredBinding,
    ReplayPage, WaitFor,
};

use super::query::{CallFilter, Page, ParkedText, WaitingCalls};
use super::work::{Bindings, NewCall, TextWork};
use super::{CommitUnknown, EngineError};

/// The writing side of an engine. It belongs to the thread that writes, and waits there.
pub(crate) trait WriteEngine {
    /// An open transaction. Dropped without a commit, it leaves nothing behind.
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Opens a write transaction.
    fn begin(&mut self) -> Result<Self::Transaction<'_>, EngineError>;

    /// Notes that a statement found the database damaged: from now on `begin` fails.
    fn is_damaged(&mut self, reason: &str);
}

/// Who holds a call's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This push does.
    Granted { push_id: PushId, has_outcome: bool },
    /// Nobody does: the call waits for its binding, or for its business. This push brought it.
    Held { brought_by: PushId },
    /// Nobody does: the call was released.
    Released,
}

/// Who holds a call's claim, and with what record.
pub(crate) struct StoredClaim {
    pub standing: Standing,
    pub ak: Option<String>,
    pub record: String,
}

/// The push id of calls that wait: no worker draws it.
pub(crate) const NOBODY: PushId = PushId::from_bytes([0; 16]);

/// A recorded call that is to wait until a worker takes it.
pub(crate) struct WaitRow<'a> {
    pub call_id: &'a str,
    pub waits_for: WaitFor,
    /// From this moment on a worker may take it, epoch milliseconds; `None` while its business is paused.
    pub due_at: Option<i64>,
    /// The push that is told that the call waits.
    pub brought_by: Option<PushId>,
}

/// What decides whether a call can be released.
pub(crate) struct Releasable {
    pub waits_for: Option<WaitFor>,
    pub outcome: Option<Outcome>,
    pub claim_deadline: i64,
}

/// A work that can be taken now.
pub(crate) struct DueWork {
    pub call_id: String,
    /// The record's `ak` without a binding row.
    pub ak: Option<String>,
    /// The record as it is without a binding row that is newer, as JSON.
    pub record: String,
}

/// A work, granted to a worker.
pub(crate) struct GrantRow<'a> {
    pub call_id: &'a str,
    pub push_id: PushId,
    pub claim_deadline: i64,
    pub ak: Option<&'a str>,
    /// The record as JSON.
    pub record: &'a str,
}

/// What a worker's id stands for.
#[derive(Default)]
pub(crate) struct WorksOf {
    /// Whether it was ever granted a work, or told that there is none.
    pub ever_asked: bool,
    /// Its works without an outcome.
    pub works: Vec<DueWork>,
}

/// A call to be recorded if its id is new.
pub(crate) struct CallRow<'a> {
    pub call: &'a NewCall,
    pub push_id: PushId,
    pub received_at: i64,
    pub claim_deadline: i64,
    pub ak: Option<&'a str>,
    /// The record as JSON.
    pub record: &'a str,
}

/// A text to be kept, or counted where it is there already.
pub(crate) struct TextRow<'a> {
    pub text: &'a TextWork,
    pub app_key: &'a str,
    /// The business of the application.
    pub ak: Option<&'a str>,
    pub received_at: i64,
    /// The first push of the group that brings it: where the text is there already, a repetition unless this push brought it last.
    pub first_push: PushId,
    /// The last push of the group that brings it.
    pub last_push: PushId,
    /// How many further pushes of the group bring it.
    pub repetitions: i64,
}

/// A CDR of a recorded call that comes again.
pub(crate) struct LaterCdrRow<'a> {
    pub call_id: &'a str,
    pub text: &'a [u8],
    pub received_at: i64,
    /// The first push of the group that brings it.
    pub first_push: PushId,
    /// The last push of the group that brings it.
    pub last_push: PushId,
    /// How many further pushes of the group bring it.
    pub repetitions: i64,
}

/// What became of a CDR that came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaterCdrDone {
    /// It is kept already.
    Known,
    /// It is kept as a further version.
    Kept,
    /// There is no room for it; it is counted.
    NotKept,
}

/// A signature to be remembered.
pub(crate) struct SignatureRow<'a> {
    pub key: &'a [u8; 16],
    pub texts: &'a [u8; 16],
    pub push_id: PushId,
    pub received_at: i64,
}

/// What a signature came with first.
#[derive(Clone, Debug)]
pub(crate) struct StoredSignature {
    pub texts: [u8; 16],
    pub push_id: PushId,
    pub received_at: i64,
}

/// A push whose signature came with other texts before.
pub(crate) struct ReplayRow<'a> {
    pub push_id: PushId,
    pub app_key: &'a str,
    pub scheme: &'a str,
    pub received_at: i64,
    pub first_push_id: PushId,
    pub first_received_at: i64,
    /// Whether its CDRs are parked.
    pub parked: bool,
    pub call_ids: Vec<&'a str>,
}

/// A number of events, and what their bodies take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    pub events: u64,
    pub bytes: u64,
}

/// What was dropped of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventsDropped {
    pub events: u64,
    /// Whether they still take too much.
    pub more: bool,
}

/// A deadline to be moved.
pub(crate) struct Renewal<'a> {
    pub call_id: &'a str,
    pub push_id: PushId,
    pub claim_deadline: i64,
}

/// A binding's next version.
pub(crate) struct BindingRow<'a> {
    pub subscription_id: &'a str,
    /// The version to be written, one more than the latest that was read.
    pub version: i64,
    /// The row as JSON.
    pub binding: &'a str,
}

/// An open write transaction.
pub(crate) trait Transaction {
    /// See [`Database::latest_time`](super::Database::latest_time).
    fn latest_time(&mut self) -> Result<i64, EngineError>;

    /// The latest version of each binding that is registered.
    fn bindings(&mut self, subscription_ids: &[&str]) -> Result<Bindings, EngineError>;

    /// Writes versions of bindings.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] where somebody else wrote that version meanwhile.
    fn insert_bindings(&mut self, rows: &[BindingRow<'_>], now_ms: i64) -> Result<(), EngineError>;

    /// Records those calls whose id is not there yet, with the text of their CDRs. Says for each whether it did. One step: nobody can
    /// record the call between the question and the insertion.
    fn insert_calls(&mut self, rows: &[CallRow<'_>], now_ms: i64) -> Result<Vec<bool>, EngineError>;

    /// The claims of calls that are recorded. Sees what [`Transaction::insert_calls`] met, so it is a statement of its own.
    fn claims(&mut self, call_ids: &[&str]) -> Result<HashMap<String, StoredClaim>, EngineError>;

    /// Moves the deadlines of claims.
    fn renew(&mut self, renewals: &[Renewal<'_>]) -> Result<(), EngineError>;

    /// Counts further pushes of calls: the call's id and how many.
    fn count_duplicates(&mut self, counts: &[(&str, i64)]) -> Result<(), EngineError>;

    /// Keeps further versions of the CDRs of recorded calls, as far as there is room for them. Says for each what became of it.
    fn keep_later_cdrs(&mut self, rows: &[LaterCdrRow<'_>]) -> Result<Vec<LaterCdrDone>, EngineError>;

    /// Remembers the signatures that are not remembered yet, for `days` whole days after the day of `now_ms`; with 0 none. Says for
    /// each that was there what it came with first. Forgets what is older, a day at a time.
    fn remember_signatures(
        &mut self,
        rows: &[SignatureRow<'_>],
        now_ms: i64,
        days: u32,
    ) -> Result<Vec<Option<StoredSignature>>, EngineError>;

    /// Lists pushes whose signature came with other texts before, up to a fixed number of the latest. Says for each whether it was new.
    fn list_replays(&mut self, rows: &[ReplayRow<'_>]) -> Result<Vec<bool>, EngineError>;

    /// Drops the oldest events until all take no more than `budget` bytes; at most `most.events` of them, and none more once those take
    /// `most.bytes`.
    fn drop_events(&mut self, budget: u64, most: Events) -> Result<EventsDropped, EngineError>;

    /// Keeps CDRs that cannot be used. Says for each whether it was new.
    fn park(&mut self, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError>;

    /// Keeps status events. Says for each whether it was new.
    fn keep_events(&mut self, rows: &[TextRow<'_>]) -> Result<Vec<bool>, EngineError>;

    /// Writes those outcomes whose push holds the claim of a call without one. Says for each whether it did.
    fn write_outcomes(&mut self, reports: &[&OutcomeReport], now_ms: i64) -> Result<Vec<bool>, EngineError>;

    /// Lets calls wait that the same transaction has recorded under [`NOBODY`].
    fn wait(&mut self, rows: &[WaitRow<'_>], now_ms: i64) -> Result<(), EngineError>;

    /// Makes the calls that wait for these bindings due.
    fn bindings_came(&mut self, subscription_ids: &[&str], now_ms: i64) -> Result<(), EngineError>;

    /// What decides whether these calls can be released, of those that are recorded.
    fn releasable(&mut self, call_ids: &[&str]) -> Result<HashMap<String, Releasable>, EngineError>;

    /// Takes back the outcome `not_sent` or `skipped` of calls, keeps it in their history, and lets them wait. `ak`: whose a call is that
    /// has none.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] where a call has no such outcome any more.
    fn release(&mut self, call_ids: &[&str], ak: Option<&str>, now_ms: i64) -> Result<(), EngineError>;

    /// The calls that were made of parked CDRs, by number; of those that are kept.
    fn released_parked(&mut self, numbers: &[i64]) -> Result<HashMap<i64, Option<String>>, EngineError>;

    /// Notes the calls that were made of parked CDRs.
    fn note_released_parked(&mut self, calls: &[(i64, &str)]) -> Result<(), EngineError>;

    /// What the ids of workers stand for; those that stand for nothing may be left out.
    fn works_of(&mut self, push_ids: &[PushId]) -> Result<HashMap<PushId, WorksOf>, EngineError>;

    /// Notes that this id is told that there are no works, whether or not the transaction is committed. It may be forgotten when the
    /// store ends, or once many others were told so.
    fn note_empty_handed(&mut self, push_id: PushId);

    /// The works that are due longest. Nobody else is given them until this transaction ends.
    fn due_works(&mut self, most: usize, now_ms: i64) -> Result<Vec<DueWork>, EngineError>;

    /// Lets works that are due wait for their businesses, which are paused: the call's id and its `ak`.
    fn wait_for_businesses(&mut self, works: &[(&str, &str)]) -> Result<(), EngineError>;

    /// The businesses that are paused.
    fn paused(&mut self) -> Result<HashSet<String>, EngineError>;

    /// The businesses that resume and whose calls are not all due.
    fn resuming(&mut self) -> Result<Vec<String>, EngineError>;

    /// Pauses a business, if it is not paused.
    fn pause(&mut self, ak: &str, now_ms: i64) -> Result<(), EngineError>;

    /// Begins to resume a business. Says whether it was paused.
    fn resume(&mut self, ak: &str, now_ms: i64) -> Result<bool, EngineError>;

    /// Makes calls that wait for a business due, `most` at most. Says how many.
    fn make_due(&mut self, ak: &str, most: usize, now_ms: i64) -> Result<usize, EngineError>;

    /// All calls of a business that resumes are due.
    fn resumed(&mut self, ak: &str) -> Result<(), EngineError>;

    /// Since when a business is paused, if it is, and how many calls wait for it.
    fn business(&mut self, ak: &str) -> Result<(Option<i64>, u64), EngineError>;

    /// Grants works that wait.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] where one does not wait any more.
    fn grant_works(&mut self, rows: &[GrantRow<'_>], now_ms: i64) -> Result<(), EngineError>;

    /// How many works are due, counted up to `most`.
    fn count_due(&mut self, most: u32, now_ms: i64) -> Result<u64, EngineError>;

    /// Writes something trivial.
    fn write_readiness(&mut self, now_ms: i64) -> Result<(), EngineError>;

    /// Makes everything durable. After an error nobody knows whether it is.
    fn commit(self) -> Result<(), CommitUnknown>;
}

/// The reading side of an engine. Any number of queries run at a time.
pub(crate) trait ReadEngine {
    /// See [`Database::latest_time`](super::Database::latest_time).
    fn latest_time(&self) -> impl Future<Output = Result<i64, EngineError>> + Send;

    /// See [`Database::calls`](super::Database::calls).
    fn calls(
        &self,
        filter: &CallFilter,
        page: &Page,
        now_ms: i64,
    ) -> impl Future<Output = Result<CallPage, EngineError>> + Send;

    /// See [`Database::call`](super::Database::call).
    fn call(&self, call_id: &str, now_ms: i64) -> impl Future<Output = Result<Option<CallDetail>, EngineError>> + Send;

    /// See [`Database::binding`](super::Database::binding).
    fn binding(
        &self,
        subscription_id: &str,
        history: bool,
    ) -> impl Future<Output = Result<Option<RegisteredBinding>, EngineError>> + Send;

    /// See [`Database::parked`](super::Database::parked).
    fn parked(&self, page: &Page) -> impl Future<Output = Result<ParkedPage, EngineError>> + Send;

    /// See [`Database::parked_text`](super::Database::parked_text).
    fn parked_text(&self, number: i64) -> impl Future<Output = Result<Option<ParkedText>, EngineError>> + Send;

    /// See [`Database::releasable`](super::Database::releasable).
    fn releasable(
        &self,
        filter: &CallFilter,
        most: u32,
        now_ms: i64,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// See [`Database::waiting`](super::Database::waiting).
    fn waiting(&self, now_ms: i64) -> impl Future<Output = Result<WaitingCalls, EngineError>> + Send;

    /// See [`Database::business`](super::Database::business).
    fn business(&self, ak: &str) -> impl Future<Output = Result<BusinessView, EngineError>> + Send;

    /// See [`Database::events`](super::Database::events).
    fn events(&self, page: &Page) -> impl Future<Output = Result<EventPage, EngineError>> + Send;

    /// See [`Database::replays`](super::Database::replays).
    fn replays(&self, page: &Page) -> impl Future<Output = Result<ReplayPage, EngineError>> + Send;
}
