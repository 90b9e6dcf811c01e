//! What a push sets off: the commit, the callbacks, the outcomes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use privatenumber_contract::{
    Application, CallReport, CallResult, CallVerdict, Outcome, OutcomeReport, Push, PushAnswer, PushBatchAnswer,
    PushId, PushVerdict, Signature, Skipped,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::answer::Refusal;
use crate::batches::{Batch, Due, Outcomes, OutcomesDue, Pushes, Waiting};
use crate::callback::Business;
use crate::credentials::{Authenticator, SignedHash};
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
    /// What waits to be sent together; `None`: every push and every outcome has a request of its own.
    batches: Option<Batches>,
}

#[derive(Default)]
struct Batches {
    pushes: Pushes,
    outcomes: Outcomes,
}

/// When a push came.
#[derive(Clone, Copy)]
pub struct Received {
    /// Epoch milliseconds.
    pub at_ms: i64,
    at: Instant,
}

impl Received {
    /// Now.
    pub fn now() -> Self {
        Self { at_ms: now_ms(), at: Instant::now() }
    }

    /// Milliseconds since then.
    pub fn age_ms(self) -> u64 {
        u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A call to call back for.
struct Claim {
    call_id: String,
    push_id: PushId,
    /// Part of the store's answer.
    record: Bytes,
    to: Result<(), Skipped>,
    pending: OwnedSemaphorePermit,
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
            batches: settings.batch.then(Batches::default),
        }))
    }

    /// Has the calls committed and begins their callbacks.
    pub async fn record(
        self: &Arc<Self>,
        calls: Vec<CallReport<'_>>,
        received: Received,
        signed: SignedHash,
    ) -> Result<(), Refusal> {
        let count = calls.len();
        let permits = u32::try_from(count).map_err(|_| Refusal::Busy)?;
        let pending = Arc::clone(&self.pending).try_acquire_many_owned(permits).map_err(|_| Refusal::Busy)?;
        let mut push_id = [0; 16];
        getrandom::fill(&mut push_id).map_err(|_| Refusal::StoreUnavailable)?;
        let push_id = PushId::from_bytes(push_id);
        let mut push = Push {
            push_id,
            app_key: Cow::Borrowed(self.authenticator.app_key()),
            received_at: received.at_ms,
            age_ms: None,
            application: Some(Application { ak: Some(Cow::Borrowed(&self.ak)), ..Application::default() }),
            signature: Some(Signature { scheme: Cow::Borrowed("aksk"), hash: Cow::Borrowed(signed.as_str()) }),
            calls,
            parked: Vec::new(),
            event: None,
        };
        let Some(batches) = &self.batches else {
            push.age_ms = Some(received.age_ms());
            let body = self.store.commit(&push).await.map_err(|_| Refusal::StoreUnavailable)?;
            let answer: PushAnswer<'_> = serde_json::from_slice(&body).map_err(|_| Refusal::StoreUnavailable)?;
            self.call_back_all(push_id, answer.calls, &body, pending);
            return Ok(());
        };
        // Its age is added when the batch is sent.
        let text = serde_json::to_vec(&push).map_err(|_| Refusal::StoreUnavailable)?;
        let (answered, verdict) = oneshot::channel();
        batches.pushes.add(Waiting { push_id, received, text, calls: count, pending, answered });
        self.send_pushes(batches);
        verdict.await.unwrap_or(Err(Refusal::StoreUnavailable))
    }

    /// Sends what waits and is due, and sees to what is due later.
    fn send_pushes(self: &Arc<Self>, batches: &Batches) {
        loop {
            match batches.pushes.due() {
                Due::Batch(batch) => drop(tokio::spawn(Arc::clone(self).ask(batch))),
                Due::At(moment) => {
                    let service = Arc::clone(self);
                    tokio::spawn(async move {
                        sleep_until(moment).await;
                        if let Some(batches) = &service.batches {
                            service.send_pushes(batches);
                        }
                    });
                    return;
                }
                Due::Nothing => return,
            }
        }
    }

    /// Asks for the claims of a batch. A push without a verdict is answered when its [`Waiting`] is dropped.
    async fn ask(self: Arc<Self>, mut batch: Batch) {
        let answer = self.store.commit_batch(batch.body()).await;
        if let Some(batches) = &self.batches {
            batches.pushes.ended(&batch);
            self.send_pushes(batches);
        }
        let Ok(body) = answer else { return };
        let Ok(answer) = serde_json::from_slice::<PushBatchAnswer<'_>>(&body) else { return };
        for result in answer.pushes {
            let asked = batch.pushes.iter().position(|push| push.push_id == result.push_id);
            let Some(push) = asked.map(|index| batch.pushes.swap_remove(index)) else { continue };
            let committed = result.verdict == PushVerdict::Committed && result.calls.len() == push.calls;
            if committed {
                self.call_back_all(push.push_id, result.calls, &body, push.pending);
            }
            // An error: the client has disconnected.
            let _ = push.answered.send(if committed { Ok(()) } else { Err(Refusal::StoreUnavailable) });
        }
    }

    /// Begins the callbacks of what was claimed. `body`: the answer that the records are part of.
    fn call_back_all(
        self: &Arc<Self>,
        push_id: PushId,
        calls: Vec<CallResult<'_>>,
        body: &Bytes,
        mut pending: OwnedSemaphorePermit,
    ) {
        for call in calls {
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
                pending: permit,
            };
            tokio::spawn(Arc::clone(self).settle(claim));
        }
    }

    /// Calls back and reports the outcome.
    async fn settle(self: Arc<Self>, claim: Claim) {
        let Claim { call_id, push_id, record, to, pending } = claim;
        let (outcome, duration_ms) = match to {
            Ok(()) => {
                let started = Instant::now();
                let outcome = self.business.call_back(&call_id, record, now_ms()).await;
                (outcome, i64::try_from(started.elapsed().as_millis()).ok())
            }
            Err(reason) => (Outcome::Skipped { reason }, None),
        };
        let report = OutcomeReport { call_id, push_id, outcome, duration_ms };
        let Some(batches) = &self.batches else { return self.report(vec![report]).await };
        let mut due = batches.outcomes.add(report, pending);
        loop {
            match due {
                OutcomesDue::Reports(mut due) => return self.report(std::mem::take(&mut due.reports)).await,
                OutcomesDue::Wait(moment) => sleep_until(moment).await,
                OutcomesDue::Nothing => return,
            }
            due = batches.outcomes.after_waiting();
        }
    }

    async fn report(&self, reports: Vec<OutcomeReport>) {
        let count = reports.len();
        if self.store.report(reports).await.is_err() {
            eprintln!("{count} outcomes could not be reported");
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
