//! What root and streams of one configuration share within one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;

use super::host::{self, Clock, Random};
use super::meters::Meters;
use crate::config::Config;
use crate::dispatcher::{Dispatcher, Gauges};
use crate::journal::{Event, Level};
use crate::now::Now;

/// After this a bell that was rung and not answered is rung again, milliseconds.
const BELL_PATIENCE_MS: u64 = 100;

/// The host is told of counters and gauges this long after they changed, milliseconds.
const TELL_AFTER_MS: u64 = 100;

/// How long the host's log level is believed, milliseconds.
const LOG_LEVEL_TRUST_MS: u64 = 100;

/// How often a draining root looks whether it is idle, milliseconds: streams that end leave no other trace.
const DRAIN_TICK_MS: u64 = 50;

thread_local! {
    static METERS: Rc<Meters> = Rc::new(Meters::define());
}

/// See the [module](self).
pub struct Worker {
    pub config: Rc<Config>,
    pub dispatcher: RefCell<Dispatcher>,
    clock: Clock,
    lately: Cell<Now>,
    random: RefCell<Random>,
    meters: Rc<Meters>,
    /// As the meters know them.
    gauges: Cell<Gauges>,
    /// The monotonic moment at which the host is to be told of what the meters count, if there is anything.
    tell_at: Cell<Option<u64>>,
    /// The pending calls that the host knows of.
    told_pending: Cell<usize>,
    /// The least level that is logged, and the monotonic moment it was asked for.
    log_level: Cell<Option<(Option<Level>, u64)>>,
    /// The shared queue that wakes the root; `None` if the host has none to give, and the tick must do.
    doorbell: Option<u32>,
    /// The monotonic moment the bell was rung, until it is answered.
    rung_at: Cell<Option<u64>>,
    tick_ms: Cell<u64>,
    draining: Cell<bool>,
}

impl Worker {
    pub fn new(config: Config) -> Self {
        let (config, clock, mut random) = (Rc::new(config), Clock::default(), Random::default());
        // A queue wakes only the context that registered it last, so each root has one under a name of its own.
        let doorbell = random.draw().and_then(|bytes| {
            let name = format!("privatenumber.doorbell.{:032x}", u128::from_be_bytes(bytes));
            hostcalls::register_shared_queue(&name).ok()
        });
        let worker = Self {
            dispatcher: RefCell::new(Dispatcher::new(Rc::clone(&config))),
            config,
            lately: Cell::new(clock.now()),
            clock,
            random: RefCell::new(random),
            meters: METERS.with(Rc::clone),
            gauges: Cell::default(),
            tell_at: Cell::default(),
            told_pending: Cell::default(),
            log_level: Cell::default(),
            doorbell,
            rung_at: Cell::default(),
            tick_ms: Cell::default(),
            draining: Cell::default(),
        };
        worker.publish(worker.lately());
        worker.tell();
        worker
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let now = self.clock.now();
        self.lately.set(now);
        now
    }

    /// The moment at which this worker last looked at the clock: where nothing is measured, for the host's clock is a hostcall.
    pub fn lately(&self) -> Now {
        self.lately.get()
    }

    /// 128 random bits; `None` if the host has none to give.
    pub fn random(&self) -> Option<[u8; 16]> {
        self.random.borrow_mut().draw()
    }

    /// Called by a stream after it told the dispatcher something: publishes it, and wakes the root if there is work for it.
    pub fn stream_was_heard(&self, now: Now) {
        self.publish(now);
        let is_stirred = self.dispatcher.borrow_mut().take_stirred();
        let is_waiting = self.rung_at.get().is_some_and(|rung_at| now.since(rung_at) < BELL_PATIENCE_MS);
        if !is_stirred || is_waiting {
            // The root is not woken: the tick must see to it that the host is told.
            if self.tick_ms.get() == 0 && self.tell_at.get().is_some() {
                self.set_tick(TELL_AFTER_MS);
            }
            return;
        }
        let is_rung = self.doorbell.is_some_and(|queue| hostcalls::enqueue_shared_queue(queue, Some(b"!")).is_ok());
        if is_rung {
            self.rung_at.set(Some(now.monotonic_ms));
        } else {
            self.set_tick(1);
        }
    }

