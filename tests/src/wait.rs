//! Waiting for a condition with a deadline. Tests never sleep for a time that
//! somebody guessed: they look again until it holds, and fail with the last
//! thing they saw.

use anyhow::{Result, anyhow};
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(50);

/// Looks at a condition until it holds, and returns what it gave.
///
/// The closure returns `Ok(Some(value))` when it holds, `Ok(None)` or an error
/// when it does not yet; the last error is part of the failure's text.
///
/// # Errors
/// When the deadline passes first.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    let mut last = None;
    loop {
        match look().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= deadline {
            let seen = last.map(|e| format!("; last error: {e:#}")).unwrap_or_default();
            return Err(anyhow!("waited {} s for: {what}{seen}", limit.as_secs_f32()));
        }
        tokio::time::sleep(STEP).await;
    }
}

/// [`until`] for a plain yes-or-no that needs no await.
///
/// # Errors
/// When the deadline passes first.
pub async fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, || {
        let seen = look();
        async move { Ok(seen.then_some(())) }
    })
    .await
}

/// Shorthand for a deadline.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
