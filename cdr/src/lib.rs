//! What Huawei pushes: from the body of a push to the calls the store is asked to record.
//!
//! What a provider sends in another form than expected must not silence a call. A CDR is parked only where nobody could say which call
//! it is or who is to be called (see [`Unusable`]); any other value that cannot be used becomes `null`, with a warning that names the
//! field and never the value. Each CDR is read for itself.
//!
//! The filter reads pushes ([`Reader`]); the store reads single CDRs again that it has kept ([`read_cdr`]).

mod charset;
mod fee_info;
mod frame;
mod members;
mod push;
mod reshape;
pub mod time;
mod value;

pub use charset::Charset;
pub use fee_info::{Field, Unusable};
pub use frame::{InvalidPush, MAX_CDRS};
pub use push::{Body, Contents, Reader, decode, read_cdr};
pub use value::{Expected, Found};
