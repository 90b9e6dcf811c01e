//! Huawei: pushes every CDR until it is answered 200, on a schedule made faster, in batches that regroup, now and then to
//! both gateways at once, again after a 200, or hanging up in mid-push. Now and then hundreds of pushes come slowly, all at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::huawei as platform;
use harness::raw::Connection;
use privatenumber_sim::clock;
use privatenumber_sim::huawei::RetrySchedule;
use privatenumber_sim::random::Random;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::calls::{Attempt, Calls, Cdr};

/// Huawei's 1, 4, 9, 106, 203 and 300 minutes become 0.1 to 30 seconds.
const TIME_SCALE: f64 = 600.0;
/// Huawei gives up after the sixth repetition; here it goes on, so that every CDR is accepted in the end.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// How long Huawei waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How often what is due is looked for.
const BEAT: Duration = Duration::from_millis(20);
/// The most CDRs of one push.
const LARGEST_PUSH: usize = 50;
/// Pushes of a crowd, which are held while they arrive: at least these, at most twice as many.
const CROWD: usize = 200;
/// From one crowd to the next.
const CROWD_EVERY: (u64, u64) = (8_000, 20_000);
/// How long a push of a crowd takes to arrive.
const ARRIVES_WITHIN: (u64, u64) = (500, 4_000);

/// A CDR that waits for its next push.
struct Waiting {
    cdr: Arc<Cdr>,
    /// Its text; gone with the last push.
    json: String,
    /// How many pushes it has had.
    pushes: usize,
}

/// See the [module](self).
pub struct Huawei {
    platform: platform::Huawei,
    urls: Vec<String>,
    seed: u64,
    cdrs: Mutex<Vec<Arc<Cdr>>>,
    waiting: Mutex<BTreeMap<(Instant, u64), Waiting>>,
    answers: Mutex<BTreeMap<String, u64>>,
    pushes: AtomicU64,
    accepted: AtomicU64,
    arrivals: AtomicU64,
    slow: AtomicU64,
}

impl Huawei {
    /// One that pushes to these addresses.
    pub fn new(urls: Vec<String>, seed: u64) -> Result<Arc<Self>> {
        ensure!(!urls.is_empty(), "there is no gateway to push to");
        Ok(Arc::new(Self {
            platform: platform::Huawei::demo()?,
            urls,
            seed,
            cdrs: Mutex::default(),
            waiting: Mutex::default(),
            answers: Mutex::default(),
            pushes: AtomicU64::default(),
            accepted: AtomicU64::default(),
            arrivals: AtomicU64::default(),
            slow: AtomicU64::default(),
        }))
    }

    /// Pushes new calls until `end`, at `rate` pushes per second, and then goes on until everything is accepted or the
    /// task is dropped.
    pub async fn push_until(self: Arc<Self>, end: Instant, rate: f64) -> Result<()> {
        let mut random = Random::new(self.seed ^ 0x4A1E);
        let mut calls = Calls::new(self.seed);
        let mut pushes = JoinSet::new();
        let began = Instant::now();
        let mut begun = 0.0;
        let mut beat = tokio::time::interval(BEAT);
        let mut crowd_at = began + between(&mut random, CROWD_EVERY);
        loop {
            beat.tick().await;
            while pushes.try_join_next().is_some() {}
            let now = Instant::now();
            if now < end && now >= crowd_at {
                crowd_at = now + between(&mut random, CROWD_EVERY);
                for _ in 0..CROWD + number(&mut random, CROWD) {
                    let fresh = self.fresh(&mut calls, 1)?;
                    pushes.spawn(Arc::clone(&self).push(fresh, Manner::slow(&mut random, self.urls.len())));
                }
            }
            while now < end && begun < now.duration_since(began).as_secs_f64() * rate {
                begun += 1.0;
                // Mostly small, now and then as large as Huawei makes them.
                let count = if random.chance(0.02) { LARGEST_PUSH } else { 1 + number(&mut random, 8) };
                let fresh = self.fresh(&mut calls, count)?;
                pushes.spawn(Arc::clone(&self).push(fresh, Manner::draw(&mut random, self.urls.len())));
            }
            for batch in self.due(now, &mut random) {
                pushes.spawn(Arc::clone(&self).push(batch, Manner::draw(&mut random, self.urls.len())));
            }
            if now >= end && pushes.is_empty() && lock(&self.waiting).is_empty() {
                return Ok(());
            }
        }
    }

