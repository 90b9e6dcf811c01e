//! A proxy-wasm filter for Envoy that turns the call detail records Huawei Cloud pushes after a call over a privacy number
//! into one callback to the business, once, whatever the result.
//!
//! Everything but [`envoy`](self) is sans-I/O: events in, actions out, with time and random bytes as arguments. An
//! [`exchange::Exchange`] is one push; a [`dispatcher::Dispatcher`] is the root's work that outlives it. What happens is told
//! once, as [`journal::Event`]s, and metrics and logs are made of that. The adapter to the host, compiled for wasm alone,
//! only translates.

pub mod answer;
pub mod authentication;
pub mod callback;
pub mod cdr;
pub mod config;
pub mod dispatcher;
pub mod exchange;
pub mod journal;
pub mod metrics;
pub mod now;

#[cfg(target_arch = "wasm32")]
mod envoy;
