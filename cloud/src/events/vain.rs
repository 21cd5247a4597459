//! Which devices' relays were asked in vain, so that nobody waits for them again soon.

use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use unifyit_protocol::ids::DeviceId;

/// How long nobody waits again: after the first time, for the relay may just be coming
/// back, and twice as long after each further one up to the last.
const REST: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(180));
/// Devices of which it is remembered.
const REMEMBERED: usize = 20_000;

/// A wait that was in vain: up to which minute, when, and for how long it counts.
#[derive(Debug, Clone, Copy)]
struct Wait {
    until: u64,
    at: Instant,
    rest: Duration,
}

/// Waits that were in vain.
#[derive(Debug)]
pub struct Vain(Mutex<LruCache<DeviceId, Wait>>);

impl Default for Vain {
    fn default() -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::sparse(size)))
    }
}

impl Vain {
    /// Whether a wait for a device, stored through a minute, would be in vain again. It
    /// would not where what was waited for has come since.
    #[must_use]
    pub fn again(&self, device: DeviceId, stored: Option<u64>, now: Instant) -> bool {
        let vain = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        vain.peek(&device).is_some_and(|wait| {
            stored.is_none_or(|stored| stored < wait.until)
                && now.duration_since(wait.at) < wait.rest
        })
    }

    /// What was to come up to a minute did not. Of all who waited together, and end
    /// within one rest, the first counts: the relay was asked in vain once.
    pub fn note(&self, device: DeviceId, until: u64, now: Instant) {
        let mut vain = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match vain.get_mut(&device) {
            Some(wait) if now.duration_since(wait.at) < wait.rest => {
                wait.until = wait.until.max(until);
                return;
            }
            // One long ago says nothing of this one.
            Some(wait) if now.duration_since(wait.at) < 2 * REST.1 => {
                Wait { until, at: now, rest: (wait.rest * 2).min(REST.1) }
            }
            _ => Wait { until, at: now, rest: REST.0 },
        };
        vain.put(device, wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_waited_together_in_vain_count_once() {
        let (vain, device, start) = (Vain::default(), DeviceId::generate(), Instant::now());
        (0..5).for_each(|_| vain.note(device, 970, start));
        assert!(vain.again(device, Some(940), start + REST.0 / 2));
        assert!(!vain.again(device, Some(940), start + REST.0), "the rest is the first one");
    }

    #[test]
    fn who_did_not_answer_is_not_waited_for_again_until_it_has() {
        let (vain, device, start) = (Vain::default(), DeviceId::generate(), Instant::now());
        assert!(!vain.again(device, None, start));
        vain.note(device, 970, start);
        let soon = start + REST.0 / 2;
        assert!(vain.again(device, Some(940), soon) && vain.again(device, None, soon));
        assert!(!vain.again(device, Some(970), soon), "it came after all");
        assert!(!vain.again(DeviceId::generate(), Some(940), soon));
        assert!(!vain.again(device, Some(940), start + REST.0), "it may have come to itself");
        let (mut now, mut over) = (start, REST.0);
        for rest in [30, 60, 120, 180, 180].map(Duration::from_secs) {
            now += over;
            vain.note(device, 970, now);
            assert!(vain.again(device, Some(940), now + rest - REST.0 / 2));
            assert!(!vain.again(device, Some(940), now + rest), "{rest:?}");
            over = rest;
        }
        vain.note(device, 970, now + 2 * REST.1);
        assert!(!vain.again(device, Some(940), now + 2 * REST.1 + REST.0), "it begins anew");
        for _ in 0..2 * REMEMBERED {
            vain.note(DeviceId::generate(), 970, start);
        }
        assert_eq!(vain.0.lock().unwrap_or_else(PoisonError::into_inner).len(), REMEMBERED);
    }
}
