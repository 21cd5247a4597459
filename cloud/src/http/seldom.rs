//! What is said at most once in a while, so that whoever reaches a bound a thousand
//! times a second fills no log.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A bound is logged at most this often.
const EVERY: Duration = Duration::from_secs(60);

/// A line of the log that stands for many.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// Nothing was said yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Said { at: None, since: 0 }))
    }

    /// Counts one more time. Where it is time to say it: how many times it was since
    /// it was said last, this one included.
    pub(crate) fn due(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.since += 1;
        if said.at.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        said.at = Some(Instant::now());
        Some(std::mem::take(&mut said.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_said_once_a_minute_with_its_count() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(1));
        assert!((0..1000).all(|_| seldom.due().is_none()));
        tokio::time::advance(EVERY).await;
        assert_eq!(seldom.due(), Some(1001));
        assert_eq!(seldom.due(), None);
    }
}
