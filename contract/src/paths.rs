//! Where the store answers. Versioned: a change that an older filter could not read gets a new prefix.

/// `POST`: a push, reshaped. See [`Push`](crate::Push) and [`PushAnswer`](crate::PushAnswer).
pub const PUSHES: &str = "/v1/pushes";
/// `POST`: several pushes at once. See [`PushBatch`](crate::PushBatch) and [`PushBatchAnswer`](crate::PushBatchAnswer).
pub const PUSH_BATCHES: &str = "/v1/push-batches";
/// Response header of a 200 to `POST /v1/pushes`: the push id, committed. Without it a 200 says nothing, for anybody may
/// answer 200 to anything.
pub const COMMITTED_HEADER: &str = "privatenumber-committed";
/// `POST`: takes calls that wait in the store. See [`WorkRequest`](crate::WorkRequest) and [`WorkAnswer`](crate::WorkAnswer).
pub const WORK_TAKE: &str = "/v1/work:take";
/// `POST`: releases calls whose callback certainly never left. See [`ReleaseRequest`](crate::ReleaseRequest). A parked CDR is released
/// by `POST` to its number below [`PARKED`], followed by `:release`. See [`ParkedReleaseRequest`](crate::ParkedReleaseRequest).
pub const CALLS_RELEASE: &str = "/v1/calls:release";
/// `POST`: records CDRs that no push brought. See [`ImportRequest`](crate::ImportRequest).
pub const CDRS_IMPORT: &str = "/v1/cdrs:import";
/// `POST`: what became of callbacks. See [`Outcomes`](crate::Outcomes).
pub const OUTCOMES: &str = "/v1/outcomes";
/// `PUT|GET` below it, by `subscriptionId`. See [`Binding`](crate::Binding).
pub const BINDINGS: &str = "/v1/bindings";
/// `GET` below it, by `ak`: how a business stands. `POST` there, followed by `:pause` or `:resume`. See
/// [`BusinessView`](crate::BusinessView).
pub const BUSINESSES: &str = "/v1/businesses";
/// `GET`: calls, newest first; one call below it, by its id.
pub const CALLS: &str = "/v1/calls";
/// `GET`: CDRs that could not be used, newest first.
pub const PARKED: &str = "/v1/parked";
/// `GET`: call and number status events, raw, newest first.
pub const EVENTS: &str = "/v1/events";
/// `GET`: pushes whose signature had come with other texts before, newest first.
pub const REPLAYS: &str = "/v1/replays";
/// `GET`: the process runs.
pub const HEALTH: &str = "/healthz";
/// `GET`: the store can commit.
pub const READY: &str = "/readyz";
/// `GET`: Prometheus metrics.
pub const METRICS: &str = "/metrics";
