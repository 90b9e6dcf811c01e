//! What goes wrong: which faults a seed draws, and how often they strike.

use crate::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What is written about it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// The store is away for a while; requests that wait are lost.
    StoreDown = "store down",
    /// The store takes long to commit.
    StoreSlow = "store slow",
    /// A request never reaches the store.
    StoreRequestLost = "request to the store lost",
    /// The store answers 503 and commits nothing.
    StoreFailsBeforeCommit = "store fails before the commit",
    /// The store commits and answers 500.
    StoreFailsAfterCommit = "store fails after the commit",
    /// The store commits and the connection is reset.
    StoreAnswerLost = "store's answer lost",
    /// The store commits and its answer comes after the time-out.
    StoreAnswerLate = "store's answer late",
    /// The store's answer is delivered twice.
    StoreAnswerDuplicated = "store's answer duplicated",
    /// The body of the store's answer ends early.
    StoreAnswerCut = "store's answer cut short",
    /// The store's answer has headers alone.
    StoreAnswerBodyless = "store's answer without its body",
    /// The connection breaks between head and body of the store's answer.
    StoreAnswerBroken = "store's answer broken off",
    /// The answer to a batch leaves pushes out.
    BatchPartial = "answer to a batch leaves pushes out",
    /// The answer to a batch comes in another order.
    BatchReordered = "answer to a batch in another order",
    /// The answer to a batch names a push twice.
    BatchNamesTwice = "answer to a batch names a push twice",
    /// A batch gets the answer to another.
    BatchMisrouted = "batch gets the answer to another",
    /// A request for works gets the answer to another.
    WorksMisrouted = "request for works gets the answer to another",
    /// The store says `retry` of some pushes of a batch.
    BatchRetry = "store says retry of pushes of a batch",
    /// The store answers batches and requests for works with a client error for a while.
    BatchesRefused = "batches and works refused with 4xx for a while",
    /// The answer to a batch is beyond Envoy's limit.
    BatchAnswerTooLarge = "answer to a batch too large",
    /// A push that the store cannot stomach fails its whole batch.
    PoisonPush = "poison push fails its batch",
    /// An operator pauses a business for a while.
    BusinessPaused = "business paused for a while",
    /// One of two stores hangs.
    StoreHangs = "one of two stores hangs",
    /// Envoy, or another filter, answers a push that is held.
    AnsweredByOthers = "held push answered by others",
    /// No connection to the business can be made.
    BusinessUnreachable = "business unreachable",
    /// The business answers with an error.
    BusinessFails = "business answers an error",
    /// The business answers after the time-out.
    BusinessLate = "business's answer late",
    /// The business takes the request and never answers.
    BusinessSilent = "business's answer lost",
    /// The business takes the request and resets the connection.
    BusinessResets = "business resets the connection",
    /// The connection to the business is reset before the request arrives.
    BusinessRequestLost = "callback lost on its way",
    /// The business's answer is cut short.
    BusinessTruncates = "business's answer cut short",
    /// The business's answer is delivered twice.
    BusinessAnswerDuplicated = "business's answer duplicated",
    /// Envoy refuses to send a request.
    DispatchRefused = "dispatch refused by Envoy",
    /// Huawei hangs up in mid-push.
    PusherGone = "Huawei hangs up in mid-push",
    /// Huawei sends the body of a push slowly.
    PusherSlow = "Huawei sends slowly",
    /// Two gateways get the same CDR at the same moment.
    PushDoubled = "same CDR pushed twice at once",
    /// A push holds the same CDR twice.
    CdrDoubled = "same CDR twice in one push",
    /// Huawei pushes again what was answered 200.
    PushRepeated = "push repeated after its 200",
    /// A push carries the signature of an earlier one, with other CDRs.
    SignatureReused = "signature reused for other CDRs",
    /// A gateway dies.
    GatewayKilled = "gateway killed",
    /// An operator reloads the configuration.
    Reloaded = "configuration reloaded",
    /// An operator releases calls that never reached a business.
    CallsReleased = "calls released",
    /// The wall clock of a machine jumps.
    ClockJumped = "clock jumped",
}

/// How often which fault may strike in one run, and how often it did.
#[derive(Debug)]
pub struct Faults {
    /// Per mille, by the fault's number.
    rates: Vec<u64>,
    counts: Vec<u64>,
    over: bool,
}

/// Of those that may strike after every step, the most in one run: they must leave room for something to happen.
const MOST_EACH: u64 = 5;

impl Faults {
    /// Draws which faults strike in this run. A run in which everything fails shows less than one in which a few things do,
    /// so each is drawn by itself, and one run in twelve has none.
    pub fn draw(random: &mut Random) -> Self {
        let calm = random.chance(80);
        let rates = Fault::ALL.iter().map(|fault| {
            let rate = match fault {
                Fault::GatewayKilled | Fault::Reloaded | Fault::BusinessPaused => random.pick([0, 0, 2, 10, 30]),
                Fault::ClockJumped | Fault::StoreDown | Fault::BatchesRefused | Fault::StoreHangs => {
                    random.pick([0, 0, 2, 5])
                }
                Fault::CallsReleased => random.pick([0, 10, 30, 100]),
                // What must last for a while lasts for as long as it strikes.
                Fault::PoisonPush => 1_000,
                // Two pushes of one call must meet in one commit for some mistakes to show.
                Fault::PushDoubled => random.pick([0, 100, 300, 500]),
                _ => random.pick([0, 0, 20, 100, 300]),
            };
            if calm { 0 } else { rate }
        });
        Self { rates: rates.collect(), counts: vec![0; Fault::ALL.len()], over: false }
    }

    /// Whether the fault strikes now.
    pub fn strikes(&mut self, fault: Fault, random: &mut Random) -> bool {
        let index = fault as usize;
        let rate = self.rates.get(index).copied().unwrap_or(0);
        let Some(count) = self.counts.get_mut(index) else { return false };
        let every_step = matches!(
            fault,
            Fault::GatewayKilled
                | Fault::Reloaded
                | Fault::CallsReleased
                | Fault::ClockJumped
                | Fault::StoreDown
                | Fault::BatchesRefused
                | Fault::BusinessPaused
                | Fault::StoreHangs
        );
        if self.over || rate == 0 || (every_step && *count >= MOST_EACH) || !random.chance(rate) {
            return false;
        }
        *count += 1;
        true
    }

    /// How often the fault strikes now, per mille.
    pub fn rate(&self, fault: Fault) -> u64 {
        if self.over { 0 } else { self.rates.get(fault as usize).copied().unwrap_or(0) }
    }

    /// Whether the fault strikes at all in this run, before the faults are over.
    pub fn is_drawn(&self, fault: Fault) -> bool {
        self.rates.get(fault as usize).is_some_and(|rate| *rate > 0)
    }

    /// Counts what struck where this cannot be asked.
    pub fn count(&mut self, fault: Fault, times: u64) {
        if let Some(count) = self.counts.get_mut(fault as usize) {
            *count += times;
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// Whether nothing goes wrong any more.
    pub fn are_over(&self) -> bool {
        self.over
    }

    /// How often each struck, in the order of [`Fault::ALL`].
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}
