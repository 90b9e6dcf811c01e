use serde::{Deserialize, Serialize};

/// How a business stands in the store: `GET /v1/businesses/{ak}`, and the answer to `POST /v1/businesses/{ak}:pause` and `:resume`.
///
/// While a business is paused its calls are recorded and answered `held`. They become works when it resumes. A call whose claim a worker
/// holds already is still called back. Pausing what is paused, and resuming what is not, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BusinessView {
    /// The business's name in binding records.
    pub ak: String,
    /// Since when it is paused, epoch milliseconds; `null` where it is not.
    pub paused_since: Option<i64>,
    /// How many of its calls wait because it is paused, or was and they are not due yet.
    pub calls_waiting: u64,
}
