//! One worker of the gateway with some pushes under way: the shipped [`Worker`](private_number_gateway::worker::Worker) with a host
//! that copies nothing, told what Envoy's adapter (`src/envoy`) would tell it.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};
use private_number_gateway::config::{Config, HeadersMode};
use private_number_gateway::dispatcher::{HttpAnswer, OutgoingRequest, Refusal};
use private_number_gateway::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange};
use private_number_gateway::host::Host;
use private_number_gateway::journal::Level;
use private_number_gateway::metrics::{Histogram, Metric};
use private_number_gateway::now::Now;
use private_number_gateway::reply::Reply;
use private_number_gateway::streams::StreamId;
use private_number_gateway::worker;

use crate::input::{ARRIVAL, COMMITTED, Input, push_id};

/// The way of a push through the core, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The request's headers come: path, method, content type, credentials.
    Headers,
    /// The request's body comes: read, reshaped, admitted, encoded for the store.
    Request,
    /// The worker asks the store for the batch. Where headers pass there is nothing to do.
    Ask,
    /// The store's answer comes: it is read, the pushes are answered, and the callbacks leave.
    Answer,
    /// The callbacks are answered; their outcomes travel to the store, which takes them.
    Outcomes,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Headers, Self::Request, Self::Ask, Self::Answer, Self::Outcomes];
}

/// What has come of all pushes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pushes that the store was asked for.
    pub asked: usize,
    /// Pushes that were answered 200.
    pub recorded: usize,
    /// Callbacks that left.
    pub callbacks: usize,
    /// Outcomes the store has taken.
    pub acknowledged: usize,
    /// Bytes that left for store and business.
    pub sent_bytes: usize,
}

/// A host that takes every request and keeps none.
#[derive(Debug)]
struct Quiet {
    now: Cell<Now>,
    drawn: Cell<u8>,
    tokens: Cell<u32>,
    tally: Cell<Tally>,
}

impl Quiet {
    fn tally(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }

    fn pass(&self, milliseconds: u64) {
        let now = self.now.get();
        self.now.set(Now { monotonic_ms: now.monotonic_ms + milliseconds, ..now });
    }
}

impl Host for Quiet {
    fn now(&self) -> Now {
        self.now.get()
    }

    fn random(&self) -> Option<[u8; 16]> {
        let drawn = self.drawn.get();
        self.drawn.set(drawn.wrapping_add(1));
        Some(*push_id(drawn).as_bytes())
    }

    fn dispatch(&self, request: &OutgoingRequest) -> Result<u32, Refusal> {
        // As the adapter hands them to Envoy.
        let headers: Vec<(&str, &str)> =
            request.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        black_box(headers);
        self.tally(|tally| tally.sent_bytes += black_box(request.body()).len());
        let token = self.tokens.get();
        self.tokens.set(token + 1);
        Ok(token)
    }

    fn reply(&self, replies: Vec<(StreamId, Reply)>) {
        for (stream, reply) in &replies {
            black_box((stream, reply.status(), reply.headers(), reply.details(), reply.body()));
            self.tally(|tally| tally.recorded += usize::from(reply.status() == 200));
        }
    }

    fn body_received(&self, _: StreamId) -> Option<u64> {
        Some(0)
    }

    fn wake(&self) -> bool {
        true
    }

    fn set_timer(&self, period_ms: u64) {
        black_box(period_ms);
    }

    fn log_level(&self) -> Option<Level> {
        // What Envoy starts with: nothing that happens here is logged.
        Some(Level::Warn)
    }

    fn log(&self, level: Level, line: &str) {
        black_box((level, line));
    }

    fn add(&self, metric: Metric, change: i64) {
        black_box((metric, change));
    }

    fn record(&self, histogram: Histogram, value: u64) {
        black_box((histogram, value));
    }

    fn drained(&self) {}
}

/// See the [module](self).
pub struct Worker {
    core: worker::Worker<Quiet>,
    streams: Vec<Exchange>,
    /// The first token of what is answered next.
    first: u32,
}

impl Worker {
    /// A worker that has seen no push.
    pub fn new(config: &Rc<Config>) -> Self {
        let host =
            Quiet { now: Cell::new(ARRIVAL), drawn: Cell::default(), tokens: Cell::default(), tally: Cell::default() };
        Self { core: worker::Worker::new(Rc::clone(config), host), streams: Vec::new(), first: 0 }
    }

    /// What has come of all pushes so far.
    pub fn tally(&self) -> Tally {
        self.core.host().tally.get()
    }

    /// Whether nothing is pending.
    pub fn is_idle(&self) -> bool {
        let gauges = self.core.gauges();
        gauges.pending_calls == 0 && gauges.pushes_held == 0
    }

