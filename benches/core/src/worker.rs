//! One worker of the gateway with one push under way: the core, told what Envoy's adapter (`src/envoy`) would tell it.

use std::hint::black_box;
use std::ops::Range;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::{Dispatcher, Gauges, HttpAnswer};
use private_number_gateway::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, HeaderEdits};
use private_number_gateway::metrics;
use private_number_gateway::now::Now;

use crate::input::{ARRIVAL, COMMITTED, Input, PUSH_ID};

/// The way of one push through the core, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The request's headers come: path, method, content type, credentials, and what is to be edited of them.
    Headers,
    /// The request's body comes: read, reshaped, admitted, encoded for the store.
    Request,
    /// The store's answer comes: read, its claims handed to the root.
    Answer,
    /// The root sends the callbacks.
    Dispatch,
    /// The callbacks are answered; their outcomes travel to the store, which takes them.
    Outcomes,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Headers, Self::Request, Self::Answer, Self::Dispatch, Self::Outcomes];
}

/// What has come of all pushes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pushes that went on to the store.
    pub forwarded: usize,
    /// Callbacks that left.
    pub callbacks: usize,
    /// Outcomes the store has taken, as the core counts them.
    pub acknowledged: u64,
    /// Bytes that left for store and business.
    pub sent_bytes: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Worker {
    config: Rc<Config>,
    dispatcher: Dispatcher,
    exchange: Exchange,
    /// Edits of the request's headers, which wait for the body.
    held: Option<HeaderEdits>,
    now: Now,
    /// As they were when they were last looked at.
    gauges: Gauges,
    /// The token of the next request of the root.
    next_token: u32,
    /// Tokens of the callbacks that are not answered.
    in_flight: Range<u32>,
    tally: Tally,
}

impl Worker {
    /// A worker that has seen no push.
    pub fn new(config: &Rc<Config>) -> Self {
        Self {
            config: Rc::clone(config),
            dispatcher: Dispatcher::new(Rc::clone(config)),
            exchange: Exchange::default(),
            held: None,
            now: ARRIVAL,
            gauges: Gauges::default(),
            next_token: 0,
            in_flight: 0..0,
            tally: Tally::default(),
        }
    }

    /// What has come of all pushes so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether nothing is pending.
    pub fn is_idle(&self) -> bool {
        self.dispatcher.is_idle()
    }

    /// Takes the push one step on. The steps must be taken in order.
    ///
    /// # Errors
    /// The step did not do its work.
    pub fn step(&mut self, step: Step, input: &Input) -> Result<()> {
        match step {
            Step::Headers => self.headers(input),
            Step::Request => self.request(input),
            Step::Answer => self.answer(input),
            Step::Dispatch => self.dispatch(input),
            Step::Outcomes => self.outcomes(input),
        }
    }

    fn headers(&mut self, input: &Input) -> Result<()> {
        self.exchange = Exchange::default();
        let Self { config, dispatcher, exchange, now, .. } = self;
        match exchange.request_headers(config, dispatcher, &input.headers, false, *now) {
            AtHeaders::ReadBody(edits) => self.held = Some(edits),
            other => bail!("the headers are answered by {other:?}"),
        }
        self.stream_was_heard();
        Ok(())
    }

    fn request(&mut self, input: &Input) -> Result<()> {
        let Self { config, dispatcher, exchange, held, now, tally, .. } = self;
        let at_body = exchange.request_body(config, dispatcher, input.body.len());
        ensure!(at_body == AtBody::Wait, "the body is answered by {at_body:?}");
        match exchange.request_end(config, dispatcher, input.body, PUSH_ID, *now) {
            AtEnd::Forward(body) => {
                tally.forwarded += 1;
                tally.sent_bytes += black_box(body).len();
                let mut edits = held.take().context("no headers are held")?;
                edits.set.push(("content-length", body.len().to_string().into()));
                black_box(edits.applied(&input.headers));
            }
            other => bail!("the push is answered by {other:?}"),
        }
        self.stream_was_heard();
        Ok(())
    }

