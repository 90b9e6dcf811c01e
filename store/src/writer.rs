//! The one writer. Requests queue their works; the writer takes all that wait and commits them together, so that the cost
//! of making a commit durable is shared by everybody who waits for it.
//!
//! It has a thread of its own, because a commit waits for the disk. In memory nothing waits, and it is a task like any other, so that
//! simulations and tests run in one order only.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use privatenumber_contract::{BusinessView, OutcomeReport, WorkRequest};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::database::{
    BindingDone, BindingWork, Database, ImportDone, ImportWork, OutcomeResult, OutcomesDone, ParkedReleaseResult,
    ParkedReleaseWork, PauseWork, PushDone, PushWork, Readiness, ReleaseResult, ReleaseWork, Requester, Slot, Unit,
    Waiting, Work, WorksDone, WriteError,
};
use crate::metrics::Metrics;

/// Once a group has so many works it takes no further request: bounds how long the first of them waits for the last.
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

/// Why the writer ended although requests could still come.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct WriterDied(String);

/// What a work comes to.
type Outcome<W> = Result<<W as Work>::Done, WriteError>;

/// A request's works, and where their results go.
enum Requested {
    Pushes(Vec<Slot<PushWork>>, oneshot::Sender<Vec<Outcome<PushWork>>>),
    Outcomes(Slot<Vec<OutcomeReport>>, oneshot::Sender<Outcome<Vec<OutcomeReport>>>),
    Binding(Box<Slot<BindingWork>>, oneshot::Sender<Outcome<BindingWork>>),
    Release(Slot<ReleaseWork>, oneshot::Sender<Outcome<ReleaseWork>>),
    ParkedRelease(Slot<ParkedReleaseWork>, oneshot::Sender<Outcome<ParkedReleaseWork>>),
    Import(Slot<ImportWork>, oneshot::Sender<Outcome<ImportWork>>),
    Pause(Slot<PauseWork>, oneshot::Sender<Outcome<PauseWork>>),
    Works(Slot<WorkRequest>, oneshot::Sender<Outcome<WorkRequest>>),
    Readiness(Slot<Readiness>, oneshot::Sender<Outcome<Readiness>>),
}

struct Job {
    requested: Requested,
    /// What the works' memory takes of the budget of all requests, for as long as it is held, whoever waits for it.
    _share: Share,
}

