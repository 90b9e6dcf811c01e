//! Hostile input: what nobody sends by accident, to a real gateway, store and business.
//!
//! `table/` holds the malformed requests with the exact answer of each, `configurations` the malformed configurations;
//! `corpora` replays what fuzzing has found. Run with `cargo xtask test`.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

#[macro_use]
extern crate harness;

mod bearer_token;
mod configurations;
mod corpora;
mod every_answer;
mod false_business;
mod false_store;
mod privacy;
mod spellings;
mod store_process;
mod table;
#[path = "../stories/world.rs"]
#[allow(dead_code)]
mod world;