    /// Takes the pushes one step on. The steps must be taken in order.
    ///
    /// # Errors
    /// The step did not do its work.
    pub fn step(&mut self, step: Step, input: &Input) -> Result<()> {
        match step {
            Step::Headers => self.headers(input),
            Step::Request => self.request(input),
            Step::Ask => self.ask(input),
            Step::Answer => self.answer(input),
            Step::Outcomes => self.outcomes(input),
        }
    }

    fn holds(&self) -> bool {
        self.core.config().headers == HeadersMode::Hold
    }

    fn headers(&mut self, input: &Input) -> Result<()> {
        // The first request of all draws when the worker asks for works: late.
        self.core.host().drawn.set(u8::MAX);
        self.streams.clear();
        self.streams.extend(input.bodies.iter().map(|_| Exchange::default()));
        for (exchange, id) in self.streams.iter_mut().zip(0..) {
            match self.core.request_headers(exchange, id, &input.headers, false) {
                AtHeaders::Hold => {}
                AtHeaders::Pass(edits) => drop(black_box(edits.applied(&input.headers))),
                other => bail!("the headers are answered by {other:?}"),
            }
        }
        self.core.host().drawn.set(0);
        Ok(())
    }

    fn request(&mut self, input: &Input) -> Result<()> {
        for (exchange, body) in self.streams.iter_mut().zip(&input.bodies) {
            let at_body = self.core.request_body(exchange, body.len());
            ensure!(at_body == AtBody::Wait, "the body is answered by {at_body:?}");
            match self.core.request_end(exchange, body) {
                AtEnd::Hold { reset: false } => {}
                AtEnd::Forward(body) => self.core.host().tally(|tally| {
                    tally.asked += 1;
                    tally.sent_bytes += black_box(body).len();
                }),
                other => bail!("the push is answered by {other:?}"),
            }
        }
        Ok(())
    }

    fn ask(&mut self, input: &Input) -> Result<()> {
        if self.holds() {
            let host = self.core.host();
            host.pass(self.core.config().store.push_batch_delay_ms);
            self.first = host.tokens.get();
            self.core.woken();
            let host = self.core.host();
            ensure!(host.tokens.get() == self.first + 1, "the pushes are not asked for in one batch");
            host.tally(|tally| tally.asked += input.bodies.len());
        }
        Ok(())
    }

    fn answer(&mut self, input: &Input) -> Result<()> {
        let (before, claims) = (self.tally().recorded, self.first);
        self.first = self.core.host().tokens.get();
        if self.holds() {
            self.answered(claims, Some(b"application/json"), input.answer);
        } else {
            for exchange in &mut self.streams {
                pass(&self.core, exchange, input)?;
            }
            self.core.woken();
        }
        for exchange in &mut self.streams {
            ensure!(!self.core.awaits_response(exchange), "a push has no answer");
            self.core.stream_ended(exchange);
        }
        let recorded = self.tally().recorded - before;
        ensure!(recorded == input.bodies.len(), "{recorded} pushes are answered 200");
        let left = usize::try_from(self.core.host().tokens.get() - self.first)?;
        ensure!(left == input.calls, "{left} callbacks left and not {}", input.calls);
        self.core.host().tally(|tally| tally.callbacks += left);
        Ok(())
    }

    fn outcomes(&mut self, input: &Input) -> Result<()> {
        self.core.host().pass(2);
        let outcomes = self.core.host().tokens.get();
        for token in self.first..outcomes {
            self.answered(token, None, b"");
        }
        self.core.host().pass(self.core.config().store.outcome_batch_delay_ms);
        self.core.woken();
        ensure!(self.core.host().tokens.get() == outcomes + 1, "the outcomes do not leave in one batch");
        self.answered(outcomes, Some(b"application/json"), input.receipt);
        ensure!(self.is_idle(), "something is pending after the last step");
        self.core.host().tally(|tally| tally.acknowledged += input.calls);
        Ok(())
    }

    /// As `on_http_call_response`.
    fn answered(&self, token: u32, content_type: Option<&[u8]>, body: &[u8]) {
        black_box(self.core.is_callback(token));
        let answer = HttpAnswer { status: Some(200), from_upstream: true, content_type, committed: None, body };
        self.core.response(token, &answer);
    }
}

/// The store's answer to a push that went to it by itself.
fn pass(core: &worker::Worker<Quiet>, exchange: &mut Exchange, input: &Input) -> Result<()> {
    ensure!(core.awaits_response(exchange), "the store's answer is not awaited");
    let content_type = Some(&b"application/json"[..]);
    match core.response_headers(exchange, Some(200), content_type, Some(COMMITTED), false) {
        AtResponse::Become(edits) => drop(black_box(edits.applied(&input.answer_headers))),
        AtResponse::LeaveAlone | AtResponse::Reduce(_) => bail!("the store's answer is left alone"),
    }
    ensure!(exchange.awaits_response_body(), "the store's claims are not awaited");
    black_box(core.response_end(exchange, input.answer));
    core.host().tally(|tally| tally.recorded += 1);
    Ok(())
}
