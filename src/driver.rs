//! A worker with a host made of memory and a clock that the caller moves: the one way in which tests, simulation, fuzzing and
//! benchmarks run the core.
//!
//! [`Driver::step`] feeds it an event of a stream, [`Driver::respond`] the answer to a request, [`Driver::drive`] does what is due,
//! and [`Driver::time`] says when that is. What the worker sends and replies is taken with [`Driver::take_sent`] and
//! [`Driver::take_replies`].

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::config::Config;
use crate::dispatcher::{Gauges, HttpAnswer, OutgoingRequest, Refusal};
use crate::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, HeaderEdits};
use crate::host::Host;
use crate::journal::Level;
use crate::metrics::{Histogram, Metric};
use crate::now::Now;
use crate::reply::Reply;
use crate::streams::StreamId;
use crate::worker::Worker;

/// A request that the worker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By which its answer is known.
    pub token: u32,
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// `:path`.
    pub path: String,
    /// All headers in their order, pseudo headers included.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long its answer may take, milliseconds.
    pub timeout_ms: u64,
}

impl Sent {
    /// The value of the header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An event of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// The request's headers have come.
    RequestHeaders {
        /// Names, in lower case, and values.
        headers: &'e [(String, Vec<u8>)],
        /// Whether there is no body.
        is_end: bool,
    },
    /// More of the request's body has come; it has that many bytes so far.
    RequestBody(usize),
    /// The request's body is complete.
    RequestEnd(&'e [u8]),
    /// The response's headers have come, be they the store's, Envoy's own or those of the worker's reply.
    ResponseHeaders {
        /// `:status`.
        status: Option<u16>,
        /// `content-type`.
        content_type: Option<&'e [u8]>,
        /// The value of [`COMMITTED_HEADER`](privatenumber_contract::paths::COMMITTED_HEADER).
        committed: Option<&'e [u8]>,
        /// Whether there is no body.
        is_end: bool,
    },
    /// The response's body is complete.
    ResponseEnd(&'e [u8]),
    /// The stream is over.
    Ended,
}

/// What is to be done to a stream after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as it is.
    LeaveAlone,
    /// It waits.
    Hold,
    /// It waits, and the response that has begun is cut off.
    HoldAndReset,
    /// Its headers go ahead, edited.
    Pass(HeaderEdits),
    /// It goes on to the store with this body.
    Forward(Vec<u8>),
    /// It is answered.
    Reply(Reply),
    /// The response's headers are edited, its body is gathered.
    Become(HeaderEdits),
    /// The response goes on with its body and with fewer headers.
    Reduce(HeaderEdits),
    /// The response's body becomes this.
    Body(Cow<'static, [u8]>),
}

/// See the [module](self).
pub struct Driver {
    worker: Worker<Memory>,
    streams: BTreeMap<StreamId, Open>,
}

/// An open stream.
#[derive(Default)]
struct Open {
    exchange: Exchange,
    /// How much of the request's body the host holds for it.
    held: usize,
    /// Whether its response has begun: the host then holds nothing for it any more.
    is_answered: bool,
}

impl Open {
    fn hold(&mut self, size: usize) {
        self.held = if self.is_answered { 0 } else { size };
    }

    fn answered(&mut self) {
        self.is_answered = true;
        self.held = 0;
    }
}

impl Driver {
    /// A worker that takes nothing yet, at `now`. `seed` decides its random bits.
    pub fn new(config: Rc<Config>, now: Now, seed: u64) -> Self {
        Self { worker: Worker::new(config, Memory::new(now, seed)), streams: BTreeMap::new() }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        self.worker.host().now.get()
    }

    /// Moves the clocks. The monotonic one never goes back.
    pub fn set_now(&mut self, now: Now) {
        let host = self.worker.host();
        let monotonic_ms = now.monotonic_ms.max(host.now.get().monotonic_ms);
        host.now.set(Now { monotonic_ms, ..now });
    }

    /// Decides from now on which requests the host refuses to send.
    pub fn refuse(&mut self, refuses: impl FnMut(&OutgoingRequest) -> Option<Refusal> + 'static) {
        *self.worker.host().refuses.borrow_mut() = Box::new(refuses);
    }

    /// Decides from now on which random bits are drawn.
    pub fn draw(&mut self, random: impl FnMut() -> Option<[u8; 16]> + 'static) {
        *self.worker.host().random.borrow_mut() = Box::new(random);
    }

    /// The host has received that much of the body of `stream` and does not show it; `None`: it cannot say.
    pub fn withhold(&mut self, stream: StreamId, received: Option<u64>) {
        self.worker.host().received.borrow_mut().insert(stream, received);
    }

    /// Feeds the worker an event of a stream. A stream begins with its first event and is forgotten with [`Event::Ended`].
    pub fn step(&mut self, stream: StreamId, event: Event<'_>) -> Action {
        let open = self.streams.entry(stream).or_default();
        let worker = &self.worker;
        match event {
            Event::RequestHeaders { headers, is_end } => {
                match worker.request_headers(&mut open.exchange, stream, headers, is_end) {
                    AtHeaders::LeaveAlone => Action::LeaveAlone,
                    AtHeaders::Hold => Action::Hold,
                    AtHeaders::Pass(edits) => Action::Pass(edits),
                    AtHeaders::Answer(reply) => {
                        open.answered();
                        Action::Reply(reply)
                    }
                }
            }
            Event::RequestBody(size) => match worker.request_body(&mut open.exchange, size) {
                AtBody::LeaveAlone => {
                    open.hold(0);
                    Action::LeaveAlone
                }
                AtBody::Wait => {
                    open.hold(size);
                    Action::Hold
                }
                AtBody::Answer(reply) => {
                    open.answered();
                    Action::Reply(reply)
                }
            },
            Event::RequestEnd(body) => {
                let (action, held) = match worker.request_end(&mut open.exchange, body) {
                    AtEnd::LeaveAlone => (Action::LeaveAlone, 0),
                    AtEnd::Hold { reset: false } => (Action::Hold, body.len()),
                    AtEnd::Hold { reset: true } => (Action::HoldAndReset, 0),
                    AtEnd::Answer(reply) => (Action::Reply(reply), 0),
                    AtEnd::Forward(body) => (Action::Forward(body.to_vec()), 0),
                };
                open.hold(held);
                open.is_answered |= matches!(action, Action::Reply(_));
                action
            }
            Event::ResponseHeaders { status, content_type, committed, is_end } => {
                open.answered();
                match worker.response_headers(&mut open.exchange, status, content_type, committed, is_end) {
                    AtResponse::LeaveAlone => Action::LeaveAlone,
                    AtResponse::Become(edits) => Action::Become(edits),
                    AtResponse::Reduce(edits) => Action::Reduce(edits),
                }
            }
            Event::ResponseEnd(body) => {
                worker.response_end(&mut open.exchange, body).map_or(Action::LeaveAlone, Action::Body)
            }
            Event::Ended => {
                worker.stream_ended(&mut open.exchange);
                worker.host().received.borrow_mut().remove(&stream);
                self.streams.remove(&stream);
                Action::LeaveAlone
            }
        }
    }

    /// Whether the response's headers still matter to the stream.
    pub fn awaits_response(&mut self, stream: StreamId) -> bool {
        let worker = &self.worker;
        self.streams.get_mut(&stream).is_some_and(|open| worker.awaits_response(&mut open.exchange))
    }

    /// Whether the response's body is gathered.
    pub fn awaits_response_body(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|open| open.exchange.awaits_response_body())
    }

    /// The answer to a request has come, known by its token.
    pub fn respond(&mut self, token: u32, answer: &HttpAnswer<'_>) {
        self.worker.response(token, answer);
        self.forget_answered();
    }

    /// Whether the answer known by `token` is a business's.
    pub fn is_callback(&self, token: u32) -> bool {
        self.worker.is_callback(token)
    }

    /// Does what is due now: the wake-up that was asked for, and the timer.
    pub fn drive(&mut self) {
        let host = self.worker.host();
        let now = host.now.get().monotonic_ms;
        if host.wake_asked.take() {
            self.worker.woken();
        }
        let host = self.worker.host();
        if let Some((period_ms, due)) = host.timer.get().filter(|(_, due)| *due <= now) {
            // As Envoy's: the next tick is a period after this one, unless the worker says otherwise.
            host.timer.set(Some((period_ms, due.max(now).saturating_add(period_ms))));
            self.worker.tick();
        }
        self.forget_answered();
    }

    /// When [`Driver::drive`] has something to do, a monotonic moment; `None` for never.
    pub fn time(&self) -> Option<u64> {
        let host = self.worker.host();
        if host.wake_asked.get() {
            return Some(host.now.get().monotonic_ms);
        }
        host.timer.get().map(|(_, due)| due)
    }

    /// The requests that were sent since this was called last.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        self.worker.host().sent.take()
    }