    fn answer(&mut self, input: &Input) -> Result<()> {
        let Self { dispatcher, exchange, now, .. } = self;
        ensure!(exchange.awaits_response(), "the store's answer is not awaited");
        let content_type = Some(&b"application/json"[..]);
        match exchange.response_headers(dispatcher, Some(200), content_type, Some(COMMITTED), false, *now) {
            AtResponse::Become(edits) => {
                black_box(edits.applied(&input.answer_headers));
            }
            AtResponse::LeaveAlone => bail!("the store's answer is left alone"),
        }
        self.stream_was_heard();
        let Self { dispatcher, exchange, now, .. } = self;
        ensure!(exchange.awaits_response_body(), "the store's claims are not awaited");
        black_box(exchange.response_end(dispatcher, input.claims, *now));
        self.stream_was_heard();
        self.exchange.gone(&mut self.dispatcher, self.now);
        self.stream_was_heard();
        let queued = self.dispatcher.gauges().callback_queue;
        ensure!(queued == input.calls, "{queued} callbacks are queued and not {}", input.calls);
        Ok(())
    }

    fn dispatch(&mut self, input: &Input) -> Result<()> {
        let first = self.next_token;
        self.pump();
        self.in_flight = first..self.next_token;
        self.tally.callbacks += self.in_flight.len();
        ensure!(self.in_flight.len() == input.calls, "{} callbacks left and not {}", self.in_flight.len(), input.calls);
        Ok(())
    }

    fn outcomes(&mut self, input: &Input) -> Result<()> {
        self.now.monotonic_ms += 2;
        for token in std::mem::take(&mut self.in_flight) {
            let content_type = None;
            self.root_is_answered(
                token,
                &HttpAnswer { status: Some(200), from_upstream: true, content_type, committed: None, body: b"" },
            );
        }
        self.now.monotonic_ms += self.config.store.outcome_batch_delay_ms;
        let token = self.next_token;
        self.pump();
        ensure!(self.next_token == token + 1, "the outcomes do not leave in one batch");
        let content_type = Some(&b"application/json"[..]);
        self.root_is_answered(
            token,
            &HttpAnswer { status: Some(200), from_upstream: true, content_type, committed: None, body: input.receipt },
        );
        ensure!(self.dispatcher.is_idle(), "something is pending after the last step");
        Ok(())
    }

    /// As `on_http_call_response`.
    fn root_is_answered(&mut self, token: u32, answer: &HttpAnswer<'_>) {
        black_box(self.dispatcher.is_callback(token));
        self.dispatcher.answered(token, answer, self.now);
        self.pump();
    }

    /// As the adapter's pump, with a host that takes every request.
    fn pump(&mut self) {
        while let Some(departure) = self.dispatcher.poll(self.now) {
            let headers: Vec<(&str, &str)> =
                departure.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            black_box(headers);
            self.tally.sent_bytes += black_box(departure.body()).len();
            self.dispatcher.sent(departure.ticket, self.next_token, self.now);
            self.next_token += 1;
        }
        self.publish();
        black_box(self.dispatcher.next_wake_up(self.now));
    }

    /// As the adapter does after every event of a stream.
    fn stream_was_heard(&mut self) {
        self.publish();
        black_box(self.dispatcher.take_stirred());
    }

    /// Counts what happened, as the adapter does; at the log level that Envoy starts with, none of it is logged.
    fn publish(&mut self) {
        let journal = self.dispatcher.take_journal();
        let gauges = self.dispatcher.gauges();
        for event in &journal {
            metrics::count(
                event,
                |counter, number| {
                    if black_box(counter) == metrics::Counter::OutcomesReported {
                        self.tally.acknowledged += number;
                    }
                },
                |histogram, value| {
                    black_box((histogram, value));
                },
            );
            black_box(event.level());
        }
        let before = std::mem::replace(&mut self.gauges, gauges);
        for gauge in metrics::Gauge::ALL {
            black_box((metrics::gauge(*gauge, &before), metrics::gauge(*gauge, &gauges)));
        }
    }
}