/// Hands works to the writer. The writer ends once every handle is gone and the queue is empty.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: mpsc::UnboundedSender<Job>,
    /// How many works are in the queue.
    waiting: Arc<AtomicUsize>,
    /// How many may be.
    room: usize,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// Starts the writer of `database` with a queue of `queue` works. The task ends when the writer does, with an error if the writer
    /// died.
    pub fn start(
        database: Database,
        clock: Clock,
        metrics: Arc<Metrics>,
        queue: usize,
    ) -> (Self, JoinHandle<Result<(), WriterDied>>) {
        let (jobs, queued) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let commits_wait = database.commits_wait();
        let queued = Queue { jobs: queued, waiting: Arc::clone(&waiting), metrics: Arc::clone(&metrics) };
        let committer = Committer {
            database,
            clock,
            metrics: Arc::clone(&metrics),
            failures: OncePerSecond::default(),
            replays: OncePerSecond::default(),
            far_ahead: FarAhead::default(),
        };
        let task =
            if commits_wait { on_a_thread(committer, queued) } else { tokio::spawn(as_a_task(committer, queued)) };
        (Self { jobs, waiting, room: queue.max(1), metrics }, task)
    }

    /// Commits a push.
    ///
    /// # Errors
    /// [`QueueError`]; only after [`WriteError::Unknown`] may something have been committed.
    pub async fn push(&self, work: PushWork, share: Share) -> Result<PushDone, QueueError> {
        let mut results = self.pushes(vec![work], share).await?;
        Ok(results.pop().unwrap_or_else(|| Err(ended_midway()))?)
    }

    /// Commits the pushes of a batch, each for itself. Returns what each came to, in their order.
    ///
    /// # Errors
    /// [`QueueError::Full`] and [`QueueError::Stopping`]: none was taken. [`QueueError::Write`]: the writer died.
    pub async fn pushes(
        &self,
        works: Vec<PushWork>,
        share: Share,
    ) -> Result<Vec<Result<PushDone, WriteError>>, QueueError> {
        let number = works.len();
        let slots = works.into_iter().map(Slot::new).collect();
        self.submit(number, share, |reply| Requested::Pushes(slots, reply)).await
    }

    /// Commits a batch of outcomes.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn outcomes(&self, reports: Vec<OutcomeReport>, share: Share) -> Result<OutcomesDone, QueueError> {
        Ok(self.submit(1, share, |reply| Requested::Outcomes(Slot::new(reports), reply)).await??)
    }

    /// Registers a binding.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn binding(&self, work: BindingWork, share: Share) -> Result<BindingDone, QueueError> {
        Ok(self.submit(1, share, |reply| Requested::Binding(Box::new(Slot::new(work)), reply)).await??)
    }

    /// Releases calls. Returns what became of each, in their order.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn release(&self, work: ReleaseWork, share: Share) -> Result<Vec<ReleaseResult>, QueueError> {
        Ok(self.submit(1, share, |reply| Requested::Release(Slot::new(work), reply)).await??)
    }

    /// Makes a call of a parked CDR.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn release_parked(
        &self,
        work: ParkedReleaseWork,
        share: Share,
    ) -> Result<ParkedReleaseResult, QueueError> {
        Ok(self.submit(1, share, |reply| Requested::ParkedRelease(Slot::new(work), reply)).await??)
    }

    /// Records calls that no push brought. Returns what became of each, in their order.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn import(&self, work: ImportWork, share: Share) -> Result<Vec<ImportDone>, QueueError> {
        Ok(self.submit(1, share, |reply| Requested::Import(Slot::new(work), reply)).await??)
    }

    /// Pauses or resumes a business.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn pause(&self, work: PauseWork) -> Result<BusinessView, QueueError> {
        Ok(self.submit(1, None, |reply| Requested::Pause(Slot::new(work), reply)).await??)
    }

    /// Grants works to a worker.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn works(&self, request: WorkRequest) -> Result<WorksDone, QueueError> {
        Ok(self.submit(1, None, |reply| Requested::Works(Slot::new(request), reply)).await??)
    }

    /// Commits something trivial.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub async fn readiness(&self) -> Result<(), QueueError> {
        Ok(self.submit(1, None, |reply| Requested::Readiness(Slot::new(Readiness), reply)).await??)
    }

    /// Queues a request of `works` works and waits for its results.
    async fn submit<T>(
        &self,
        works: usize,
        share: Share,
        request: impl FnOnce(oneshot::Sender<T>) -> Requested,
    ) -> Result<T, QueueError> {
        let (reply, results) = oneshot::channel();
        // A batch larger than the whole queue is taken when nothing else waits.
        let take = |waiting: usize| {
            let after = waiting.saturating_add(works);
            (waiting == 0 || after <= self.room).then_some(after)
        };
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(QueueError::Full);
        }
        self.metrics.queue_depth.inc_by(signed(works));
        if self.jobs.send(Job { requested: request(reply), _share: share }).is_err() {
            self.waiting.fetch_sub(works, Ordering::Relaxed);
            self.metrics.queue_depth.dec_by(signed(works));
            return Err(QueueError::Stopping);
        }
        results.await.map_err(|_| ended_midway().into())
    }
}

fn ended_midway() -> WriteError {
    WriteError::Unknown("the writer ended in mid-work".to_owned())
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Runs the writer on a thread of its own.
fn on_a_thread(mut committer: Committer, mut queue: Queue) -> JoinHandle<Result<(), WriterDied>> {
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        let mut jobs = Vec::new();
        while let Some(first) = queue.jobs.blocking_recv() {
            queue.take_group(first, &mut jobs);
            committer.commit(&mut jobs);
        }
        let _ = ended.send(());
    });
    tokio::spawn(async move {
        thread.map_err(|error| WriterDied(format!("its thread cannot be started: {error}")))?;
        end.await.map_err(|_| WriterDied("its thread panicked".to_owned()))
    })
}

async fn as_a_task(mut committer: Committer, mut queue: Queue) -> Result<(), WriterDied> {
    let mut jobs = Vec::new();
    while let Some(first) = queue.jobs.recv().await {
        queue.take_group(first, &mut jobs);
        committer.commit(&mut jobs);
    }
    Ok(())
}

/// The writer's end of the queue.
struct Queue {
    jobs: mpsc::UnboundedReceiver<Job>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Fills `jobs` with `first` and whatever else waits, up to [`GROUP_MAX`] works and the request that reaches it.
    fn take_group(&mut self, first: Job, jobs: &mut Vec<Job>) {
        let mut works = first.works();
        jobs.push(first);
        while works < GROUP_MAX
            && let Ok(job) = self.jobs.try_recv()
        {
            works += job.works();
            jobs.push(job);
        }
        self.waiting.fetch_sub(works, Ordering::Relaxed);
        self.metrics.queue_depth.dec_by(signed(works));
    }
}