    /// The replies that the worker gave to held streams since this was called last.
    pub fn take_replies(&mut self) -> Vec<(StreamId, Reply)> {
        self.worker.host().replies.take()
    }

    /// The log lines since this was called last.
    pub fn take_log(&mut self) -> Vec<(Level, String)> {
        self.worker.host().log.take()
    }

    /// The configuration is being replaced. Returns whether nothing is pending; otherwise [`Driver::is_drained`] will say so.
    pub fn drain(&mut self) -> bool {
        let is_idle = self.worker.drain();
        self.forget_answered();
        is_idle
    }

    /// Whether the worker said that it is drained.
    pub fn is_drained(&self) -> bool {
        self.worker.host().is_drained.get()
    }

    /// How much of everything there is.
    pub fn gauges(&self) -> Gauges {
        self.worker.gauges()
    }

    /// What a counter or gauge has moved to, as far as the host was told.
    pub fn told(&self, metric: Metric) -> i64 {
        let metrics = self.worker.host().metrics.borrow();
        metrics.iter().find(|(known, _)| *known == metric).map_or(0, |(_, value)| *value)
    }

    /// How many bytes of requests' bodies the host holds for streams that wait.
    pub fn held_bytes(&self) -> usize {
        self.streams.values().map(|open| open.held).sum()
    }

