//! Load: as much as the arm takes, or so much a second whatever the arm does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use privatenumber_sim::random::Random;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arm::{Arm, Running};
use crate::cores::Used;
use crate::pushes::{Push, Pushes};
use crate::sinks::{Counts, Sinks};

/// Connections that push at the same time when the arm is to have as much as it takes.
const CONNECTIONS: u64 = 32;
/// Calls that may be without a callback, or without an outcome, at the same time before pushers wait: an arm that answers
/// first and calls back later is to be as busy as it can, not to refuse pushes because too much is pending.
const MOST_OPEN_CALLS: u64 = 2_000;
/// Calls that may be called back and without an outcome all the same: a batch of outcomes that fills, and one on its way.
const BATCHED: u64 = 200;
/// How long everything may take to arrive once the last push is answered.
const PATIENCE: Duration = Duration::from_secs(90);

/// A connection to an arm.
struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot switch off Nagle's algorithm")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("no HTTP")?;
        tokio::task::spawn_local(async move {
            // The next request on it tells of the end.
            let _ = connection.await;
        });
        Ok(Self(sender))
    }

    /// Sends all requests of a push, one after the other; each must be answered 200.
    async fn push(&mut self, push: Push) -> Result<()> {
        for request in push.requests {
            self.0.ready().await.context("the connection was closed")?;
            let answer = self.0.send_request(request).await.context("no answer")?;
            let status = answer.status();
            let body = answer.into_body().collect().await.context("the answer was cut off")?.to_bytes();
            ensure!(status == 200, "a push was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Pushes, all answered 200, with all their callbacks and outcomes.
    pub pushes: u64,
    /// Until the last callback and outcome had arrived.
    pub elapsed: Duration,
    /// The arm's time on its core.
    pub cpu: Duration,
    /// Requests that carried pushes; 0 where the real store has them.
    pub push_requests: u64,
    /// Requests that carried outcomes; 0 where the real store has them.
    pub outcome_requests: u64,
}

impl Done {
    /// Microseconds of the arm's core for a push.
    pub fn cpu_per_push(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.pushes.max(1) as f64
    }

    /// Pushes a second.
    pub fn rate(&self) -> f64 {
        self.pushes as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Times of one load at a given rate.
#[derive(Clone, Debug)]
pub struct Times {
    /// What it came to.
    pub done: Done,
    /// From the moment a push was due until it was answered; sorted.
    pub answers: Vec<Duration>,
    /// From the moment a push was due until its first callback arrived; sorted.
    pub callbacks: Vec<Duration>,
}

/// Pushes of `size` CDRs over kept connections for `duration`, each as soon as the one before is answered.
///
/// # Errors
///
/// When a push is not answered 200, or a callback or an outcome is missing or too many.
pub async fn saturate(running: &mut Running, sinks: &Sinks, size: usize, duration: Duration) -> Result<Done> {
    let address = running.gateway.address().to_owned();
    let pushes = Rc::new(RefCell::new(Pushes::new(running.arm, size, running.next_seed())?));
    let sent = Rc::new(Cell::new(0_u64));
    let meter = Meter::start(running, sinks).await?;
    let (end, calls) = (Instant::now() + duration, Calls::none_yet(running.arm, size, sinks));
    let mut pushers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, pushes, sent, sinks) = (address.clone(), Rc::clone(&pushes), Rc::clone(&sent), sinks.clone());
        pushers.spawn_local(async move {
            let mut connection = Connection::open(&address).await?;
            while Instant::now() < end {
                while calls.open(sent.get(), &sinks) > MOST_OPEN_CALLS {
                    ensure!(end.elapsed() < PATIENCE, "callbacks or outcomes stay away");
                    tokio::task::yield_now().await;
                }
                let push = pushes.borrow_mut().next()?;
                sent.set(sent.get() + 1);
                connection.push(push).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = pushers.join_next().await {
        ended.context("a pusher ended")??;
    }
    meter.stop(running, sinks, size, sent.get()).await
}

/// Load that does not wait for the arm.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// CDRs in a push.
    pub size: usize,
    /// Pushes a second, on average.
    pub rate: f64,
    /// How long pushes come before those that count.
    pub ramp: Duration,
    /// How long those come that count.
    pub duration: Duration,
    /// Pushes without an answer, or calls without callback or outcome, with which the next push waits. Its time counts all the
    /// same: an arm that has fallen behind is to catch up with what is due, and not to spend itself on ever more connections.
    pub most_open: u64,
}

/// Pushes at moments of their own, whether the arm keeps up or not. Times count from the moment a push was due.
///
/// # Errors
///
/// As for [`saturate`].
pub async fn at_rate(running: &mut Running, sinks: &Sinks, pace: Pace) -> Result<Times> {
    let Pace { size, rate, ramp, duration, most_open } = pace;
    let address = running.gateway.address().to_owned();
    let mut pushes = Pushes::new(running.arm, size, running.next_seed())?;
    let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let answers: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let mut random = Random::new(3);
    let meter = Meter::start(running, sinks).await?;
    let mut under_way = JoinSet::new();
    let (mut due, mut sent) = (Instant::now(), 0);
    let counted = due + ramp;
    let end = counted + duration;
    let calls = Calls::none_yet(running.arm, size, sinks);
    loop {
        due += pause(&mut random, rate);
        if due >= end {
            break;
        }
        // The runtime's timers are too coarse; this core is the driver's own, so it may spin.
        let crowded =
            |pushes: usize| pushes as u64 > most_open || calls.open(sent, sinks) > most_open.saturating_add(BATCHED);
        while Instant::now() < due || crowded(under_way.len()) {
            ensure!(due.elapsed() < PATIENCE, "answers, callbacks or outcomes stay away");
            tokio::task::yield_now().await;
            while let Some(ended) = under_way.try_join_next() {
                ended.context("a pusher ended")??;
            }
        }
        let push = pushes.next()?;
        if due >= counted {
            sinks.expect(push.session_id.clone(), due);
        }
        sent += 1;
        let (address, idle, answers) = (address.clone(), Rc::clone(&idle), Rc::clone(&answers));
        under_way.spawn_local(async move {
            let kept = idle.borrow_mut().pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&address).await?,
            };
            connection.push(push).await?;
            if due >= counted {
                answers.borrow_mut().push(due.elapsed());
            }
            idle.borrow_mut().push(connection);
            anyhow::Ok(())
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended.context("a pusher ended")??;
    }
    let done = meter.stop(running, sinks, size, sent).await?;
    let (mut answers, mut callbacks) = (answers.take(), sinks.delays());
    answers.sort_unstable();
    callbacks.sort_unstable();
    Ok(Times { done, answers, callbacks })
}

/// Time between two pushes that know nothing of each other.
fn pause(random: &mut Random, rate: f64) -> Duration {
    let share = (random.below(1 << 32) as f64 + 1.0) / (1_u64 << 32) as f64;
    Duration::from_secs_f64(-share.ln() / rate)
}

/// The calls of a load.
#[derive(Clone, Copy)]
struct Calls {
    size: u64,
    /// Of the sinks' own counts: the real store is not asked while there is load.
    have_outcomes: bool,
    before: Counts,
}

impl Calls {
    fn none_yet(arm: Arm, size: usize, sinks: &Sinks) -> Self {
        let have_outcomes = arm.reports_outcomes() && !arm.has_store();
        Self { size: size as u64, have_outcomes, before: sinks.counts() }
    }

    /// How many of those in `pushes` pushes are without a callback, or without an outcome where the sinks have any.
    fn open(self, pushes: u64, sinks: &Sinks) -> u64 {
        let arrived = sinks.counts() - self.before;
        let finished = if self.have_outcomes { arrived.callbacks.min(arrived.outcomes) } else { arrived.callbacks };
        (pushes * self.size).saturating_sub(finished)
    }
}

/// Counts from one moment on.
struct Meter {
    began: Instant,
    used: Used,
    counts: Counts,
}

impl Meter {
    async fn start(running: &mut Running, sinks: &Sinks) -> Result<Self> {
        let counts = running.arrived(sinks).await?;
        Ok(Self { began: Instant::now(), used: running.used()?, counts })
    }

    /// Waits until everything that `pushes` pushes lead to has arrived.
    async fn stop(self, running: &mut Running, sinks: &Sinks, size: usize, pushes: u64) -> Result<Done> {
        let calls = pushes * size as u64;
        let outcomes = if running.arm.reports_outcomes() { calls } else { 0 };
        let deadline = Instant::now() + PATIENCE;
        while (sinks.counts() - self.counts).callbacks < calls && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        loop {
            let Counts { callbacks, outcomes: reported, .. } = running.arrived(sinks).await? - self.counts;
            if (callbacks, reported) == (calls, outcomes) {
                break;
            }
            if callbacks > calls || reported > outcomes || Instant::now() > deadline {
                bail!("{:?}: {calls} calls, but {callbacks} callbacks and {reported} outcomes", running.arm);
            }
            if running.arm.has_store() {
                // It is not to be busy with being asked.
                tokio::time::sleep(Duration::from_millis(10)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        let elapsed = self.began.elapsed();
        // What is left to do is the arm's own tidying up after the last answer.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let used = running.used()?;
        let arrived = running.arrived(sinks).await? - self.counts;
        ensure!(arrived.invalid == 0, "{:?} sent requests that keep no contract", running.arm);
        ensure!(arrived.pushes == pushes, "{:?} recorded more or less than was pushed", running.arm);
        let Counts { push_requests, outcome_requests, .. } = arrived;
        Ok(Done { pushes, elapsed, cpu: used.cpu - self.used.cpu, push_requests, outcome_requests })
    }
}