/// Commits groups and answers their requests.
struct Committer {
    database: Database,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Groups that could not be committed as a whole. A full disk fails thousands a minute, and the log may be on that disk.
    failures: OncePerSecond,
    /// Pushes whose signature came with other texts before: whoever has captured one can send thousands.
    replays: OncePerSecond,
    far_ahead: FarAhead,
}

impl Committer {
    /// Commits `jobs` together and empties it.
    fn commit(&mut self, jobs: &mut Vec<Job>) {
        // Whoever left was promised nothing and asks again. What waited through a stall would otherwise be committed before what
        // somebody waits for, several copies of it, until that is given up as well.
        jobs.retain(|job| {
            let awaited = job.is_awaited();
            if !awaited {
                self.metrics.abandoned(job.works());
            }
            awaited
        });
        if jobs.is_empty() {
            return;
        }
        let begun = Instant::now();
        let mut works = Vec::new();
        for job in jobs.iter_mut() {
            job.add_to(&mut works);
        }
        let number = works.len();
        let dropped = self.database.commit(&mut works, &|recorded_ms| self.clock.now_after(recorded_ms));
        let failure = works.iter().find_map(|waiting| waiting.unit.error()).cloned();
        drop(works);
        self.metrics.group_done(number, begun.elapsed(), failure.as_ref());
        self.metrics.events_dropped(dropped.events);
        if let Some(error) = &failure
            && let Some(unsaid) = self.failures.count(Instant::now())
        {
            tracing::error!(works = number, unsaid, %error, "not all works of a group were committed");
        }
        let ahead_ms = self.clock.read().ahead_ms();
        self.metrics.set_clock_ahead(ahead_ms);
        if self.far_ahead.changes(ahead_ms) {
            self.metrics.clock_far_ahead();
        }
        for job in jobs.drain(..) {
            self.report_replays(&job);
            job.answer(&self.metrics);
        }
    }

    fn report_replays(&mut self, job: &Job) {
        let Requested::Pushes(slots, _) = &job.requested else { return };
        for slot in slots {
            if let Some(Ok(PushDone { replay: Some(replay), .. })) = &slot.result
                && replay.new
                && let Some(unsaid) = self.replays.count(Instant::now())
            {
                tracing::warn!(
                    push_id = %slot.work.push_id,
                    first_push_id = %replay.first_push_id,
                    parked = replay.parked,
                    unsaid,
                    "the signature of a push came with other texts before; GET /v1/replays lists such pushes"
                );
            }
        }
    }
}

impl<T> Requester for oneshot::Sender<T> {
    fn waits(&self) -> bool {
        !self.is_closed()
    }
}

impl Job {
    fn works(&self) -> usize {
        match &self.requested {
            Requested::Pushes(slots, _) => slots.len(),
            _ => 1,
        }
    }

    fn is_awaited(&self) -> bool {
        match &self.requested {
            Requested::Pushes(_, reply) => reply.waits(),
            Requested::Outcomes(_, reply) => reply.waits(),
            Requested::Binding(_, reply) => reply.waits(),
            Requested::Release(_, reply) => reply.waits(),
            Requested::ParkedRelease(_, reply) => reply.waits(),
            Requested::Import(_, reply) => reply.waits(),
            Requested::Pause(_, reply) => reply.waits(),
            Requested::Works(_, reply) => reply.waits(),
            Requested::Readiness(_, reply) => reply.waits(),
        }
    }

