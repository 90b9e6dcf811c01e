//! What a database engine must be able to do inside one transaction. Everything the store decides is decided above this
//! line, once; a further engine is a further implementation of these two traits and of the reading side.

use std::future::Future;

use privatenumber_contract::{OutcomeReport, PushId, RegisteredBinding};

use super::work::{BindingWork, EventWork, NewCall, ParkedWork, PushWork};
use super::{CommitUnknown, EngineError};

/// The writing side of an engine.
pub(crate) trait Engine: Sync {
    /// An open transaction.
    type Transaction: Transaction;

    /// Opens the one write transaction there is at a time.
    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, EngineError>> + Send;
}

/// Who holds a call's claim, and with what record.
pub(crate) struct StoredClaim {
    pub push_id: String,
    pub has_outcome: bool,
    pub ak: Option<String>,
    pub record: String,
}

/// One open write transaction.
pub(crate) trait Transaction: Send {
    /// The claim of a call that is recorded.
    fn claim(&mut self, call_id: &str) -> impl Future<Output = Result<Option<StoredClaim>, EngineError>> + Send;

    /// The latest version of a binding.
    fn binding(
        &mut self,
        subscription_id: &str,
    ) -> impl Future<Output = Result<Option<RegisteredBinding>, EngineError>> + Send;

    /// Records a call that is not there yet and gives its claim to the push.
    fn insert_call(
        &mut self,
        push: &PushWork,
        call: &NewCall,
        ak: Option<&str>,
        record: &str,
        now_ms: i64,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Counts a further push of a call.
    fn count_duplicate(&mut self, call_id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Keeps a text that cannot be used, or counts it if it is there. True if it was new.
    fn park(&mut self, push: &PushWork, parked: &ParkedWork) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Keeps a status event, or counts it if it is there. True if it was new.
    fn keep_event(
        &mut self,
        push: &PushWork,
        event: &EventWork,
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Writes an outcome if the push holds the claim and there is none yet. True if it was written.
    fn write_outcome(
        &mut self,
        report: &OutcomeReport,
        now_ms: i64,
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Writes a version of a binding.
    fn insert_binding(
        &mut self,
        work: &BindingWork,
        version: i64,
        now_ms: i64,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Writes something trivial.
    fn write_readiness(&mut self, now_ms: i64) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes everything durable. After an error nobody knows whether it is.
    fn commit(self) -> impl Future<Output = Result<(), CommitUnknown>> + Send;

    /// Undoes everything.
    fn rollback(self) -> impl Future<Output = ()> + Send;
}

impl StoredClaim {
    /// Whether `push_id` holds the claim.
    pub(crate) fn is_held_by(&self, push_id: PushId) -> bool {
        self.push_id == push_id.to_string()
    }
}
