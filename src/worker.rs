//! One worker of the gateway: takes the events of its streams and the answers to its requests, and tells its host what to do.
//!
//! Here is decided when the worker is woken, how often its timer ticks, when metrics are told to the host, and how draining
//! ends. A stream's events go through these methods alone, so none can be forgotten.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use privatenumber_contract::PushId;

use crate::config::Config;
use crate::dispatcher::{Dispatcher, Gauges, HttpAnswer};
use crate::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, is_push};
use crate::host::Host;
use crate::journal::{Event, Level};
use crate::log::{self, LogLimit};
use crate::metrics::{self, Counter, Gauge, Metric};
use crate::now::Now;
use crate::streams::StreamId;

/// A wake-up that was asked for and has not come after this time is asked for again, milliseconds.
const WAKE_PATIENCE_MS: u64 = 100;

/// The host is told of counters and gauges this long after they changed, milliseconds: telling is dearer than counting.
const TELL_AFTER_MS: u64 = 100;

/// How many streams are answered in one call of the host. Envoy gives the replies once the call is over, each from within the one
/// before: some three hundred of them overflow the VM's stack, which traps it.
const REPLIES_MOST: usize = 32;

/// How long the host's log level is trusted, milliseconds.
const LOG_LEVEL_TRUST_MS: u64 = 100;

/// How often a draining worker looks whether it is idle, milliseconds, should the wake-up that a stream's end asks for get lost.
const DRAIN_TICK_MS: u64 = 500;

/// See the [module](self).
pub struct Worker<H> {
    config: Rc<Config>,
    host: H,
    dispatcher: RefCell<Dispatcher>,
    /// The moment at which the clock was last looked at.
    lately: Cell<Now>,
    untold: Untold,
    /// The gauges as they are counted.
    gauges: Cell<Gauges>,
    /// The monotonic moment at which the host is to be told what is untold, if there is anything.
    tell_at: Cell<Option<u64>>,
    /// The pending calls that the host knows of.
    told_pending: Cell<usize>,
    log_limit: RefCell<LogLimit>,
    /// The least level that is logged, and the monotonic moment it was asked for.
    log_level: Cell<Option<(Option<Level>, u64)>>,
    /// The monotonic moment the wake-up was asked for, until it comes.
    wake_asked_at: Cell<Option<u64>>,
    /// How many streams were answered in this call of the host.
    replied: Cell<usize>,
    /// The timer's period and the monotonic moment of its next tick, while it runs.
    timer: Cell<Option<(u64, u64)>>,
    draining: Cell<bool>,
    /// Whether requests reach it.
    is_serving: Cell<bool>,
}

/// What counters and gauges have moved by since the host was told.
struct Untold {
    counters: [Cell<i64>; Counter::ALL.len()],
    gauges: [Cell<i64>; Gauge::ALL.len()],
    /// By the business's number, then as [`metrics::CALLBACKS`]; empty where businesses are not counted.
    businesses: Vec<[Cell<i64>; metrics::CALLBACKS.len()]>,
    /// The numbers of businesses of which there is something untold.
    changed: RefCell<Vec<usize>>,
}

impl Untold {
    /// Nothing has moved.
    fn new(config: &Config) -> Self {
        let counted = config.businesses.all().iter().filter(|_| config.business_metrics);
        Self {
            counters: [const { Cell::new(0) }; Counter::ALL.len()],
            gauges: [const { Cell::new(0) }; Gauge::ALL.len()],
            businesses: counted.map(|_| Default::default()).collect(),
            changed: RefCell::default(),
        }
    }
}

impl<H: Host> Worker<H> {
    /// A worker without work.
    pub fn new(config: Rc<Config>, host: H) -> Self {
        let now = host.now();
        let worker = Self {
            dispatcher: RefCell::new(Dispatcher::new(Rc::clone(&config))),
            untold: Untold::new(&config),
            config,
            host,
            lately: Cell::new(now),
            gauges: Cell::default(),
            tell_at: Cell::default(),
            told_pending: Cell::default(),
            log_limit: RefCell::default(),
            log_level: Cell::default(),
            wake_asked_at: Cell::default(),
            replied: Cell::default(),
            timer: Cell::default(),
            draining: Cell::default(),
            is_serving: Cell::default(),
        };
        worker.publish(now);
        worker.tell();
        worker
    }

    /// Its host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How much of everything there is.
    pub fn gauges(&self) -> Gauges {
        self.dispatcher.borrow().gauges()
    }