    fn add_to<'a>(&'a mut self, works: &mut Vec<Waiting<'a>>) {
        let (unit, requester): (_, &dyn Requester) = match &mut self.requested {
            Requested::Pushes(slots, reply) => {
                works.extend(slots.iter_mut().map(|slot| Waiting { unit: Unit::Push(slot), requester: reply }));
                return;
            }
            Requested::Outcomes(slot, reply) => (Unit::Outcomes(slot), reply),
            Requested::Binding(slot, reply) => (Unit::Binding(slot), reply),
            Requested::Release(slot, reply) => (Unit::Release(slot), reply),
            Requested::ParkedRelease(slot, reply) => (Unit::ParkedRelease(slot), reply),
            Requested::Import(slot, reply) => (Unit::Import(slot), reply),
            Requested::Pause(slot, reply) => (Unit::Pause(slot), reply),
            Requested::Works(slot, reply) => (Unit::Works(slot), reply),
            Requested::Readiness(slot, reply) => (Unit::Readiness(slot), reply),
        };
        works.push(Waiting { unit, requester });
    }

    /// Counts the results and sends them. Counts here and not where the request waits, because that may be gone; whoever asked may have
    /// left by now, and what is committed is committed.
    fn answer(self, metrics: &Metrics) {
        match self.requested {
            Requested::Pushes(slots, reply) => {
                for slot in &slots {
                    match &slot.result {
                        Some(Ok(done)) => metrics.push_committed(done),
                        Some(Err(error)) => metrics.push_failed(error),
                        None => {}
                    }
                }
                let _ = reply.send(slots.into_iter().map(|slot| result(slot, metrics)).collect());
            }
            Requested::Outcomes(slot, reply) => send(slot, reply, metrics, |work, done| {
                metrics.outcomes_committed(work, done);
                report_refused(work, done);
            }),
            Requested::Binding(slot, reply) => {
                send(*slot, reply, metrics, |_, done| metrics.binding_committed(done));
            }
            Requested::Release(slot, reply) => send(slot, reply, metrics, |_, done| metrics.calls_released(done)),
            Requested::ParkedRelease(slot, reply) => {
                send(slot, reply, metrics, |_, done| metrics.parked_released(done));
            }
            Requested::Import(slot, reply) => send(slot, reply, metrics, |_, done| metrics.calls_imported(done)),
            Requested::Works(slot, reply) => send(slot, reply, metrics, |_, done| metrics.works_taken(done)),
            Requested::Pause(slot, reply) => send(slot, reply, metrics, |_, _| {}),
            Requested::Readiness(slot, reply) => send(slot, reply, metrics, |_, _| {}),
        }
    }
}

/// Sends what a work came to, once `count` has counted it if it was done.
fn send<W: Work>(
    slot: Slot<W>,
    reply: oneshot::Sender<Outcome<W>>,
    metrics: &Metrics,
    count: impl FnOnce(&W, &W::Done),
) {
    if let Some(Ok(done)) = &slot.result {
        count(&slot.work, done);
    }
    let _ = reply.send(result(slot, metrics));
}

/// What a work came to. One that was not tried has lost its requester, so nobody reads what is said of it.
fn result<W: Work>(slot: Slot<W>, metrics: &Metrics) -> Outcome<W> {
    slot.result.unwrap_or_else(|| {
        metrics.abandoned(1);
        Err(WriteError::Unavailable("nobody waited for it any more".to_owned()))
    })
}

fn report_refused(reports: &[OutcomeReport], done: &OutcomesDone) {
    for (report, result) in reports.iter().zip(&done.results) {
        if *result == OutcomeResult::Refused {
            tracing::warn!(
                call_id = loggable(&report.call_id),
                "an outcome was refused: no such call, or another push holds its claim"
            );
        }
    }
}

/// What is logged once a second at most.
#[derive(Debug, Default)]
struct OncePerSecond {
    said: Option<Instant>,
    unsaid: u64,
}

impl OncePerSecond {
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Counts an event. Where it is to be logged: how many before it were not.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < Self::INTERVAL) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(mem::take(&mut self.unsaid))
    }
}

/// Whether the store's clock is far ahead of the machine's, because that was set back.
#[derive(Debug, Default)]
struct FarAhead(bool);

impl FarAhead {
    /// More than this is far, milliseconds.
    const FAR_MS: i64 = 60_000;

    /// Takes note of how far it is ahead now, and logs where it becomes far or is no longer; true where it becomes far.
    fn changes(&mut self, ahead_ms: i64) -> bool {
        let was_far = std::mem::replace(&mut self.0, ahead_ms > Self::FAR_MS);
        let ahead_seconds = ahead_ms / 1000;
        if self.0 && !was_far {
            tracing::warn!(
                ahead_seconds,
                "this machine's clock was set back: the store's clock is never, and runs at half speed until the machine's has \
                 caught up; meanwhile claims last up to twice as long"
            );
        } else if was_far && !self.0 {
            tracing::info!(ahead_seconds, "this machine's clock has caught up with the store's");
        }
        self.0 && !was_far
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

    use super::OncePerSecond;

    #[test]
    fn events_by_the_thousand_are_logged_once_a_second_and_none_is_forgotten() {
        let (mut failures, start) = (OncePerSecond::default(), Instant::now());
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
