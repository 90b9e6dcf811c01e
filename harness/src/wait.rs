//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long a look that found nothing waits before the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `look` returns `Ok`, and hands that on. An `Err` of `look` says what it saw instead.
///
/// # Errors
///
/// After `within`: what was waited for, how long, and what was seen last.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = Some(seen),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            let seen =
                last.map_or_else(|| "nothing: the look itself did not end".to_owned(), |seen| format!("{seen:#}"));
            return Err(anyhow!("waited {within:?} for {what}; last seen: {seen}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::bail;

    use super::until;

    #[tokio::test]
    async fn it_ends_when_the_thing_is_there() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks < 3 {
                bail!("{looks} looks")
            }
            Ok(looks)
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn it_says_what_it_saw_last() {
        let never = until::<()>("a miracle", Duration::from_millis(50), async || bail!("nothing but rain")).await;
        let text = never.unwrap_err().to_string();
        assert!(text.contains("a miracle") && text.contains("nothing but rain"), "{text}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hang_the_waiting() {
        let never = until::<()>("an answer", Duration::from_millis(50), std::future::pending).await;
        assert!(never.unwrap_err().to_string().contains("did not end"));
    }
}
