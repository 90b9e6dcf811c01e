//! End to end: what Huawei is answered, what the store holds and what the business saw, with a real Envoy in between.
//!
//! Each story starts an Envoy, a store and a business of its own. Run them with `cargo xtask test`, which builds what they
//! need first. Stories that may differ between the two ways of treating headers are told in both.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

#[macro_use]
extern crate harness;

mod answers;
mod attacks;
mod callbacks;
mod configuration;
mod flag;
mod graceful;
mod mid_load;
mod observability;
mod odd_cdrs;
mod once;
mod outcomes;
mod reload;
mod replays;
mod samples;
mod slow_businesses;
mod store_faults;
mod store_headers;
mod two_stores;
mod untouched;
mod waiting;
mod wire;
mod world;
