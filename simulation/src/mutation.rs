//! Ways to break a promise on purpose.
//!
//! A simulation that cannot fail proves nothing. Each mutation stands for a mistake somebody might make in the gateway or
//! in the store, and lives in what the simulation puts between them, never in their code.

use crate::promise::Promise;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// The callback leaves when the claim is asked for, not when it is granted
    CallbackBeforeClaim,
    /// A stream that ends without the store's answer forgets its claim request
    LostClaimForgotten,
    /// The root asks again under a new push id
    AskedAgainUnderNewPushId,
    /// A callback that timed out is sent again
    SecondDispatchAfterTimeout,
    /// A callback that left is taken for one that Envoy refused
    DepartureTakenForRefusal,
    /// The store grants a claim that another push holds
    ClaimGrantedToTwoPushes,
    /// A gateway that restarts asks again for the claims it held when it died
    RestartReplaysClaims,
    /// Huawei is answered 200 before the store has committed
    AnsweredBeforeCommit,
    /// CDRs that cannot be used are left out instead of being parked
    BadCdrLost,
    /// A push with a CDR that cannot be used is refused as a whole
    BadCdrFailsThePush,
    /// A callback leaves only once the one before it has ended, whatever its business
    OneCallbackAtATime,
    /// A time-out is taken for a callback that never left
    TimeoutTakenForNotSent,
    /// An outcome that is reported again replaces the first
    OutcomeOverwritten,
    /// An outcome that comes after the claim's deadline is not taken
    LateOutcomeRefused,
    /// Outcomes are not reported
    OutcomeReportDropped,
    /// A configuration that is replaced is given up at once, with all it has pending
    ReloadAbandons,
    /// The room that a push took is not given back when Huawei hangs up
    PermitLeaked,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CallbackBeforeClaim,
        Self::LostClaimForgotten,
        Self::AskedAgainUnderNewPushId,
        Self::SecondDispatchAfterTimeout,
        Self::DepartureTakenForRefusal,
        Self::ClaimGrantedToTwoPushes,
        Self::RestartReplaysClaims,
        Self::AnsweredBeforeCommit,
        Self::BadCdrLost,
        Self::BadCdrFailsThePush,
        Self::OneCallbackAtATime,
        Self::TimeoutTakenForNotSent,
        Self::OutcomeOverwritten,
        Self::LateOutcomeRefused,
        Self::OutcomeReportDropped,
        Self::ReloadAbandons,
        Self::PermitLeaked,
    ];

    /// The promise it breaks.
    pub const fn breaks(self) -> Promise {
        match self {
            Self::CallbackBeforeClaim
            | Self::SecondDispatchAfterTimeout
            | Self::DepartureTakenForRefusal
            | Self::ClaimGrantedToTwoPushes
            | Self::RestartReplaysClaims => Promise::P1Once,
            Self::AnsweredBeforeCommit | Self::BadCdrLost => Promise::P2Kept,
            Self::TimeoutTakenForNotSent | Self::OutcomeOverwritten => Promise::P3Accounted,
            Self::BadCdrFailsThePush | Self::OneCallbackAtATime => Promise::P4Apart,
            Self::LostClaimForgotten
            | Self::AskedAgainUnderNewPushId
            | Self::LateOutcomeRefused
            | Self::OutcomeReportDropped
            | Self::ReloadAbandons
            | Self::PermitLeaked => Promise::P8Finished,
        }
    }
}
