//! Acts out a temper on one callback.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use tokio::time::sleep;

use super::raw_answer::RawAnswer;
use super::temper::{Act, Mode};

/// The answer, or what to do with the bare connection instead.
pub async fn give(act: Act) -> Result<Response<Full<Bytes>>, RawAnswer> {
    // Even a sleep of nothing waits for the timer's next tick.
    if !act.delay.is_zero() {
        sleep(act.delay).await;
    }
    match act.mode {
        Mode::Ok | Mode::Error => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = act.status;
            Ok(response)
        }
        Mode::Hang => {
            sleep(act.hang).await;
            Err(RawAnswer::Close)
        }
        Mode::Reset => Err(RawAnswer::Reset),
        Mode::Close => Err(RawAnswer::Close),
        Mode::Truncate => Err(RawAnswer::Truncate(act.status)),
        Mode::HalfHeaders => Err(RawAnswer::HalfHeaders(act.status)),
        Mode::SlowBody => Err(RawAnswer::SlowBody(act.status, act.slow_body)),
    }
}
