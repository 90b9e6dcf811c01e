//! Sends pushes, each with its own retries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Answer, Push, PushRequest, RetrySchedule, Signer, Stamp, StampError, Tally, Target};
use crate::lock;
use crate::random::Random;

/// No answer to a push is longer; what is longer counts as a lost connection.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How to push.
#[derive(Debug)]
pub struct PushSettings {
    /// Where to.
    pub target: Target,
    /// By whom.
    pub signer: Signer,
    /// Use this nonce in every attempt instead of a fresh one.
    pub nonce: Option<String>,
    /// Use this time of signing in every attempt instead of the present.
    pub created: Option<String>,
    /// When to push again; `None` never.
    pub retries: Option<RetrySchedule>,
    /// How long an attempt may take, connecting included.
    pub timeout: Duration,
    /// Reuse connections; Huawei does not.
    pub keep_alive: bool,
    /// How many attempts may be under way at once.
    pub concurrency: usize,
    /// Pushes begun per second, whether or not earlier ones were answered; `None` as fast as `concurrency` allows.
    pub rate: Option<f64>,
    /// The share of pushes sent twice, the copy right after the original, 0 to 1.
    pub duplicates: f64,
    /// Decides which pushes are sent twice.
    pub seed: u64,
    /// Hang up this long after the first attempt of each push was written; its retries wait for their answers.
    pub abandon_after: Option<Duration>,
}

impl PushSettings {
    /// As Huawei pushes: fresh stamps, its retry schedule, short connections, 10 s for an answer.
    pub const fn new(target: Target, signer: Signer) -> Self {
        Self {
            target,
            signer,
            nonce: None,
            created: None,
            retries: Some(RetrySchedule::REAL),
            timeout: Duration::from_secs(10),
            keep_alive: false,
            concurrency: 16,
            rate: None,
            duplicates: 0.0,
            seed: 0,
            abandon_after: None,
        }
    }
}