    /// The root answers the bell.
    pub fn answer_bell(&self, queue: u32) {
        // One notice for each time it was rung: what else is in the queue has a notice of its own.
        let _ = hostcalls::dequeue_shared_queue(queue);
        self.rung_at.set(None);
    }

    /// Sends all that is to leave. Only the root may: the answers come to the context that sent the request.
    pub fn pump(&self, now: Now) {
        loop {
            // Taken out before the hostcall: nothing may be borrowed while the host is at work.
            let Some(departure) = self.dispatcher.borrow_mut().poll(now) else { break };
            let headers = departure.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let cluster = &departure.head.cluster;
            let result =
                hostcalls::dispatch_http_call(cluster, headers, Some(departure.body()), vec![], departure.head.timeout);
            let mut dispatcher = self.dispatcher.borrow_mut();
            match result {
                Ok(token) => dispatcher.sent(departure.ticket, token, now),
                Err(status) => dispatcher.refused(departure.ticket, host::refusal(status), now),
            }
        }
        self.publish(now);
        if self.tell_at.get().is_some_and(|due| due <= now.monotonic_ms) {
            self.tell();
        }
        let wake_up = self.dispatcher.borrow().next_wake_up(now);
        let drain = self.draining.get().then_some(DRAIN_TICK_MS);
        let tell = self.tell_at.get().map(|due| due.saturating_sub(now.monotonic_ms));
        let pause = wake_up.into_iter().chain(drain).chain(tell).min();
        self.set_tick(pause.map_or(0, tick_of));
    }

    /// The configuration is being replaced. Returns whether nothing is pending.
    pub fn drain(&self) -> bool {
        self.draining.set(true);
        self.dispatcher.borrow_mut().drain();
        self.pump(self.now());
        let is_idle = self.dispatcher.borrow().is_idle();
        if is_idle {
            self.tell();
        }
        is_idle
    }

    /// Whether draining is over.
    pub fn is_drained(&self) -> bool {
        self.draining.get() && self.dispatcher.borrow().is_idle()
    }

    /// Says that draining is over.
    pub fn note_drained(&self, now: Now) {
        self.draining.set(false);
        self.dispatcher.borrow_mut().note(Event::Drained);
        self.publish(now);
        self.tell();
        self.set_tick(0);
    }

    /// Counts and logs what happened.
    fn publish(&self, now: Now) {
        let (journal, gauges) = {
            let mut dispatcher = self.dispatcher.borrow_mut();
            (dispatcher.take_journal(), dispatcher.gauges())
        };
        for event in &journal {
            self.meters.count(event);
            if self.log_level(now).is_some_and(|least| event.level() >= least) {
                host::log(event.level(), &event.to_json());
            }
        }
        let before = self.gauges.replace(gauges);
        self.meters.gauge(&before, &gauges);
        if gauges.pending_calls > 0 && self.told_pending.get() == 0 {
            // Who takes the gateway out of service asks for this number: it may be late to fall, never to rise.
            self.tell();
        } else if (before != gauges || !journal.is_empty()) && self.tell_at.get().is_none() {
            self.tell_at.set(Some(now.monotonic_ms.saturating_add(TELL_AFTER_MS)));
        }
    }

    fn tell(&self) {
        self.tell_at.set(None);
        self.told_pending.set(self.gauges.get().pending_calls);
        self.meters.tell();
    }

    fn log_level(&self, now: Now) -> Option<Level> {
        let known = self.log_level.get().filter(|(_, asked_at)| now.since(*asked_at) < LOG_LEVEL_TRUST_MS);
        let (level, asked_at) = known.unwrap_or_else(|| (host::log_level(), now.monotonic_ms));
        self.log_level.set(Some((level, asked_at)));
        level
    }

    fn set_tick(&self, period_ms: u64) {
        if self.tick_ms.replace(period_ms) != period_ms {
            let _ = hostcalls::set_tick_period(Duration::from_millis(period_ms));
        }
    }
}

/// The tick for a pause of this many milliseconds. There are few, so that the tick is seldom changed; outcomes that wait for
/// company wait a little longer, everything else is looked at again until it is due.
fn tick_of(pause_ms: u64) -> u64 {
    match pause_ms {
        0..=1 => 1,
        2..=5 => 5,
        6..=99 => 20,
        100..=499 => 100,
        _ => 500,
    }
}
