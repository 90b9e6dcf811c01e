//! The border to the host: all that a worker asks of whoever runs it.
//!
//! Under Envoy it is hostcalls ([`crate`]'s adapter); elsewhere it is a [`driver`](crate::driver).

use crate::dispatcher::{OutgoingRequest, Refusal};
use crate::journal::Level;
use crate::metrics::{Histogram, Metric};
use crate::now::Now;
use crate::reply::Reply;
use crate::streams::StreamId;

/// What a worker asks of its host. No call may call back into the worker before it returns.
pub trait Host {
    /// This moment.
    fn now(&self) -> Now;

    /// 128 random bits that were given to nobody else; `None` if the host has none to give.
    fn random(&self) -> Option<[u8; 16]>;

    /// Sends a request on the worker's behalf. Its answer comes to [`Worker::response`](crate::worker::Worker::response), known by
    /// the token.
    ///
    /// # Errors
    /// The request was certainly not sent, and why.
    fn dispatch(&self, request: &OutgoingRequest) -> Result<u32, Refusal>;

    /// Answers streams that are paused. A stream that has ended is passed over.
    fn reply(&self, replies: Vec<(StreamId, Reply)>);

    /// How many bytes of a request's body have arrived at the host, whether it has shown them or not; `None` if it cannot say.
    fn body_received(&self, stream: StreamId) -> Option<u64>;

    /// Calls [`Worker::woken`](crate::worker::Worker::woken) soon, from where requests can be dispatched. `false` if the host cannot.
    fn wake(&self) -> bool;

    /// Calls [`Worker::tick`](crate::worker::Worker::tick) every so many milliseconds from now on; 0 for never.
    fn set_timer(&self, period_ms: u64);

    /// The least level of log lines that the host takes now; `None` for none of them.
    fn log_level(&self) -> Option<Level>;

    /// Writes a line to the host's log.
    fn log(&self, level: Level, line: &str);

    /// Moves a counter or gauge by `change`.
    fn add(&self, metric: Metric, change: i64);

    /// Adds a value to a histogram.
    fn record(&self, histogram: Histogram, value: u64);

    /// The worker was asked to drain and is done.
    fn drained(&self);
}