    /// The headers of a request have come on `stream`, whose exchange is `exchange`. `is_end` says that there is no body.
    pub fn request_headers<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        exchange: &mut Exchange,
        stream: StreamId,
        headers: &[(N, V)],
        is_end: bool,
    ) -> AtHeaders {
        if !self.is_serving.replace(true) {
            self.serve();
        }
        // What is not a push must not even cost a look at the clock.
        if !is_push(&self.config, headers) {
            return AtHeaders::LeaveAlone;
        }
        let now = self.now();
        let decision = {
            let mut dispatcher = self.dispatcher.borrow_mut();
            exchange.request_headers(&self.config, &mut dispatcher, stream, headers, is_end, now)
        };
        self.follow_up(now);
        decision
    }

    /// The first request has come: from now on the worker takes works.
    ///
    /// Not before: Envoy configures a VM for trial and one of its main thread as well, which no request ever reaches.
    fn serve(&self) {
        if self.config.store.work_interval_ms > 0 {
            let now = self.now();
            let bytes = self.host.random().unwrap_or_default();
            self.dispatcher.borrow_mut().take_works(u128::from_be_bytes(bytes), now);
            self.schedule(now);
        }
    }

    /// More of the request's body has come; it has `size` bytes so far.
    pub fn request_body(&self, exchange: &mut Exchange, size: usize) -> AtBody {
        // Nothing is measured here, and the clock is a hostcall.
        let now = self.lately.get();
        let decision = exchange.request_body(&self.config, &mut self.dispatcher.borrow_mut(), size, now);
        self.follow_up(now);
        decision
    }

    /// The request's body is complete, with its last chunk or with trailers.
    pub fn request_end<'e>(&self, exchange: &'e mut Exchange, body: &[u8]) -> AtEnd<'e> {
        let now = self.now();
        let push_id = self.host.random().map(PushId::from_bytes);
        let decision = exchange.request_end(&self.config, &mut self.dispatcher.borrow_mut(), body, push_id, now);
        self.follow_up(now);
        decision
    }

    /// Whether the response's headers matter to the stream. They do not where the worker itself gave the reply.
    pub fn awaits_response(&self, exchange: &mut Exchange) -> bool {
        exchange.awaits_response(&self.dispatcher.borrow())
    }

    /// The response's headers have come. `is_end` says that there is no body.
    pub fn response_headers(
        &self,
        exchange: &mut Exchange,
        status: Option<u16>,
        content_type: Option<&[u8]>,
        committed: Option<&[u8]>,
        is_end: bool,
    ) -> AtResponse {
        let now = self.now();
        let decision = {
            let mut dispatcher = self.dispatcher.borrow_mut();
            exchange.response_headers(&mut dispatcher, status, content_type, committed, is_end, now)
        };
        self.follow_up(now);
        decision
    }

    /// The response's body is complete. Returns what it is to become, if anything.
    pub fn response_end(&self, exchange: &mut Exchange, body: &[u8]) -> Option<Cow<'static, [u8]>> {
        let now = self.now();
        let replacement = exchange.response_end(&mut self.dispatcher.borrow_mut(), body, now);
        self.follow_up(now);
        replacement
    }

    /// The stream is over, in whatever way.
    pub fn stream_ended(&self, exchange: &mut Exchange) {
        if self.awaits_response(exchange) {
            let now = self.now();
            exchange.gone(&mut self.dispatcher.borrow_mut(), now);
            self.follow_up(now);
        }
    }

    /// Whether the answer known by `token` is a business's.
    pub fn is_callback(&self, token: u32) -> bool {
        self.dispatcher.borrow().is_callback(token)
    }

    /// The answer to the request known by `token` has come, or what takes its place. Called from where requests can be dispatched.
    pub fn response(&self, token: u32, answer: &HttpAnswer<'_>) {
        let now = self.now();
        self.dispatcher.borrow_mut().answered(token, answer, now);
        self.work(now);
    }

    /// The wake-up that [`Host::wake`] was asked for.
    pub fn woken(&self) {
        self.wake_asked_at.set(None);
        self.work(self.now());
    }

    /// The timer that [`Host::set_timer`] was asked for.
    pub fn tick(&self) {
        let now = self.now();
        if let Some((period_ms, _)) = self.timer.get() {
            self.timer.set(Some((period_ms, now.monotonic_ms.saturating_add(period_ms))));
        }
        self.work(now);
        // Only here is the timer slowed down: events come far more often than ticks, and each change is a hostcall.
        let period_ms = self.pause(now).map_or(0, period_of);
        if self.timer.get().map_or(0, |(running, _)| running) != period_ms {
            self.set_timer(period_ms, now);
        }
    }

    /// The configuration is being replaced. Returns whether nothing is pending; otherwise [`Host::drained`] is called once that is
    /// so.
    pub fn drain(&self) -> bool {
        self.draining.set(true);
        let now = self.now();
        self.dispatcher.borrow_mut().drain();
        self.pump(now);
        let is_idle = self.dispatcher.borrow().is_idle();
        if is_idle {
            self.draining.set(false);
            self.log_withheld(u64::MAX);
            self.tell();
        }
        is_idle
    }

    /// This moment.
    fn now(&self) -> Now {
        let now = self.host.now();
        self.lately.set(now);
        now
    }

    fn work(&self, now: Now) {
        self.pump(now);
        if self.draining.get() && self.dispatcher.borrow().is_idle() {
            self.draining.set(false);
            self.dispatcher.borrow_mut().note(Event::Drained);
            self.publish(now);
            self.log_withheld(u64::MAX);
            self.tell();
            self.set_timer(0, now);
            self.host.drained();
        }
    }

    /// Called after a stream's event: publishes what happened, and sees to it that the worker is woken if there is work for it. The
    /// requests themselves cannot leave from here, because their answers would go to the stream, nor can other streams be answered.
    fn follow_up(&self, now: Now) {
        self.publish(now);
        self.schedule(now);
    }

    /// Sees to it that the worker is called again when it has something to do.
    fn schedule(&self, now: Now) {
        let pause = self.pause(now);
        if pause == Some(0) && self.ask_wake_up(now) {
            return;
        }
        self.tick_within(pause, now);
    }

    /// Sends all that is to leave.
    fn pump(&self, now: Now) {
        self.replied.set(0);
        self.look_into_unshown(now);
        self.dispatcher.borrow_mut().end_patience(now);
        // Streams first: their answers are ready, and requests take time to leave.
        self.answer_streams();
        self.begin_works(now);
        loop {
            // Taken out before the host is asked: nothing may be borrowed while it is at work.
            let Some(request) = self.dispatcher.borrow_mut().poll(now) else { break };
            let result = self.host.dispatch(&request);
            let mut dispatcher = self.dispatcher.borrow_mut();
            match result {
                Ok(token) => dispatcher.sent(request, token, now),
                Err(refusal) => dispatcher.refused(request, refusal, now),
            }
        }
        self.answer_streams();
        self.publish(now);
        self.log_withheld(now.monotonic_ms);
        if self.tell_at.get().is_some_and(|due| due <= now.monotonic_ms) {
            self.tell();
        }
        self.schedule(now);
    }

    /// Draws a request for works, if one is due.
    fn begin_works(&self, now: Now) {
        // Taken out before the host is asked: nothing may be borrowed while it is at work.
        let is_due = self.dispatcher.borrow().begins_works(now);
        if is_due {
            let push_id = self.host.random().map(PushId::from_bytes);
            self.dispatcher.borrow_mut().begin_works(push_id, now);
        }
    }

    /// Looks whether the host withholds the bodies of pushes, which never come then.
    fn look_into_unshown(&self, now: Now) {
        let unshown = self.dispatcher.borrow_mut().unshown_bodies(now);
        for stream in unshown {
            let received = self.host.body_received(stream);
            self.dispatcher.borrow_mut().body_received(stream, received, now);
        }
    }

    /// Asks the host for a wake-up, unless one is on its way. `false` if the host cannot.
    fn ask_wake_up(&self, now: Now) -> bool {
        let is_asked = self.wake_asked_at.get().is_some_and(|asked_at| now.since(asked_at) < WAKE_PATIENCE_MS);
        if is_asked {
            return true;
        }
        let is_asked = self.host.wake();
        if is_asked {
            self.wake_asked_at.set(Some(now.monotonic_ms));
        }
        is_asked
    }

    fn answer_streams(&self) {
        let room = REPLIES_MOST.saturating_sub(self.replied.get());
        let replies = self.dispatcher.borrow_mut().take_replies(room);
        self.replied.set(self.replied.get() + replies.len());
        if !replies.is_empty() {
            self.host.reply(replies);
        }
    }

    /// How many milliseconds from now the worker has something to do without anything having happened.
    fn pause(&self, now: Now) -> Option<u64> {
        let wake_up = self.dispatcher.borrow().next_wake_up(now);
        // A stream that ends may leave the worker idle: it must be woken to say that it is drained.
        let drain = self.draining.get().then(|| if self.dispatcher.borrow().is_idle() { 0 } else { DRAIN_TICK_MS });
        let tell = self.tell_at.get().map(|due| due.saturating_sub(now.monotonic_ms));
        let log = self.log_limit.borrow().due().map(|due| due.saturating_sub(now.monotonic_ms));
        [wake_up, drain, tell, log].into_iter().flatten().min()
    }

    /// Counts and logs what happened.
    fn publish(&self, now: Now) {
        let (journal, gauges) = {
            let mut dispatcher = self.dispatcher.borrow_mut();
            (dispatcher.take_journal(), dispatcher.gauges())
        };
        let happened = !journal.is_empty();
        for event in journal {
            self.count(&event);
            if self.log_level(now).is_some_and(|least| event.level() >= least) {
                let admitted = self.log_limit.borrow_mut().admit(event, now);
                if let Some((event, not_logged)) = admitted {
                    self.log(&event, not_logged);
                }
            }
        }
        let before = self.gauges.replace(gauges);
        if before != gauges {
            for (gauge, untold) in Gauge::ALL.iter().zip(&self.untold.gauges) {
                let (old, new) = (metrics::gauge(*gauge, &before), metrics::gauge(*gauge, &gauges));
                let change = i64::try_from(new).unwrap_or(i64::MAX) - i64::try_from(old).unwrap_or(i64::MAX);
                // Moved, not set: the workers share them.
                untold.set(untold.get().saturating_add(change));
            }
        }
        if gauges.pending_calls > 0 && self.told_pending.get() == 0 {
            // Who takes the gateway out of service asks for this number: it may be late to fall, never to rise.
            self.tell();
        } else if (before != gauges || happened) && self.tell_at.get().is_none() {
            self.tell_at.set(Some(now.monotonic_ms.saturating_add(TELL_AFTER_MS)));
        }
    }

    fn log(&self, event: &Event, not_logged: u64) {
        self.host.log(event.level(), &log::line(event, not_logged, &self.config));
    }

    /// Logs events that were withheld and may be logged now, with the number of their like that never will be.
    fn log_withheld(&self, until: u64) {
        while let Some((event, not_logged)) = { self.log_limit.borrow_mut().due_event(until) } {
            self.log(&event, not_logged);
        }
    }

    fn count(&self, event: &Event) {
        metrics::count(
            event,
            |counter, number| {
                if let (Some(untold), Ok(number)) = (self.untold.counters.get(counter as usize), i64::try_from(number))
                {
                    untold.set(untold.get().saturating_add(number));
                }
            },
            |histogram, value| self.host.record(histogram, value),
        );
        if let Some((business, counter)) = metrics::of_business(event)
            && let Some(counters) = self.untold.businesses.get(business)
            && let Some(untold) = counters.get(counter)
        {
            if counters.iter().all(|untold| untold.get() == 0) {
                self.untold.changed.borrow_mut().push(business);
            }
            untold.set(untold.get().saturating_add(1));
        }
    }

    /// Tells the host everything it has yet to be told.
    fn tell(&self) {
        self.tell_at.set(None);
        self.told_pending.set(self.gauges.get().pending_calls);
        for (counter, untold) in Counter::ALL.iter().zip(&self.untold.counters) {
            self.tell_one(Metric::Counter(*counter), untold);
        }
        for (gauge, untold) in Gauge::ALL.iter().zip(&self.untold.gauges) {
            self.tell_one(Metric::Gauge(*gauge), untold);
        }
        for business in self.untold.changed.take() {
            for (counter, untold) in
                metrics::CALLBACKS.iter().zip(self.untold.businesses.get(business).into_iter().flatten())
            {
                self.tell_one(Metric::Business { business, counter: *counter }, untold);
            }
        }
    }

    fn tell_one(&self, metric: Metric, untold: &Cell<i64>) {
        let change = untold.take();
        if change != 0 {
            self.host.add(metric, change);
        }
    }

    fn log_level(&self, now: Now) -> Option<Level> {
        let known = self.log_level.get().filter(|(_, asked_at)| now.since(*asked_at) < LOG_LEVEL_TRUST_MS);
        let (level, asked_at) = known.unwrap_or_else(|| (self.host.log_level(), now.monotonic_ms));
        self.log_level.set(Some((level, asked_at)));
        level
    }

    /// Sees to it that the timer ticks within `pause_ms`, if there is such a pause.
    fn tick_within(&self, pause_ms: Option<u64>, now: Now) {
        let Some(pause_ms) = pause_ms else { return };
        // A timer that is set anew must tick earlier than it would have: events of bodies come with an old clock, and each would put
        // the tick off again.
        let soonest = period_of(pause_ms).max(pause_ms);
        let is_soon_enough = self.timer.get().is_some_and(|(_, next)| next <= now.monotonic_ms.saturating_add(soonest));
        if !is_soon_enough {
            self.set_timer(period_of(pause_ms), now);
        }
    }

    fn set_timer(&self, period_ms: u64, now: Now) {
        self.timer.set((period_ms > 0).then(|| (period_ms, now.monotonic_ms.saturating_add(period_ms))));
        self.host.set_timer(period_ms);
    }
}

/// The timer's period for a pause of this many milliseconds. Of short ones there are few, so that the timer is seldom changed; a pause
/// that is not over when the timer ticks is looked at again. A long one is waited for as a whole: an idle worker is not woken for
/// nothing.
fn period_of(pause_ms: u64) -> u64 {
    match pause_ms {
        0..=1 => 1,
        2 => 2,
        3..=5 => 5,
        6..=99 => 20,
        100..=499 => 100,
        500..=999 => 500,
        _ => pause_ms,
    }
}

#[cfg(test)]
mod tests;
