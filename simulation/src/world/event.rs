//! What can happen, and what travels.

use privatenumber_contract::PushId;

use crate::store::StoreAnswer;

/// Names a root: one configuration of one worker of one life of a gateway.
pub type RootId = u32;
/// Names a stream: one push through one gateway.
pub type StreamId = u32;

/// Who waits for an answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A stream, by the try of its route.
    Stream {
        /// The stream.
        stream: StreamId,
        /// Which try.
        attempt: u32,
    },
    /// A root, by the token of its request.
    Root {
        /// The root.
        root: RootId,
        /// The token.
        token: u32,
    },
    /// Nobody that the gateway knows of.
    Nobody,
}

/// A request on its way to the store.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it goes.
    pub path: &'static str,
    /// What it says.
    pub body: Vec<u8>,
    /// Who waits for the answer.
    pub asker: Asker,
    /// The pushes that it asks for.
    pub push_ids: Vec<PushId>,
}

/// What comes back for a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The store's answer; `ends_early` where the connection breaks behind the head.
    Store {
        /// What it says.
        answer: StoreAnswer,
        /// Whether the body never comes.
        ends_early: bool,
    },
    /// No connection could be made.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The time-out passed.
    Timeout,
}

/// What comes back for a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The business's status.
    Status(u16),
    /// The business's answer was cut short.
    Truncated,
    /// No connection could be made, or there is no host.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The time-out passed.
    Timeout,
}

/// A callback on its way to a business.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Who waits for the answer, if anybody does.
    pub sender: Option<(RootId, u32)>,
    /// The business's cluster.
    pub ak: String,
    /// `webhook-id`.
    pub call_id: String,
    /// `sessionId` of the record it carries.
    pub session_id: String,
    /// Whether its answer comes before the time-out.
    pub timeout_ms: u64,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Huawei pushes what is due.
    PushesDue,
    /// The headers of a push arrive.
    PushHeaders(StreamId),
    /// The first part of a push's body arrives.
    PushBody(StreamId),
    /// The last of a push's body arrives.
    PushEnd(StreamId),
    /// Huawei hangs up.
    PusherGone(StreamId),
    /// A request arrives at the store.
    LetterArrives(Letter),
    /// The store commits what waits.
    Commit,
    /// An answer of the store arrives.
    ReplyArrives(Asker, Reply),
    /// The body of the store's answer to a push is complete, or broken off.
    AnswerEnds(StreamId, Vec<u8>, bool),
    /// All the route's tries together took too long.
    RouteTimeout(StreamId),
    /// A callback arrives at its business.
    CallbackArrives(Callback),
    /// The answer to a callback arrives.
    CallbackHeard(RootId, u32, Heard),
    /// A root has something to do.
    Drive(RootId),
    /// A reply has gone out as a whole.
    StreamOver(StreamId),
    /// A held push must have its reply by now.
    PatienceOver(StreamId),
    /// Envoy, or another filter, answers a push.
    OthersAnswer(StreamId),
    /// A binding is registered late, by number.
    BindingComes(usize),
    /// The store is back.
    StoreUp,
    /// An operator resumes a business.
    Resume(String),
    /// A gateway starts again.
    Restart(usize),
    /// Nothing goes wrong any more.
    FaultsEnd,
}