    /// CDRs that were never pushed.
    fn fresh(&self, calls: &mut Calls, count: usize) -> Result<Vec<Waiting>> {
        let fresh = (0..count).map(|_| {
            let (cdr, json) = calls.next()?;
            Ok(Waiting { cdr: Arc::new(cdr), json, pushes: 0 })
        });
        let fresh = fresh.collect::<Result<Vec<_>>>()?;
        lock(&self.cdrs).extend(fresh.iter().map(|waiting| Arc::clone(&waiting.cdr)));
        Ok(fresh)
    }

    /// What is to be pushed again by now, mixed and grouped anew.
    fn due(&self, now: Instant, random: &mut Random) -> Vec<Vec<Waiting>> {
        let mut due: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            let later = waiting.split_off(&(now, u64::MAX));
            std::mem::replace(&mut *waiting, later).into_values().collect()
        };
        let mut batches = Vec::new();
        while !due.is_empty() {
            let size = (1 + number(random, LARGEST_PUSH)).min(due.len());
            let batch = (0..size).map(|_| due.swap_remove(number(random, due.len()))).collect();
            batches.push(batch);
        }
        batches
    }

    async fn push(self: Arc<Self>, batch: Vec<Waiting>, manner: Manner) {
        let cdrs: Vec<_> = batch.iter().map(|waiting| waiting.json.as_str()).collect();
        let body = format!(r#"{{"eventType":"fee","feeLst":[{}]}}"#, cdrs.join(","));
        let other = async {
            match manner.other_gateway {
                Some(gateway) => self.attempt(gateway, &batch, &body, Pace::AtOnce).await,
                None => false,
            }
        };
        let (first, second) = tokio::join!(self.attempt(manner.gateway, &batch, &body, manner.pace), other);
        let is_accepted = first || second;
        for waiting in batch {
            let pushes = waiting.pushes + 1;
            if is_accepted {
                if waiting.cdr.accept() {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    if let Some(again) = manner.again {
                        self.wait(Waiting { pushes, ..waiting }, again);
                    }
                }
            } else {
                let schedule = RetrySchedule::faster(TIME_SCALE);
                let pause = schedule.and_then(|schedule| pause(schedule, waiting.pushes)).unwrap_or(AFTERWARDS);
                self.wait(Waiting { pushes, ..waiting }, pause);
            }
        }
    }

    fn wait(&self, waiting: Waiting, pause: Duration) {
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert((Instant::now() + pause, arrival), waiting);
    }

    /// One push; whether it was answered 200, and with the body that means it.
    async fn attempt(&self, gateway: usize, batch: &[Waiting], body: &str, pace: Pace) -> bool {
        let Some(url) = self.urls.get(gateway) else { return false };
        let began_at = clock::epoch_millis();
        for waiting in batch {
            waiting.cdr.attempt(Attempt { gateway, began_at });
        }
        self.pushes.fetch_add(1, Ordering::Relaxed);
        let exchange = async {
            if let Pace::Slow(within) = pace {
                self.slow.fetch_add(1, Ordering::Relaxed);
                return self.push_slowly(url, body, within).await;
            }
            let answer = self.platform.push(url, body.to_owned()).await?;
            Ok((answer.status.as_u16(), answer.text()))
        };
        let limit = match pace {
            Pace::AtOnce => TIMEOUT,
            Pace::Slow(within) => TIMEOUT + within,
            Pace::HangsUpAfter(limit) => limit,
        };
        let (answer, accepted) = match tokio::time::timeout(limit, exchange).await {
            Ok(Ok((200, text))) if !text.contains(r#""resultcode":"0""#) => {
                ("200 that is not the gateway's".to_owned(), false)
            }
            Ok(Ok((status, _))) => (status.to_string(), status == 200),
            Ok(Err(_)) => ("no answer".to_owned(), false),
            Err(_) if matches!(pace, Pace::HangsUpAfter(_)) => ("hung up".to_owned(), false),
            Err(_) => ("timed out".to_owned(), false),
        };
        *lock(&self.answers).entry(answer).or_default() += 1;
        accepted
    }

    /// One push whose body arrives in four parts; the status and text of its answer.
    async fn push_slowly(&self, url: &str, body: &str, within: Duration) -> Result<(u16, String)> {
        const PARTS: usize = 4;
        let address = url.trim_start_matches("http://").trim_end_matches(platform::PUSH_PATH);
        let mut connection = Connection::open(address).await?;
        connection.send(self.platform.head()?.header("content-length", body.len().to_string()).end()).await?;
        for part in body.as_bytes().chunks(body.len().div_ceil(PARTS).max(1)) {
            tokio::time::sleep(within / u32::try_from(PARTS)?).await;
            connection.send(part).await?;
        }
        let answer = connection.answer().await?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// How far it is, in a few words.
    pub fn progress(&self) -> String {
        let cdrs = lock(&self.cdrs).len();
        let accepted = self.accepted.load(Ordering::Relaxed);
        format!("{} pushes, {cdrs} CDRs, {accepted} accepted", self.pushes())
    }

    /// All CDRs ever pushed.
    pub fn cdrs(&self) -> Vec<Arc<Cdr>> {
        lock(&self.cdrs).clone()
    }

    /// Pushes sent, repetitions and all.
    pub fn pushes(&self) -> u64 {
        self.pushes.load(Ordering::Relaxed)
    }

    /// Pushes that were sent slowly.
    pub fn slow_pushes(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    /// How many CDRs are not accepted yet.
    pub fn missing(&self) -> usize {
        lock(&self.cdrs).iter().filter(|cdr| !cdr.is_accepted()).count()
    }

    /// How often each answer came.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        lock(&self.answers).clone()
    }
}

/// The pause before the repetition that follows `pushes` earlier repetitions.
fn pause(schedule: RetrySchedule, pushes: usize) -> Option<Duration> {
    let mut offsets = schedule.offsets();
    let before = if pushes == 0 { Some(Duration::ZERO) } else { offsets.nth(pushes - 1) };
    Some(offsets.next()?.saturating_sub(before?))
}

/// How fast a push goes out, and whether its sender stays for the answer.
#[derive(Clone, Copy)]
enum Pace {
    AtOnce,
    /// It takes so long to arrive.
    Slow(Duration),
    /// Its sender hangs up after this time.
    HangsUpAfter(Duration),
}

/// How a push goes out, drawn before it does.
struct Manner {
    gateway: usize,
    /// Also to this one, at the same moment.
    other_gateway: Option<usize>,
    pace: Pace,
    /// Once more after it was accepted.
    again: Option<Duration>,
}

impl Manner {
    fn draw(random: &mut Random, gateways: usize) -> Self {
        let gateway = number(random, gateways);
        let is_double = random.chance(0.1);
        let hangs_up = random.chance(0.03);
        let hang_up = Duration::from_millis(1 + random.below(30));
        let comes_again = random.chance(0.03);
        let again = Duration::from_millis(random.below(20_000));
        Self {
            gateway,
            other_gateway: is_double.then(|| (gateway + 1) % gateways.max(1)),
            pace: if hangs_up { Pace::HangsUpAfter(hang_up) } else { Pace::AtOnce },
            again: comes_again.then_some(again),
        }
    }

    /// One of a crowd.
    fn slow(random: &mut Random, gateways: usize) -> Self {
        let gateway = number(random, gateways);
        Self { gateway, other_gateway: None, pace: Pace::Slow(between(random, ARRIVES_WITHIN)), again: None }
    }
}

/// A span of at least and at most so many milliseconds.
fn between(random: &mut Random, (shortest, longest): (u64, u64)) -> Duration {
    Duration::from_millis(shortest + random.below(longest.saturating_sub(shortest) + 1))
}

fn number(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use privatenumber_sim::huawei::RetrySchedule;

    use super::{TIME_SCALE, pause};

    #[test]
    fn pauses_are_the_gaps_of_huaweis_schedule() {
        let schedule = RetrySchedule::faster(TIME_SCALE).unwrap();
        let pauses: Vec<_> = (0..7).map(|pushes| pause(schedule, pushes).map(|pause| pause.as_millis())).collect();
        assert_eq!(pauses, [Some(100), Some(300), Some(500), Some(9_700), Some(9_700), Some(9_700), None]);
        assert!(Duration::from_secs(60) > super::AFTERWARDS);
    }
}
