//! The store as its users see it: over its router, and as the process it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod batches;
mod bindings;
mod claims;
mod clocks;
mod crowded;
mod data_file;
mod document;
mod event_budget;
mod failures;
mod full_disk;
mod held;
mod http2;
mod import;
mod later_cdrs;
mod outcomes;
mod pausing;
mod process;
mod reading;
mod refusals;
mod release;
mod replays;
mod support;
mod texts;
mod tls;
mod work;
