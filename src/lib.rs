//! A proxy-wasm filter for Envoy that turns the call detail records Huawei Cloud pushes after a call over a privacy number
//! into one callback to the business, once, whatever the result.
//!
//! Everything but the adapter to Envoy is sans-I/O: events in, actions out. A [`worker::Worker`] is one worker thread of the
//! gateway; it asks its [`host::Host`] for time, random bits and requests, and takes the events of streams and answers. An
//! [`exchange::Exchange`] is one push; a [`dispatcher::Dispatcher`] is the work that outlives it. What happens is noted once, as
//! [`journal::Event`]s, and metrics and logs are made of that. The adapter, compiled for wasm alone, only translates.

pub mod admission;
pub mod authentication;
pub mod callback;
pub mod config;
pub mod dispatcher;
#[cfg(any(test, feature = "driver"))]
pub mod driver;
pub mod exchange;
pub mod host;
pub mod journal;
mod log;
pub mod metrics;
pub mod now;
pub mod reply;
pub mod request;
pub mod store;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod worker;

#[cfg(target_arch = "wasm32")]
mod envoy;
