//! The store's client: what is asked of the store, in which batches, and what its answers mean.

pub mod answers;
mod backoff;
mod claims;
mod outcomes;
mod request;
mod works;

pub use request::ClaimRequest;

pub(crate) use claims::{Claims, Missed, PushBatch};
pub(crate) use request::Draft;

pub(crate) use outcomes::{Backlog, Batch as OutcomeBatch};
pub(crate) use works::{NoAnswer, Take, Works};
