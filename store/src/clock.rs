//! The one place that reads the time. Below it time is an argument.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time: epoch milliseconds, UTC.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// A clock that tells what `now_ms` returns.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The time now, epoch milliseconds.
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}
