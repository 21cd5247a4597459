//! How devices behave at the front: what is said of each at most once a minute,
//! however many sessions it begins, and who rests after being put out.

use crate::seldom::Seldom;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use unifyit_protocol::ids::DeviceId;

/// For how long a device that was put out for what it sent is not let in.
const REST: Duration = Duration::from_secs(5);
/// Devices that rest at once. Beyond that nobody's rest is kept.
const RESTING: usize = 4096;

/// What is remembered of devices beyond their sessions.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    said: Seldom<(DeviceId, &'static str)>,
    resting: Mutex<HashMap<DeviceId, Instant>>,
}

impl Conduct {
    /// Whether something is to be said of a device: how many times it was since it was
    /// said last.
    pub(super) fn due(&self, device: DeviceId, what: &'static str) -> Option<u64> {
        self.said.due((device, what))
    }

    /// The device is put out and does not come back at once.
    pub(super) fn rest(&self, device: DeviceId) {
        let now = Instant::now();
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= RESTING {
            resting.retain(|_, until| *until > now);
        }
        if resting.len() < RESTING || resting.contains_key(&device) {
            resting.insert(device, now + REST);
        }
    }

    /// Whether it was put out a moment ago.
    pub(super) fn rests(&self, device: DeviceId) -> bool {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match resting.get(&device) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                resting.remove(&device);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_was_put_out_rests_for_a_moment_and_others_do_not() {
        let (conduct, device) = (Conduct::default(), DeviceId::generate());
        conduct.rest(device);
        assert!(conduct.rests(device) && !conduct.rests(DeviceId::generate()));
        tokio::time::advance(REST).await;
        assert!(!conduct.rests(device));
        for _ in 0..2 * RESTING {
            conduct.rest(DeviceId::generate());
        }
        let kept = conduct.resting.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(kept, RESTING);
    }
}