    /// The host holds nothing any more for a stream that has its reply.
    fn forget_answered(&mut self) {
        for (stream, _) in self.worker.host().replies.borrow().iter() {
            if let Some(open) = self.streams.get_mut(stream) {
                open.answered();
            }
        }
    }
}

type Refuses = Box<dyn FnMut(&OutgoingRequest) -> Option<Refusal>>;
type Random = Box<dyn FnMut() -> Option<[u8; 16]>>;

/// The host made of memory.
struct Memory {
    now: Cell<Now>,
    random: RefCell<Random>,
    refuses: RefCell<Refuses>,
    tokens: Cell<u32>,
    sent: RefCell<Vec<Sent>>,
    replies: RefCell<Vec<(StreamId, Reply)>>,
    /// What the host says has arrived of bodies that it does not show.
    received: RefCell<BTreeMap<StreamId, Option<u64>>>,
    wake_asked: Cell<bool>,
    /// The period, and the monotonic moment of the next tick.
    timer: Cell<Option<(u64, u64)>>,
    log: RefCell<Vec<(Level, String)>>,
    metrics: RefCell<Vec<(Metric, i64)>>,
    is_drained: Cell<bool>,
}

impl Memory {
    fn new(now: Now, seed: u64) -> Self {
        let mut state = seed;
        // SplitMix64.
        let mut next = move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        let random = move || Some((u128::from(next()) << 64 | u128::from(next())).to_be_bytes());
        Self {
            now: Cell::new(now),
            random: RefCell::new(Box::new(random)),
            refuses: RefCell::new(Box::new(|_| None)),
            tokens: Cell::default(),
            sent: RefCell::default(),
            replies: RefCell::default(),
            received: RefCell::default(),
            wake_asked: Cell::default(),
            timer: Cell::default(),
            log: RefCell::default(),
            metrics: RefCell::default(),
            is_drained: Cell::default(),
        }
    }
}

impl Host for Memory {
    fn now(&self) -> Now {
        self.now.get()
    }

    fn random(&self) -> Option<[u8; 16]> {
        (self.random.borrow_mut())()
    }

    fn dispatch(&self, request: &OutgoingRequest) -> Result<u32, Refusal> {
        if let Some(refusal) = (self.refuses.borrow_mut())(request) {
            return Err(refusal);
        }
        let token = self.tokens.get().wrapping_add(1);
        self.tokens.set(token);
        let head = &request.head;
        let headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect();
        let path = headers.iter().find(|(name, _)| name == ":path").map(|(_, value)| value.clone()).unwrap_or_default();
        self.sent.borrow_mut().push(Sent {
            token,
            cluster: head.cluster.to_string(),
            path,
            headers,
            body: request.body().to_vec(),
            timeout_ms: u64::try_from(head.timeout.as_millis()).unwrap_or(u64::MAX),
        });
        Ok(token)
    }

    fn reply(&self, replies: Vec<(StreamId, Reply)>) {
        self.replies.borrow_mut().extend(replies);
    }

    fn body_received(&self, stream: StreamId) -> Option<u64> {
        self.received.borrow().get(&stream).copied().unwrap_or(Some(0))
    }

    fn wake(&self) -> bool {
        self.wake_asked.set(true);
        true
    }

    fn set_timer(&self, period_ms: u64) {
        let due = self.now.get().monotonic_ms.saturating_add(period_ms);
        self.timer.set((period_ms > 0).then_some((period_ms, due)));
    }

    fn log_level(&self) -> Option<Level> {
        Some(Level::Debug)
    }

    fn log(&self, level: Level, line: &str) {
        self.log.borrow_mut().push((level, line.to_owned()));
    }

    fn add(&self, metric: Metric, change: i64) {
        let mut metrics = self.metrics.borrow_mut();
        match metrics.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, value)) => *value = value.saturating_add(change),
            None => metrics.push((metric, change)),
        }
    }

    fn record(&self, _: Histogram, _: u64) {}

    fn drained(&self) {
        self.is_drained.set(true);
    }
}
