//! What every story starts from, as processes on 127.0.0.1; in containers see `tests/compose/world.rs`.

#[path = "world/processes.rs"]
pub mod place;
#[path = "world/start.rs"]
mod start;

pub use start::*;
