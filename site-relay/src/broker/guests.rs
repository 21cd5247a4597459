//! Computers that may take a device's place for a moment, to hear that they get an
//! identity of their own. One that cannot fetch it comes back each time, and each time
//! the computer that has the place loses its terminals: so each visit doubles the pause
//! until the next.

use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use unifyit_protocol::ids::DeviceId;

/// Pause after the first visit, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));

#[derive(Debug)]
struct Visit {
    at: Instant,
    pause: Duration,
}

/// The last visits, by device.
#[derive(Debug, Default)]
pub(super) struct Guests(HashMap<DeviceId, Visit>);

impl Guests {
    /// Whether a device's session may be interrupted. Notes it.
    pub(super) fn may_interrupt(&mut self, device: DeviceId, now: Instant) -> bool {
        // Whoever was not there for so long may have been mended.
        self.0.retain(|_, visit| now.duration_since(visit.at) < 2 * PAUSE.1);
        match self.0.get_mut(&device) {
            Some(visit) if now.duration_since(visit.at) < visit.pause => false,
            Some(visit) => {
                *visit = Visit { at: now, pause: (visit.pause * 2).min(PAUSE.1) };
                true
            }
            None => {
                self.0.insert(device, Visit { at: now, pause: PAUSE.0 });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_gets_nowhere_interrupts_ever_more_seldom() {
        let (mut guests, device, start) = (Guests::default(), DeviceId::generate(), Instant::now());
        let mut visits = Vec::new();
        // It comes back every ten seconds, for a day.
        for second in (0..86_400).step_by(10) {
            let now = start + Duration::from_secs(second);
            if guests.may_interrupt(device, now) {
                visits.push(second);
            }
        }
        assert_eq!(visits[..4], [0, 300, 900, 2100]);
        assert!(visits.len() < 30, "{visits:?}");
    }
}
