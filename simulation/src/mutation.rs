//! Ways to break a promise on purpose.
//!
//! A simulation that cannot fail proves nothing. Each mutation stands for a mistake somebody might make in the gateway or
//! in the store, and lives in what the simulation puts between them, never in their code. Where one breaks a rule of
//! `docs/claim-protocol.md`, the rule's number stands with it.

use crate::promise::Promise;

macro_rules! mutations {
    ($($(#[doc = $doc:literal])* $name:ident breaks $promise:ident,)*) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
        pub enum Mutation { $($(#[doc = $doc])* $name,)* }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The promise it breaks.
            pub const fn breaks(self) -> Promise {
                match self { $(Self::$name => Promise::$promise,)* }
            }
        }
    };
}

mutations! {
    /// The callback leaves when the claim is asked for, not when it is granted
    CallbackBeforeClaim breaks P1Once,
    /// Rule 1: the verdicts of a batch's answer are matched by position
    VerdictsByPosition breaks P1Once,
    /// Rule 2: a stream is answered by its batch's status
    StreamAnsweredByBatchStatus breaks P2Kept,
    /// Rule 2: an answer that comes twice is used twice
    VerdictUsedTwice breaks P1Once,
    /// Rule 3: what a batch or a stream missed is not asked again
    LostClaimForgotten breaks P8Finished,
    /// Rule 3: the root asks again under a new push id
    AskedAgainUnderNewPushId breaks P2Kept,
    /// Rule 4: a push that fails takes those with it that it was asked with, until it is gone
    NeverHalved breaks P8Finished,
    /// Rule 5: any error of a whole batch ends the asking
    ErrorEndsAsking breaks P8Finished,
    /// Rule 6: a claim request that was sent is dropped when its stream ends
    SentClaimDropped breaks P8Finished,
    /// Rule 7: the push id is a hash of the body
    PushIdFromBody breaks P1Once,
    /// Rule 8: an answer that comes after the timeout is used besides asking again
    LateAnswerUsedBesides breaks P1Once,
    /// Rule 9: a configuration that is replaced is given up at once, with all it has pending
    ReloadAbandons breaks P8Finished,
    /// Rule 10: a claim that is granted after its deadline is not called back
    DeadlineInFilter breaks P8Finished,
    /// Rule 11: one batch is asked at a time, however long it hangs
    OneBatchAtATime breaks P8Finished,
    /// Rule 12: a claim that is asked again with its own push id is a duplicate
    DuplicateToOwnPushId breaks P8Finished,
    /// Rule 13: the store grants a claim that another push holds
    ClaimGrantedToTwoPushes breaks P1Once,
    /// Rule 14: two pushes of one group are granted the same call
    GroupNotDeduplicated breaks P1Once,
    /// Rule 15: the store refuses a push for good that it has committed before
    RefusedByState breaks P8Finished,
    /// Rule 16: a group fails as a whole because of one push
    GroupNotBisected breaks P8Finished,
    /// Rule 17: an outcome that is reported again replaces the first
    OutcomeOverwritten breaks P3Accounted,
    /// Rule 17: an outcome that comes after the claim's deadline is not taken
    LateOutcomeRefused breaks P8Finished,
    /// Rule 20: the push that held a call before it was taken as a work is granted it again
    EarlierIdNotRetired breaks P1Once,
    /// Rule 20: a request for works that is repeated has a fresh push id
    WorksAskedAgainUnderNewPushId breaks P8Finished,
    /// Rule 20: the store releases calls that may have been sent
    MaybeSentReleased breaks P1Once,
    /// Rule 20: a work is handed to two workers
    WorkGrantedToTwo breaks P1Once,
    /// A callback that timed out is sent again
    SecondDispatchAfterTimeout breaks P1Once,
    /// A callback that left is taken for one that Envoy refused
    DepartureTakenForRefusal breaks P1Once,
    /// A gateway that restarts asks again for the claims it held when it died
    RestartReplaysClaims breaks P1Once,
    /// Huawei is answered 200 before the store has committed
    AnsweredBeforeCommit breaks P2Kept,
    /// What the store is told of a signature leaves the nonce out: pushes that have nothing in common are replays
    NonceLeftOut breaks P2Kept,
    /// The store is not told of signatures: replays pass unnoticed
    SignatureForgotten breaks P3Accounted,
    /// CDRs that cannot be used are left out instead of being parked
    BadCdrLost breaks P2Kept,
    /// A push with a CDR that cannot be used is refused as a whole
    BadCdrFailsThePush breaks P4Apart,
    /// A callback leaves only once the one before it has ended, whatever its business
    OneCallbackAtATime breaks P4Apart,
    /// A timeout is taken for a callback that never left
    TimeoutTakenForNotSent breaks P3Accounted,
    /// Outcomes are not reported
    OutcomeReportDropped breaks P8Finished,
    /// The room that a push took is not given back when Huawei hangs up
    PermitLeaked breaks P8Finished,
    /// A body takes no room while it arrives
    BodyWithoutPermit breaks P6Standing,
}
