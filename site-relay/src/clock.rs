//! The relay's time, and what it knows of other clocks.
//!
//! Commands are dated by the cloud, so the cloud's clock is the site's time: the
//! relay learns it over its link and carries it forward by the machine's uptime,
//! which nobody sets. Until it has heard the cloud in this run it goes by the
//! machine's own clock, steps included. Everything that a relay dates or judges is
//! by [`SiteClock::now_ms`]; what only measures spans (repeats, debouncing) is by
//! [`SiteClock::uptime_ms`], which no clock's step disturbs.
//!
//! Agents are told when the time is set (each [`SiteClock::steps`]), and they ask
//! once a minute.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{clock::CLOCK_RIGHT_MS, ids::DeviceId};

/// Differences up to this are the way's, or the drift of an hour.
const TOLERANCE_MS: i64 = 500;
/// A step of the site's time beyond this is told to agents at once.
const STEP_MS: i64 = 1000;
/// An answer that took longer says little.
const SLOW_MS: u64 = 10_000;
/// How often the machine's clock is looked at for steps.
const LOOK: Duration = Duration::from_secs(1);
/// How long after its start a relay waits for the cloud's word before it lets
/// commands expire by its machine's clock.
const PATIENCE_MS: u64 = 60_000;
/// A device's clock that moved by less than this since it was told is not told again.
const TOLD_AGAIN_MS: u64 = 30_000;

/// Reads the machine's clocks; tests put their own.
pub trait Machine: Send + Sync {
    /// Milliseconds since the machine started, sleep included.
    fn uptime_ms(&self) -> u64;
    /// The machine's own clock, Unix milliseconds.
    fn own_ms(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
struct System;

impl Machine for System {
    fn uptime_ms(&self) -> u64 {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(at.tv_sec), u64::try_from(at.tv_nsec));
        seconds.unwrap_or(0).saturating_mul(1000) + nanos.unwrap_or(0) / 1_000_000
    }

    fn own_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The site's time. Cheap to clone.
#[derive(Clone)]
pub struct SiteClock {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Box<dyn Machine>,
    /// Uptime at the start of this run.
    began_ms: u64,
    /// Site's time minus uptime, once the cloud told it.
    cloud: Mutex<Option<i64>>,
    /// Site's time minus uptime as it was last told to agents.
    steps: watch::Sender<i64>,
    /// The machine's clock minus uptime, as it was last looked at.
    own: watch::Sender<i64>,
    devices: Mutex<HashMap<DeviceId, Told>>,
}

/// How far a device's clock is ahead, as measured and as last reported.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    ahead_ms: i64,
    told_ms: Option<i64>,
}

impl fmt::Debug for SiteClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteClock({})", self.now_ms())
    }
}

impl Default for SiteClock {
    fn default() -> Self {
        Self::new(Box::new(System))
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl SiteClock {
    /// A clock on a machine's.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>) -> Self {
        let offset = signed(machine.own_ms()).saturating_sub(signed(machine.uptime_ms()));
        let inner = Inner {
            began_ms: machine.uptime_ms(),
            machine,
            cloud: Mutex::new(None),
            steps: watch::Sender::new(offset),
            own: watch::Sender::new(offset),
            devices: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn cloud(&self) -> Option<i64> {
        *self.inner.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offset(&self) -> i64 {
        self.cloud()
            .unwrap_or_else(|| signed(self.own_ms()).saturating_sub(signed(self.uptime_ms())))
    }

    /// The site's time, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self.cloud() {
            None => self.own_ms(),
            Some(offset) => {
                u64::try_from(signed(self.uptime_ms()).saturating_add(offset)).unwrap_or(0)
            }
        }
    }

    /// The site's time.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let seconds = i64::try_from(self.now_ms() / 1000).unwrap_or(0);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Milliseconds since the machine started, sleep included: for spans.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        self.inner.machine.uptime_ms()
    }

    /// The machine's own clock, Unix milliseconds, however wrong.
    #[must_use]
    pub fn own_ms(&self) -> u64 {
        self.inner.machine.own_ms()
    }

    /// Learns the cloud's time from its answer to a question that left at
    /// `asked_ms` of the uptime.
    pub fn learn(&self, cloud_ms: u64, asked_ms: u64) {
        let way = self.uptime_ms().saturating_sub(asked_ms);
        let offset = signed(cloud_ms).saturating_sub(signed(asked_ms.saturating_add(way / 2)));
        let close = TOLERANCE_MS.max(signed(way / 2)).unsigned_abs();
        {
            let mut cloud = self.inner.cloud.lock().unwrap_or_else(PoisonError::into_inner);
            match *cloud {
                Some(_) if way > SLOW_MS => return,
                Some(present) if present.abs_diff(offset) <= close => return,
                _ => *cloud = Some(offset),
            }
        }
        self.look();
    }

    /// How far this machine's clock is ahead of the cloud's; negative when it is
    /// behind, `None` while the cloud was not heard.
    #[must_use]
    pub fn ahead_ms(&self) -> Option<i64> {
        self.cloud().map(|_| signed(self.own_ms()).saturating_sub(signed(self.now_ms())))
    }

    /// Whether the site's time may end something for good: it is the cloud's, or the
    /// cloud has had its time to be heard.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let run = self.uptime_ms().saturating_sub(self.inner.began_ms);
        self.cloud().is_some() || run >= PATIENCE_MS
    }

