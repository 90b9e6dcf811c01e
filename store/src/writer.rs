//! The one writer. Requests queue their works; the writer takes all that wait and commits them together, so that the cost
//! of making a commit durable is shared by everybody who waits for it.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use privatenumber_contract::OutcomeReport;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::database::{
    BindingDone, BindingWork, Database, Done, OutcomeResult, OutcomesDone, PushDone, PushWork, Work, WriteError,
};
use crate::metrics::Metrics;

/// How many works are committed together at most: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 512;

/// A request's share of the memory that all requests together may hold.
pub type Share = Option<OwnedSemaphorePermit>;

/// Why a work has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many works wait. This one was not taken.
    #[error("the writer's queue is full")]
    Full,
    /// The store is stopping. The work was not taken.
    #[error("the store is stopping")]
    Stopping,
    /// The writer took the work and could not commit it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

struct Job {
    work: Work,
    /// What the work's memory takes of the budget of all requests, for as long as it is held, whoever waits for it.
    _share: Share,
    reply: oneshot::Sender<Result<Done, WriteError>>,
}

/// Hands works to the writer. The writer ends once every handle is gone and the queue is empty.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// Starts the writer of `database` with a queue of `queue` works.
    pub fn start(database: Database, clock: Clock, metrics: Arc<Metrics>, queue: usize) -> (Self, JoinHandle<()>) {
        let (jobs, waiting) = mpsc::channel(queue.clamp(1, Semaphore::MAX_PERMITS));
        let task = tokio::spawn(run(database, clock, Arc::clone(&metrics), waiting));
        (Self { jobs, metrics }, task)
    }

    /// Commits a push.
    ///
    /// # Errors
    /// [`QueueError`]; only after [`WriteError::Unknown`] may something have been committed.
    pub async fn push(&self, work: PushWork, share: Share) -> Result<PushDone, QueueError> {
        match self.submit(Work::Push(Box::new(work)), share).await? {
            Done::Push(done) => Ok(done),
            _ => Err(mixed_up()),
        }
    }

    /// Commits a batch of outcomes.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn outcomes(&self, reports: Vec<OutcomeReport>, share: Share) -> Result<OutcomesDone, QueueError> {
        match self.submit(Work::Outcomes(reports), share).await? {
            Done::Outcomes(done) => Ok(done),
            _ => Err(mixed_up()),
        }
    }

    /// Registers a binding.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn binding(&self, work: BindingWork, share: Share) -> Result<BindingDone, QueueError> {
        match self.submit(Work::Binding(Box::new(work)), share).await? {
            Done::Binding(done) => Ok(*done),
            _ => Err(mixed_up()),
        }
    }

    /// Commits something trivial.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn readiness(&self) -> Result<(), QueueError> {
        self.submit(Work::Readiness, None).await.map(|_| ())
    }

    async fn submit(&self, work: Work, share: Share) -> Result<Done, QueueError> {
        let (reply, result) = oneshot::channel();
        self.metrics.queue_depth.inc();
        if let Err(error) = self.jobs.try_send(Job { work, _share: share, reply }) {
            self.metrics.queue_depth.dec();
            return Err(match error {
                mpsc::error::TrySendError::Full(_) => QueueError::Full,
                mpsc::error::TrySendError::Closed(_) => QueueError::Stopping,
            });
        }
        match result.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(WriteError::Unknown("the writer ended in mid-work".to_owned()).into()),
        }
    }
}

/// The writer answers each work with its own kind of result; should it ever not, what was committed is not known here.
fn mixed_up() -> QueueError {
    tracing::error!("the writer answered with the result of another kind of work");
    WriteError::Unknown("results are mixed up".to_owned()).into()
}

async fn run(database: Database, clock: Clock, metrics: Arc<Metrics>, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(GROUP_MAX);
    let mut failures = Failures::default();
    while waiting.recv_many(&mut jobs, GROUP_MAX).await > 0 {
        let taken = jobs.len();
        metrics.queue_depth.dec_by(i64::try_from(taken).unwrap_or(i64::MAX));
        // Whoever left was promised nothing and asks again. What waited through a stall would otherwise be committed before
        // what somebody waits for, several copies of it, until that is given up as well.
        jobs.retain(|job: &Job| !job.reply.is_closed());
        metrics.abandoned(taken - jobs.len());
        if jobs.is_empty() {
            continue;
        }
        let begun = Instant::now();
        let works: Vec<&Work> = jobs.iter().map(|job| &job.work).collect();
        let results = database.commit(&works, clock.now_ms()).await;
        let failure = results.iter().find_map(|result| result.as_ref().err());
        metrics.group_done(jobs.len(), begun.elapsed(), failure);
        failures.say(failure, jobs.len(), Instant::now());
        for (job, result) in jobs.drain(..).zip(results) {
            account(&metrics, &job.work, &result);
            // Whoever asked may have left by now; what is committed is committed.
            let _ = job.reply.send(result);
        }
    }
}

/// Groups that could not be committed as a whole. A full disk fails thousands a minute, and the log may be on that disk.
#[derive(Debug, Default)]
struct Failures {
    said: Option<Instant>,
    unsaid: u64,
}

impl Failures {
    /// What is said at most once in this time.
    const INTERVAL: Duration = Duration::from_secs(1);

    fn say(&mut self, failure: Option<&WriteError>, works: usize, now: Instant) {
        if let Some(error) = failure
            && let Some(unsaid) = self.count(now)
        {
            tracing::error!(works, unsaid, %error, "not all works of a group were committed");
        }
    }

    /// Counts a failure. Where it is to be said: how many before it were not.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < Self::INTERVAL) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(mem::take(&mut self.unsaid))
    }
}

/// Counts here and not where the request waits, because that may be gone.
fn account(metrics: &Metrics, work: &Work, result: &Result<Done, WriteError>) {
    match (work, result) {
        (Work::Push(_), Ok(Done::Push(done))) => metrics.push_committed(done),
        (Work::Push(_), Err(error)) => metrics.push_failed(error),
        (Work::Outcomes(reports), Ok(Done::Outcomes(done))) => {
            metrics.outcomes_committed(reports, done);
            for (report, result) in reports.iter().zip(&done.results) {
                if *result == OutcomeResult::Refused {
                    tracing::warn!(
                        call_id = loggable(&report.call_id),
                        "an outcome was refused: no such call, or another push holds its claim"
                    );
                }
            }
        }
        (Work::Binding(_), Ok(Done::Binding(done))) => metrics.binding_committed(done),
        _ => {}
    }
}

/// A call id is a hash and may be logged; any other text a client sends as one may be anything.
fn loggable(call_id: &str) -> &str {
    let is_id = call_id.len() == 32 && call_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { call_id } else { "(not a call id)" }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Failures;

    #[test]
    fn failures_by_the_thousand_are_said_once_a_second_and_none_is_forgotten() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(failures.count(at(0)), Some(0));
        for milliseconds in 1..1000 {
            assert_eq!(failures.count(at(milliseconds)), None);
        }
        assert_eq!(failures.count(at(1000)), Some(999));
        assert_eq!(failures.count(at(1999)), None);
        assert_eq!(failures.count(at(60_000)), Some(1));
        assert_eq!(failures.count(at(60_001)), None);
    }
}
