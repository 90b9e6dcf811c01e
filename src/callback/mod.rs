//! What belongs to the one callback of a call: its signature, its trace context, and what its answer means.

mod classify;
mod request;
mod signature;
mod trace;

pub use classify::{Answer, classify};
pub use request::head;
pub use signature::{InvalidSecret, SigningSecret, sign};
pub use trace::TraceContext;