    /// Tells when the site's time was set.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<i64> {
        self.inner.steps.subscribe()
    }

    /// Tells when the machine's clock was set.
    #[must_use]
    pub fn own_steps(&self) -> watch::Receiver<i64> {
        self.inner.own.subscribe()
    }

    /// Looks whether a clock was set since the last look.
    pub fn look(&self) {
        let own = signed(self.own_ms()).saturating_sub(signed(self.uptime_ms()));
        self.inner.own.send_if_modified(|seen| {
            let stepped = seen.abs_diff(own) > STEP_MS.unsigned_abs();
            if stepped {
                *seen = own;
            }
            stepped
        });
        let offset = self.offset();
        self.inner.steps.send_if_modified(|told| {
            let stepped = told.abs_diff(offset) > STEP_MS.unsigned_abs();
            if stepped {
                tracing::warn!(by_ms = offset.saturating_sub(*told), "the site's time was set");
                *told = offset;
            }
            stepped
        });
    }

    /// Looks again and again until cancelled.
    pub async fn watch(self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = tick.tick() => self.look(),
            }
        }
    }

    /// Measures a device's clock. How far it is ahead, when that is to be told.
    /// A device that agrees with this machine's own clock is not the one to blame
    /// when that clock and the cloud's disagree.
    pub fn measured(&self, device: DeviceId, device_ms: u64) -> Option<i64> {
        let against = |ms: u64| signed(device_ms).saturating_sub(signed(ms));
        let (site, own) = (against(self.now_ms()), against(self.own_ms()));
        let right = own.unsigned_abs() <= CLOCK_RIGHT_MS || site.unsigned_abs() <= CLOCK_RIGHT_MS;
        let ahead_ms = if right { 0 } else { site };
        let mut devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let known = devices.entry(device).or_default();
        known.ahead_ms = ahead_ms;
        let moved = known.told_ms.is_none_or(|told| told.abs_diff(ahead_ms) >= TOLD_AGAIN_MS);
        if moved {
            known.told_ms = Some(ahead_ms);
        }
        moved.then_some(ahead_ms)
    }

    /// How far a device's clock was ahead when it was last measured; 0 when right.
    #[must_use]
    pub fn of_device(&self, device: DeviceId) -> i64 {
        let devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.get(&device).map_or(0, |t| t.ahead_ms)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const T: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;

    /// A machine whose clocks a test sets.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Set {
        pub(crate) uptime: Arc<AtomicU64>,
        pub(crate) own: Arc<AtomicU64>,
    }

    impl Machine for Set {
        fn uptime_ms(&self) -> u64 {
            self.uptime.load(Ordering::Relaxed)
        }
        fn own_ms(&self) -> u64 {
            self.own.load(Ordering::Relaxed)
        }
    }

    fn clock(own: u64) -> (Set, SiteClock) {
        let set = Set::default();
        set.own.store(own, Ordering::Relaxed);
        let clock = SiteClock::new(Box::new(set.clone()));
        (set, clock)
    }

    #[test]
    fn the_clouds_time_holds_whatever_the_machines_clock_is_or_becomes() {
        let ten_years = 10 * 365 * 24 * HOUR;
        for own in
            [T, T + HOUR, T - HOUR, T + 24 * HOUR, T - 24 * HOUR, T + ten_years, T - ten_years]
        {
            let (set, clock) = clock(own);
            assert_eq!(clock.now_ms(), own, "its own clock, until the cloud was heard");
            clock.learn(T, 0);
            assert_eq!(clock.now_ms(), T);
            set.uptime.store(5000, Ordering::Relaxed);
            for later in [T, T + ten_years, 0] {
                set.own.store(later, Ordering::Relaxed);
                assert_eq!(clock.now_ms(), T + 5000);
            }
        }
    }

    #[test]
    fn nothing_ends_for_good_before_the_cloud_could_be_heard() {
        let (set, alone) = clock(T + 48 * HOUR);
        assert!(!alone.is_settled());
        set.uptime.store(PATIENCE_MS, Ordering::Relaxed);
        assert!(alone.is_settled());
        let (_, heard) = clock(T + 48 * HOUR);
        heard.learn(T, 0);
        assert!(heard.is_settled());
    }

    #[test]
    fn a_step_is_told_once_whether_it_is_the_machines_or_the_clouds() {
        let (set, clock) = clock(T);
        let mut steps = clock.steps();
        clock.look();
        assert!(!steps.has_changed().unwrap());
        set.own.store(T + HOUR, Ordering::Relaxed);
        clock.look();
        assert!(steps.has_changed().unwrap());
        steps.borrow_and_update();
        clock.learn(T, 0);
        assert!(steps.has_changed().unwrap());
        steps.borrow_and_update();
        clock.learn(T + 100, 0);
        assert!(!steps.has_changed().unwrap(), "that was jitter");
    }

    #[test]
    fn a_device_is_measured_against_both_clocks() {
        let (_, clock) = clock(T + HOUR);
        let device = DeviceId::generate();
        clock.learn(T, 0);
        assert_eq!(clock.ahead_ms(), Some(signed(HOUR)));
        assert_eq!(clock.measured(device, T), Some(0), "it has the cloud's time");
        assert_eq!(clock.measured(device, T + HOUR), None, "it has the machine's");
        let two = T + 2 * HOUR;
        assert_eq!(clock.measured(device, two), Some(signed(2 * HOUR)));
        assert_eq!(clock.measured(device, two + 1000), None, "told already");
        assert_eq!(clock.of_device(device), signed(2 * HOUR + 1000));
        assert_eq!(clock.measured(device, T), Some(0), "right again");
    }
}
