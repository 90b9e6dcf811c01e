//! The stories of `tests/stories`, told against the containers of `docker-compose.yml`, and what only containers can show.
//!
//! Needs a container engine and the images: `cargo xtask test --compose`.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]
// Not every story can be told here: those of faults need a proxy between gateway and store.
#![allow(dead_code)]

#[macro_use]
extern crate harness;

#[path = "../stories/answers.rs"]
mod answers;
#[path = "../stories/callbacks.rs"]
mod callbacks;
#[path = "../stories/mid_load.rs"]
mod mid_load;
#[path = "../stories/once.rs"]
mod once;
#[path = "../stories/outcomes.rs"]
mod outcomes;
#[path = "../stories/samples.rs"]
mod samples;
mod shipped;
mod world;
