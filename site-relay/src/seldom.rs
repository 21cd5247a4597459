//! What the log says at most once a minute of each who causes it, so that a device or a
//! stranger who does the same a thousand times a second fills no disk.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How often something is said of one.
const EVERY: Duration = Duration::from_secs(60);
/// Of so many at once something can be said; beyond that figures alone tell.
const KEPT: usize = 4096;

/// Lines of the log that stand for many, by who causes them.
#[derive(Debug)]
pub(crate) struct Seldom<K>(Mutex<HashMap<K, Said>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Seldom<K> {
    /// Counts one more time. Where it is time to say it: how many times it was since
    /// it was said last, this one included.
    pub(crate) fn due(&self, who: K) -> Option<u64> {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = all.get_mut(&who) {
            said.since += 1;
            if now.duration_since(said.at) < EVERY {
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.since));
        }
        if all.len() >= KEPT {
            all.retain(|_, said| now.duration_since(said.at) < EVERY);
            if all.len() >= KEPT {
                return None;
            }
        }
        all.insert(who, Said { at: now, since: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_does_often_is_said_once_a_minute_and_of_others_too() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due(1), Some(1));
        assert!((0..1000).all(|_| seldom.due(1).is_none()));
        assert_eq!(seldom.due(2), Some(1));
        tokio::time::advance(EVERY).await;
        assert_eq!((seldom.due(1), seldom.due(1)), (Some(1001), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_kept_within_a_bound() {
        let seldom = Seldom::default();
        let said = (0..2 * KEPT).filter(|who| seldom.due(*who).is_some()).count();
        assert_eq!(said, KEPT);
        tokio::time::advance(EVERY).await;
        assert_eq!(seldom.due(3 * KEPT), Some(1));
    }
}
