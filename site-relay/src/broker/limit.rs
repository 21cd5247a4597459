//! How fast one device may send: two token buckets, bytes and packets.

use crate::config::BrokerLimits;
use tokio::time::{Duration, Instant};

/// How long a device may exceed its rate without a pause before it is taken
/// for broken or hostile.
const PATIENCE: Duration = Duration::from_secs(60);
/// A pause at least this long ends the reckoning.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds of the rate that may come at once.
const BURST_S: f64 = 2.0;

/// What a packet means for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Go on.
    Go,
    /// Do not read from it until then.
    Wait(Instant),
    /// It had its chance.
    Excessive,
}

/// The buckets of one device.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes: f64,
    packets: f64,
    filled: Instant,
    waiting: Option<(Instant, Instant)>,
}

impl RateLimit {
    pub(super) fn new(limits: &BrokerLimits, now: Instant) -> Self {
        Self {
            bytes: f64::from(limits.bytes_per_s) * BURST_S,
            packets: f64::from(limits.packets_per_s) * BURST_S,
            filled: now,
            waiting: None,
        }
    }

    /// Counts a packet of so many bytes.
    pub(super) fn count(&mut self, limits: &BrokerLimits, size: usize, now: Instant) -> Pace {
        let rates = (f64::from(limits.bytes_per_s), f64::from(limits.packets_per_s));
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        #[expect(clippy::cast_precision_loss, reason = "packet sizes are far below 2^52")]
        let size = size as f64;
        self.bytes = (self.bytes + passed * rates.0).min(rates.0 * BURST_S) - size;
        self.packets = (self.packets + passed * rates.1).min(rates.1 * BURST_S) - 1.0;
        let owed = (-self.bytes / rates.0).max(-self.packets / rates.1);
        if owed <= 0.0 {
            return Pace::Go;
        }
        let until = now + Duration::from_secs_f64(owed);
        let since = match self.waiting {
            Some((since, ended)) if now < ended + PAUSE => since,
            _ => now,
        };
        self.waiting = Some((since, until));
        if now.duration_since(since) > PATIENCE { Pace::Excessive } else { Pace::Wait(until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> BrokerLimits {
        BrokerLimits { bytes_per_s: 1000, packets_per_s: 10, ..BrokerLimits::default() }
    }

    #[test]
    fn a_burst_passes_and_what_follows_is_slowed_to_the_rate() {
        let now = Instant::now();
        let mut rate = RateLimit::new(&limits(), now);
        assert_eq!(rate.count(&limits(), 2000, now), Pace::Go);
        assert_eq!(rate.count(&limits(), 500, now), Pace::Wait(now + Duration::from_millis(500)));
    }

    #[test]
    fn small_packets_are_limited_by_number() {
        let now = Instant::now();
        let mut rate = RateLimit::new(&limits(), now);
        for _ in 0..20 {
            assert_eq!(rate.count(&limits(), 1, now), Pace::Go);
        }
        assert!(matches!(rate.count(&limits(), 1, now), Pace::Wait(_)));
    }

    #[test]
    fn only_excess_without_a_pause_ends_the_session() {
        for (pause, ends) in [(Duration::ZERO, true), (PAUSE * 3, false)] {
            let mut now = Instant::now();
            let mut rate = RateLimit::new(&limits(), now);
            let mut ended = false;
            for _ in 0..60 {
                match rate.count(&limits(), 5000, now) {
                    Pace::Go => {}
                    Pace::Wait(until) => now = until + pause,
                    Pace::Excessive => ended = true,
                }
            }
            assert_eq!(ended, ends, "pause {pause:?}");
        }
    }
}
