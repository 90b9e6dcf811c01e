//! How large things may be. Filter and store go by the same numbers.

/// Most CDRs of a push, calls and parked CDRs each: Huawei merges at most that many.
pub const PUSH_CDRS: usize = 50;

/// Most pushes of a batch.
pub const BATCH_PUSHES: usize = 256;

/// Most outcomes of a batch.
pub const OUTCOMES: usize = 1_000;

/// Most works that a worker takes at once: with [`CALL_ANSWER_BYTES`] each they fit [`ANSWER_BYTES`].
pub const WORKS: usize = 50;

/// Most calls of a release.
pub const RELEASES: usize = 1_000;

/// Most CDRs of an import.
pub const IMPORT_CDRS: usize = 500;

/// How far the store counts the works that wait: so many stand for so many or more.
pub const WORKS_COUNTED: u32 = 1_000;

/// Longest part of a call key, bytes. Huawei's are far below 100.
pub const KEY_PART_BYTES: usize = 1_024;

/// Most texts that are kept of one call: the first CDR, and later ones that say something else.
pub const CDR_VERSIONS: usize = 8;

/// Largest later CDR of a call that is kept, bytes. The first is kept whatever its size.
pub const LATER_CDR_BYTES: usize = 64 * 1_024;

/// Longest `subscriptionId`, characters (the size of Huawei's).
pub const SUBSCRIPTION_ID_CHARS: usize = 64;

/// Largest binding row as JSON, bytes. Every call of the binding carries it, and the answer to a push of [`PUSH_CDRS`] must fit
/// [`ANSWER_BYTES`].
pub const BINDING_BYTES: usize = 8 * 1_024;

/// What the store says of one call takes at most this much of an answer, bytes: a binding row, and what the CDR adds.
pub const CALL_ANSWER_BYTES: usize = 16 * 1_024;

/// Largest answer to a push or a batch of pushes, bytes. The store says `retry` of the pushes that do not fit; only an answer about a
/// single push may be larger.
pub const ANSWER_BYTES: usize = 1_024 * 1_024;

/// Largest request with a batch of more than one push, bytes.
pub const BATCH_BYTES: usize = 1_024 * 1_024;
