//! Whom to ask for the columns of measurements, and how often.
//!
//! A relay tells of each table once, so a database that is an older copy has to ask.
//! A relay may lack the table too, or tell one that cannot be taken: so each question
//! that brings nothing doubles the pause until the next.

use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use unifyit_protocol::ids::DeviceId;

/// Pause after the first question, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(24 * 3600));
/// Devices of which it is remembered when they were asked.
const REMEMBERED: usize = 200_000;

#[derive(Debug, Clone, Copy)]
struct Question {
    at: Instant,
    pause: Duration,
}

/// When devices were last asked for their columns.
#[derive(Debug)]
pub(super) struct Asked(Mutex<LruCache<DeviceId, Question>>);

impl Default for Asked {
    fn default() -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::sparse(size)))
    }
}

impl Asked {
    /// Whether a device may be asked.
    pub(super) fn is_due(&self, device: DeviceId, now: Instant) -> bool {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.peek(&device).is_none_or(|last| now.duration_since(last.at) >= last.pause)
    }

    /// The question is on its way.
    pub(super) fn note(&self, devices: &[DeviceId], now: Instant) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for device in devices {
            // What was answered long ago is no reason to wait.
            let last = asked.get(device).filter(|last| now.duration_since(last.at) < 2 * PAUSE.1);
            let pause = last.map_or(PAUSE.0, |last| (2 * last.pause).min(PAUSE.1));
            asked.put(*device, Question { at: now, pause });
        }
    }

    /// The database is another: what was answered may be gone.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_answer_is_asked_ever_more_seldom() {
        let (asked, device, start) = (Asked::default(), DeviceId::generate(), Instant::now());
        let mut questions = 0;
        for minute in 0..1440 {
            let now = start + Duration::from_secs(60 * minute);
            if asked.is_due(device, now) {
                asked.note(&[device], now);
                questions += 1;
            }
        }
        assert!((5..=12).contains(&questions), "{questions} in a day");
        asked.forget();
        assert!(asked.is_due(device, start));
    }
}
