//! How long to wait before the next try to reach the relay.

use std::time::Duration;

const LOST: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(15));
/// A relay that was put back to an older copy of its disk refuses computers that joined
/// since, until its cloud told it of them a moment later. Who was revoked asks about
/// once a minute.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The pauses since the last connection that lasted: each kind from a short one to a
/// long one, doubled every time.
#[derive(Debug)]
pub(super) struct Backoff {
    lost: Duration,
    refused: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { lost: LOST.0, refused: REFUSED.0 }
    }
}

impl Backoff {
    /// The relay was not reached, or not for long.
    pub(super) fn lost(&mut self) -> Duration {
        twice(&mut self.lost, LOST.1)
    }

    /// The relay refused this very device.
    pub(super) fn refused(&mut self) -> Duration {
        twice(&mut self.refused, REFUSED.1)
    }
}

fn twice(pause: &mut Duration, last: Duration) -> Duration {
    let next = (*pause * 2).min(last);
    std::mem::replace(pause, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_device_asks_again_soon_and_at_last_about_once_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..6).map(|_| backoff.refused().as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff.lost(), LOST.0, "each kind counts for itself");
    }

    #[test]
    fn a_relay_that_is_away_is_looked_for_ever_more_seldom() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.lost().as_millis()).collect();
        assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
    }
}