/// Why a run could not go on. What a gateway answers, or fails to answer, is never one of these.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// No random nonce.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The given nonce or time is not in Huawei's form.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// A header that HTTP cannot carry.
    #[error("the push cannot be written as HTTP: {0}")]
    Request(#[from] hyper::http::Error),
    /// A task ended early.
    #[error("a push ended early: {0}")]
    Task(#[from] JoinError),
}

/// Sends pushes and keeps the account.
#[derive(Debug)]
pub struct Pusher {
    settings: PushSettings,
    tally: Tally,
    idle: Mutex<Vec<Connection>>,
}

impl Pusher {
    /// Ready to push.
    pub fn new(settings: PushSettings) -> Arc<Self> {
        Arc::new(Self { settings, tally: Tally::default(), idle: Mutex::default() })
    }

    /// The account so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The next attempt of `push`, signed.
    ///
    /// # Errors
    ///
    /// [`PushError::Random`] or [`PushError::Stamp`].
    pub fn request(&self, push: &Push) -> Result<PushRequest<'_>, PushError> {
        let mut stamp = Stamp::fresh()?;
        if let Some(nonce) = &self.settings.nonce {
            stamp = stamp.with_nonce(nonce)?;
        }
        if let Some(created) = &self.settings.created {
            stamp = stamp.with_created(created)?;
        }
        let PushSettings { target, signer, keep_alive, .. } = &self.settings;
        Ok(PushRequest::sign(target, signer, &stamp, push, *keep_alive))
    }

    /// Sends all `pushes` and returns when each was accepted or given up. Dropping the future hangs up on the rest.
    ///
    /// # Errors
    ///
    /// See [`PushError`].
    pub async fn run(self: &Arc<Self>, pushes: impl IntoIterator<Item = Push>) -> Result<(), PushError> {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let mut random = Random::new(self.settings.seed);
        let mut deliveries = JoinSet::new();
        let mut beat = self.settings.rate.map(|rate| Beat::new(Instant::now(), rate));
        for push in pushes {
            let due = beat.as_mut().map(Beat::next);
            if let Some(due) = due {
                sleep_until(due).await;
            }
            let copies = 1 + usize::from(random.chance(self.settings.duplicates));
            for copy in 0..copies {
                let slot = take(&slots).await;
                self.tally.push_begun(push.cdrs, copy > 0);
                let due = due.unwrap_or_else(Instant::now);
                deliveries.spawn(Arc::clone(self).deliver(push.clone(), due, slot, Arc::clone(&slots)));
            }
            while let Some(ended) = deliveries.try_join_next() {
                ended??;
            }
        }
        while let Some(ended) = deliveries.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// All attempts of one push. A push that waits for its next attempt holds no slot.
    async fn deliver(
        self: Arc<Self>,
        push: Push,
        due: Instant,
        slot: Option<OwnedSemaphorePermit>,
        slots: Arc<Semaphore>,
    ) -> Result<(), PushError> {
        let mut accepted = self.attempt(&push, due, self.settings.abandon_after).await?;
        drop(slot);
        if let Some(retries) = self.settings.retries.filter(|_| !accepted) {
            for offset in retries.offsets() {
                // `None` is a moment no clock reaches: the attempt never comes.
                let Some(due) = due.checked_add(offset) else { std::future::pending().await };
                sleep_until(due).await;
                let slot = take(&slots).await;
                accepted = self.attempt(&push, due, None).await?;
                drop(slot);
                if accepted {
                    break;
                }
            }
        }
        self.tally.push_ended(accepted);
        Ok(())
    }

    /// One attempt; whether it was accepted.
    async fn attempt(&self, push: &Push, due: Instant, abandon_after: Option<Duration>) -> Result<bool, PushError> {
        let request = self.request(push)?;
        let time_limit = self.settings.timeout;
        let (answer, body) = if let Some(after) = abandon_after {
            let ended = timeout(time_limit, self.abandon(request.to_wire(), after)).await;
            (ended.unwrap_or(Answer::TimedOut), Bytes::new())
        } else {
            let ended = timeout(time_limit, self.exchange(request.to_hyper()?)).await;
            ended.unwrap_or((Answer::TimedOut, Bytes::new()))
        };
        self.tally.attempt_ended(answer, body, due.elapsed());
        Ok(answer.is_accepted())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> (Answer, Bytes) {
        let lost = (Answer::ConnectionLost, Bytes::new());
        let Some(mut connection) = self.connection().await else { return (Answer::NoConnection, Bytes::new()) };
        let Ok(response) = connection.sender.send_request(request).await else { return lost };
        let status = Answer::Status(response.status().as_u16());
        let Ok(body) = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await else { return lost };
        if self.settings.keep_alive {
            lock(&self.idle).push(connection);
        }
        (status, body.to_bytes())
    }

    /// An idle connection that still works, else a new one.
    async fn connection(&self) -> Option<Connection> {
        loop {
            let Some(mut connection) = lock(&self.idle).pop() else { break };
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
        let stream = self.connect().await?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.ok()?;
        let driver = tokio::spawn(async move {
            // Its error reaches the sender as well.
            let _ = driver.await;
        });
        Some(Connection { sender, driver: driver.abort_handle() })
    }

    async fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(self.settings.target.endpoint()).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(stream)
    }

    /// Writes the request and hangs up without reading anything.
    async fn abandon(&self, wire: Vec<u8>, after: Duration) -> Answer {
        let Some(mut stream) = self.connect().await else { return Answer::NoConnection };
        if stream.write_all(&wire).await.is_err() {
            return Answer::ConnectionLost;
        }
        sleep(after).await;
        Answer::Abandoned
    }
}

/// `None` only if the semaphore were closed, which nobody does.
async fn take(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(slots).acquire_owned().await.ok()
}

/// The moments at which pushes are due at a fixed rate, counted from the start so that no delay adds up.
struct Beat {
    start: Instant,
    seconds_each: f64,
    number: u32,
}

impl Beat {
    fn new(start: Instant, rate: f64) -> Self {
        Self { start, seconds_each: 1.0 / rate, number: 0 }
    }

    fn next(&mut self) -> Instant {
        let offset = Duration::try_from_secs_f64(self.seconds_each * f64::from(self.number)).unwrap_or_default();
        self.number = self.number.saturating_add(1);
        self.start.checked_add(offset).unwrap_or(self.start)
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the socket at once, also in the middle of an answer.
        self.driver.abort();
    }
}
