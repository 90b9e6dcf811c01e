//! What every story starts from, in containers.

#[path = "world/containers.rs"]
pub mod place;
#[path = "../stories/world/start.rs"]
mod start;

pub use start::*;
