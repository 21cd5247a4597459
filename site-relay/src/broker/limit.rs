//! How fast one device may send: three token buckets, of bytes, of packets, and of
//! the work of reading what they unfold to.

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
    work: f64,
    filled: Instant,
    waiting: Option<(Instant, Instant)>,
}

impl RateLimit {
    pub(super) fn new(limits: &BrokerLimits, now: Instant) -> Self {
        Self {
            bytes: f64::from(limits.bytes_per_s) * BURST_S,
            packets: f64::from(limits.packets_per_s) * BURST_S,
            work: f64::from(limits.work_per_s) * BURST_S,
            filled: now,
            waiting: None,
        }
    }

    /// Counts a packet of so many bytes.
    pub(super) fn count(&mut self, limits: &BrokerLimits, size: usize, now: Instant) -> Pace {
        #[expect(clippy::cast_precision_loss, reason = "packet sizes are far below 2^52")]
        self.spend(limits, (size as f64, 1.0, 0.0), now)
    }

    /// Counts the work of reading a packet that was counted before.
    pub(super) fn worked(&mut self, limits: &BrokerLimits, work: u32, now: Instant) -> Pace {
        self.spend(limits, (0.0, 0.0, f64::from(work)), now)
    }

    fn spend(
        &mut self,
        limits: &BrokerLimits,
        (size, packets, work): (f64, f64, f64),
        now: Instant,
    ) -> Pace {
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let owed = [
            (&mut self.bytes, limits.bytes_per_s, size),
            (&mut self.packets, limits.packets_per_s, packets),
            (&mut self.work, limits.work_per_s, work),
        ]
        .into_iter()
        .map(|(left, rate, spent)| {
            let rate = f64::from(rate);
            *left = (*left + passed * rate).min(rate * BURST_S) - spent;
            -*left / rate
        })
        .fold(0.0, f64::max);
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
    fn the_work_of_reading_is_limited_whatever_the_bytes() {
        let now = Instant::now();
        let limits = BrokerLimits { work_per_s: 100, ..limits() };
        let mut rate = RateLimit::new(&limits, now);
        assert_eq!(rate.count(&limits, 200, now), Pace::Go);
        assert_eq!(rate.worked(&limits, 200, now), Pace::Go);
        assert_eq!(
            rate.worked(&limits, 500, now),
            Pace::Wait(now + Duration::from_secs(5)),
            "five seconds' worth"
        );
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
