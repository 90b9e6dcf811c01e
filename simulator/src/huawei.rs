//! Plays Huawei: signs pushes as its platform does, makes up calls, sends them and pushes again on its schedule.

mod call_generator;
mod cdr;
mod credentials;
mod push_request;
mod pusher;
mod retry_schedule;
mod summary;

pub use call_generator::{CallGenerator, CallSettings};
pub use cdr::{Cdr, push_body};
pub use credentials::{CredentialsError, Scheme, Signer, Stamp, StampError};
pub use push_request::{Push, PushRequest, Target, TargetError};
pub use pusher::{PushError, PushSettings, Pusher};
pub use retry_schedule::RetrySchedule;
pub use summary::{Answer, Latency, Summary, Tally};
