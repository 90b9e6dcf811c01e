//! The JSON that the filter and the store speak.
//!
//! The filter is a client of these types and the store their server; anyone may put a service of their own behind the
//! filter if it keeps them. Everything here is plain data: no I/O, no clock, no policy.
//!
//! All times are epoch milliseconds in UTC. All member names are camelCase, as in the record the business receives.

mod batch;
mod binding;
mod business;
mod call;
mod import;
pub mod limits;
mod outcome;
pub mod paths;
mod private;
mod problem;
mod push;
mod record;
mod release;
mod work;

pub use batch::{PushBatch, PushBatchAnswer, PushResult, PushVerdict};
pub use binding::{Binding, RegisteredBinding};
pub use business::BusinessView;
pub use call::{
    CallDetail, CallKey, CallPage, CallState, CallView, EarlierOutcome, EventPage, EventView, KeptCdr, LaterCdr,
    ParkedPage, ParkedView, ReplayPage, ReplayView, Wait, WaitFor, hashed_icid,
};
pub use import::{ImportAnswer, ImportRequest, ImportResult};
pub use outcome::{MaybeSent, NotSent, Outcome, OutcomeReport, Outcomes, OutcomesAnswer, ReportedOutcome, Skipped};
pub use private::Private;
pub use problem::{PROBLEM_CONTENT_TYPE, Problem};
pub use push::{
    Application, CallReport, CallResult, CallVerdict, CdrText, Event, OnReplay, Parked, Push, PushAnswer, PushId,
    PushIdError, Signature, Warning, WithoutBinding, hex, is_hex,
};
pub use record::Record;
pub use release::{
    ParkedReleaseAnswer, ParkedReleaseRequest, RefusedRelease, ReleaseAnswer, ReleaseFilter, ReleaseRequest,
};
pub use work::{WorkAnswer, WorkRequest};
