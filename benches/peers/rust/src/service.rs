//! What a push sets off: the commit, the callbacks, the outcomes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use privatenumber_contract::{CallReport, CallVerdict, Outcome, OutcomeReport, Push, PushAnswer, PushId, Skipped};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::callback::Business;
use crate::credentials::Authenticator;
use crate::settings::Settings;
use crate::store::Store;

/// Most calls between the push and the end of their outcome's report.
const MAX_PENDING_CALLS: u32 = 10_000;
/// Time for the callbacks under way when the service is stopped.
const FINISH: Duration = Duration::from_secs(10);

/// Everything that requests share.
pub struct Service {
    /// Checks who pushes.
    pub authenticator: Authenticator,
    /// The `ak` of the business.
    pub ak: String,
    store: Store,
    business: Business,
    pending: Arc<Semaphore>,
}

/// A call to call back for.
struct Claim {
    call_id: String,
    push_id: PushId,
    /// Part of the store's answer.
    record: Bytes,
    to: Result<(), Skipped>,
    _pending: OwnedSemaphorePermit,
}

impl Service {
    /// A service without work.
    pub fn new(settings: &Settings) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            authenticator: Authenticator::new(settings.app_key.clone(), &settings.app_secret)?,
            ak: settings.ak.clone(),
            store: Store::new(&settings.store)?,
            business: Business::new(&settings.business)?,
            pending: Arc::new(Semaphore::new(usize::try_from(MAX_PENDING_CALLS)?)),
        }))
    }

    /// Has the calls committed and begins their callbacks. `now_ms`: epoch milliseconds.
    pub async fn record(self: &Arc<Self>, calls: Vec<CallReport<'_>>, now_ms: i64) -> Result<(), Refusal> {
        let count = u32::try_from(calls.len()).map_err(|_| Refusal::Busy)?;
        let mut pending = Arc::clone(&self.pending).try_acquire_many_owned(count).map_err(|_| Refusal::Busy)?;
        let mut push_id = [0; 16];
        getrandom::fill(&mut push_id).map_err(|_| Refusal::StoreUnavailable)?;
        let push_id = PushId::from_bytes(push_id);
        let push = Push {
            push_id,
            app_key: Cow::Borrowed(self.authenticator.app_key()),
            received_at: now_ms,
            calls,
            parked: Vec::new(),
            event: None,
        };
        let body = self.store.commit(&push).await.map_err(|_| Refusal::StoreUnavailable)?;
        let answer: PushAnswer<'_> = serde_json::from_slice(&body).map_err(|_| Refusal::StoreUnavailable)?;
        for call in answer.calls {
            let (CallVerdict::Claimed, Some(record)) = (call.verdict, call.record) else { continue };
            let Some(permit) = pending.split(1) else { continue };
            let to = match call.ak.as_deref() {
                Some(ak) if ak == self.ak => Ok(()),
                Some(_) => Err(Skipped::NoCallback),
                None => Err(Skipped::NoBinding),
            };
            let claim = Claim {
                call_id: call.call_id.into_owned(),
                push_id,
                record: body.slice_ref(record.get().as_bytes()),
                to,
                _pending: permit,
            };
            tokio::spawn(Arc::clone(self).settle(claim));
        }
        Ok(())
    }

    /// Calls back and reports the outcome.
    async fn settle(self: Arc<Self>, claim: Claim) {
        let Claim { call_id, push_id, record, to, _pending } = claim;
        let (outcome, duration_ms) = match to {
            Ok(()) => {
                let started = Instant::now();
                let outcome = self.business.call_back(&call_id, record, now_ms()).await;
                (outcome, i64::try_from(started.elapsed().as_millis()).ok())
            }
            Err(reason) => (Outcome::Skipped { reason }, None),
        };
        let report = OutcomeReport { call_id, push_id, outcome, duration_ms };
        if self.store.report(report).await.is_err() {
            eprintln!("an outcome of push {push_id} could not be reported");
        }
    }

    /// Waits for the callbacks under way.
    pub async fn finish(&self) {
        if timeout(FINISH, self.pending.acquire_many(MAX_PENDING_CALLS)).await.is_err() {
            eprintln!("some callbacks did not end in time");
        }
    }
}

/// Epoch milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
