//! What root and streams of one configuration share within one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;

use super::host::{self, Clock};
use super::meters::Meters;
use crate::config::Config;
use crate::dispatcher::{Dispatcher, Gauges};
use crate::journal::Event;
use crate::now::Now;

/// After this a bell that was rung and not answered is rung again, milliseconds.
const BELL_PATIENCE_MS: u64 = 100;

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
    meters: Rc<Meters>,
    gauges: Cell<Gauges>,
    /// The shared queue that wakes the root; `None` if the host has none to give, and the tick must do.
    doorbell: Option<u32>,
    /// The monotonic moment the bell was rung, until it is answered.
    rung_at: Cell<Option<u64>>,
    tick_ms: Cell<u64>,
    draining: Cell<bool>,
}

impl Worker {
    pub fn new(config: Config) -> Self {
        let config = Rc::new(config);
        // A queue wakes only the context that registered it last, so each root has one under a name of its own.
        let doorbell = host::random().and_then(|bytes| {
            let name = format!("privatenumber.doorbell.{:032x}", u128::from_be_bytes(bytes));
            hostcalls::register_shared_queue(&name).ok()
        });
        let worker = Self {
            dispatcher: RefCell::new(Dispatcher::new(Rc::clone(&config))),
            config,
            clock: Clock::default(),
            meters: METERS.with(Rc::clone),
            gauges: Cell::default(),
            doorbell,
            rung_at: Cell::default(),
            tick_ms: Cell::default(),
            draining: Cell::default(),
        };
        worker.publish();
        worker
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Called by a stream after it told the dispatcher something: publishes it, and wakes the root if there is work for it.
    pub fn stream_was_heard(&self, now: Now) {
        self.publish();
        let is_stirred = self.dispatcher.borrow_mut().take_stirred();
        let is_waiting = self.rung_at.get().is_some_and(|rung_at| now.since(rung_at) < BELL_PATIENCE_MS);
        if !is_stirred || is_waiting {
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
        while matches!(hostcalls::dequeue_shared_queue(queue), Ok(Some(_))) {}
        self.rung_at.set(None);
    }

    /// Sends all that is to leave. Only the root may: the answers come to the context that sent the request.
    pub fn pump(&self) {
        loop {
            let now = self.now();
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
        self.publish();
        let wake_up = self.dispatcher.borrow().next_wake_up(self.now()).map(|pause| pause.clamp(1, 1_000));
        let drain = self.draining.get().then_some(DRAIN_TICK_MS);
        self.set_tick(wake_up.into_iter().chain(drain).min().unwrap_or(0));
    }

    /// The configuration is being replaced. Returns whether nothing is pending.
    pub fn drain(&self) -> bool {
        self.draining.set(true);
        self.dispatcher.borrow_mut().drain();
        self.pump();
        self.dispatcher.borrow().is_idle()
    }

    /// Whether draining is over.
    pub fn is_drained(&self) -> bool {
        self.draining.get() && self.dispatcher.borrow().is_idle()
    }

    /// Says that draining is over.
    pub fn note_drained(&self) {
        self.draining.set(false);
        self.dispatcher.borrow_mut().note(Event::Drained);
        self.publish();
        self.set_tick(0);
    }

    /// Counts and logs what happened.
    pub fn publish(&self) {
        let (journal, gauges) = {
            let mut dispatcher = self.dispatcher.borrow_mut();
            (dispatcher.take_journal(), dispatcher.gauges())
        };
        for event in &journal {
            self.meters.count(event);
            if host::logs(event.level()) {
                host::log(event.level(), &event.to_json());
            }
        }
        self.meters.gauge(&self.gauges.replace(gauges), &gauges);
    }

    fn set_tick(&self, period_ms: u64) {
        if self.tick_ms.replace(period_ms) != period_ms {
            let _ = hostcalls::set_tick_period(Duration::from_millis(period_ms));
        }
    }
}
