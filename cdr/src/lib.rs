//! What Huawei pushes: from the body of a push to the calls the store is asked to record.
//!
//! Tolerant where Huawei's documents leave room (unknown keys of any type, numbers for texts and texts for numbers, `""` for
//! absent, one object for a list of one), strict in what identifies a call. Each CDR is read for itself: one that cannot be
//! used is parked with its reason and the others go on.
//!
//! The filter reads pushes ([`Reader`]); the store reads single CDRs again that it has kept ([`read_cdr`]).

mod fee_info;
mod push;
mod reshape;
pub mod time;
mod usual;
mod value;

pub use fee_info::Unusable;
pub use push::{Body, Contents, InvalidPush, MAX_CDRS, Reader, decode, read_cdr};
pub use value::{Expected, Found};
