//! The relay's time, and what it knows of other clocks.
//!
//! Commands are dated by the cloud, so the cloud's clock is the site's time: the
//! relay learns it over its link and carries it forward by the machine's uptime,
//! which nobody sets. Until it has heard the cloud in this run it goes by the
//! machine's own clock, steps included. Everything that a relay dates or judges is
//! by [`SiteClock::now_ms`]; what only measures spans (repeats, debouncing) is by
//! [`SiteClock::uptime_ms`], which no clock's step disturbs.
//!
//! A virtual machine that was paused or saved has its uptime stand still. While the
//! cloud is away, all that shows is that the machine's clock moved ahead of it
//! afterwards. Whether that clock or the reckoning is right is then not known, so
//! [`SiteClock::latest_ms`] is what a command's validity must outlast to be handed
//! out, and nothing ends for good until the cloud is heard.
//!
//! Agents are told when the time is set (each [`SiteClock::steps`]), and they ask
//! once a minute.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    clock::{CLOCK_RIGHT_MS, sentence},
    ids::DeviceId,
    link::DeviceClock,
};

/// Differences up to this are the way's, or the drift of an hour.
const TOLERANCE_MS: i64 = 500;
/// A step of the site's time beyond this is told to agents at once.
const STEP_MS: i64 = 1000;
/// An answer that took longer says little.
const SLOW_MS: u64 = 10_000;
/// For so long after a step devices are told the time with each command.
const JUST_MS: u64 = 60_000;
/// How often the machine's clock is looked at for steps.
const LOOK: Duration = Duration::from_secs(1);
/// How long after its start a relay waits for the cloud's word before it lets
/// commands expire by its machine's clock.
const PATIENCE_MS: u64 = 60_000;
/// A device's clock that moved by less than this since it was told is not told again.
const TOLD_AGAIN_MS: u64 = 30_000;
/// Of one device, a clock is told this often at most, whatever it says.
const TOLD_EVERY_MS: u64 = 60_000;
/// But for so many times at once: a clock that was set wrong and right again is shown
/// to be right at once.
const TOLD_AT_ONCE: u64 = 4;

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
    /// What the cloud told.
    cloud: Mutex<Option<Learnt>>,
    /// Site's time minus uptime as it was last told to agents.
    steps: watch::Sender<i64>,
    /// Uptime when that was last set; 0 for never in this run.
    set_ms: AtomicU64,
    /// The machine's clock minus uptime, as it was last looked at.
    own: watch::Sender<i64>,
    devices: Mutex<Devices>,
}

/// What the cloud told.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    /// Site's time minus uptime.
    offset: i64,
    /// The machine's clock minus uptime when the cloud was last heard.
    own: i64,
}

#[derive(Debug, Default)]
struct Devices {
    told: HashMap<DeviceId, Told>,
    /// Those whose clock moved too soon after it was told.
    late: HashSet<DeviceId>,
}

/// How far a device's clock is ahead, as measured and as last reported.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    ahead_ms: i64,
    told_ms: Option<i64>,
    /// Uptime up to which what was told counts: each time for [`TOLD_EVERY_MS`].
    spent_ms: u64,
}

impl Told {
    fn moved(&self) -> bool {
        self.told_ms.is_none_or(|told| told.abs_diff(self.ahead_ms) >= TOLD_AGAIN_MS)
    }

    fn may_be_told(&self, uptime_ms: u64) -> bool {
        self.spent_ms <= uptime_ms.saturating_add((TOLD_AT_ONCE - 1) * TOLD_EVERY_MS)
    }

    fn tell(&mut self, uptime_ms: u64) -> i64 {
        self.told_ms = Some(self.ahead_ms);
        self.spent_ms = self.spent_ms.max(uptime_ms).saturating_add(TOLD_EVERY_MS);
        self.ahead_ms
    }
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
            set_ms: AtomicU64::new(0),
            own: watch::Sender::new(offset),
            devices: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn learnt(&self) -> Option<Learnt> {
        *self.inner.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Site's time minus uptime, once the cloud told it.
    fn cloud(&self) -> Option<i64> {
        self.learnt().map(|learnt| learnt.offset)
    }

    /// The machine's clock minus uptime.
    fn own_offset(&self) -> i64 {
        signed(self.own_ms()).saturating_sub(signed(self.uptime_ms()))
    }

    fn offset(&self) -> i64 {
        self.cloud().unwrap_or_else(|| self.own_offset())
    }

    /// By how much the site's time may be behind: the machine's clock moved ahead of
    /// it since the cloud was last heard.
    fn doubt_ms(&self) -> u64 {
        let Some(learnt) = self.learnt() else { return 0 };
        let own = self.own_offset();
        let (moved, ahead) = (own.saturating_sub(learnt.own), own.saturating_sub(learnt.offset));
        // One that was behind and was put right is no reason to doubt.
        let by = moved.min(ahead);
        if by > STEP_MS { by.unsigned_abs() } else { 0 }
    }

    /// The latest that the site's time may be, Unix milliseconds; mostly
    /// [`SiteClock::now_ms`].
    #[must_use]
    pub fn latest_ms(&self) -> u64 {
        self.now_ms().saturating_add(self.doubt_ms())
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
            let own = self.own_offset();
            let mut cloud = self.inner.cloud.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *cloud {
                Some(_) if way > SLOW_MS => return,
                Some(present) if present.offset.abs_diff(offset) <= close => {
                    present.own = own;
                    return;
                }
                _ => *cloud = Some(Learnt { offset, own }),
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

    /// Whether the site's time may end something for good: it is the cloud's without
    /// doubt, or the cloud has had its time to be heard.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let run = self.uptime_ms().saturating_sub(self.inner.began_ms);
        match self.learnt() {
            Some(_) => self.doubt_ms() == 0,
            None => run >= PATIENCE_MS,
        }
    }

    /// Tells when the site's time was set.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<i64> {
        self.inner.steps.subscribe()
    }

    /// Whether the site's time was set so lately that devices may not know of it.
    #[must_use]
    pub fn was_just_set(&self) -> bool {
        let set_ms = self.inner.set_ms.load(Ordering::Relaxed);
        set_ms != 0 && self.uptime_ms().saturating_sub(set_ms) < JUST_MS
    }

    /// Tells when the machine's clock was set.
    #[must_use]
    pub fn own_steps(&self) -> watch::Receiver<i64> {
        self.inner.own.subscribe()
    }

    /// Looks whether a clock was set since the last look.
    pub fn look(&self) {
        let own = self.own_offset();
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
                self.inner.set_ms.store(self.uptime_ms().max(1), Ordering::Relaxed);
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
    pub fn measured(&self, device: DeviceId, device_ms: u64) -> Option<DeviceClock> {
        let against = |ms: u64| signed(device_ms).saturating_sub(signed(ms));
        let (site, own) = (against(self.now_ms()), against(self.own_ms()));
        let right = own.unsigned_abs() <= CLOCK_RIGHT_MS || site.unsigned_abs() <= CLOCK_RIGHT_MS;
        let ahead_ms = if right { 0 } else { site };
        let uptime_ms = self.uptime_ms();
        let mut devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let known = devices.told.entry(device).or_default();
        known.ahead_ms = ahead_ms;
        let (moved, may) = (known.moved(), known.may_be_told(uptime_ms));
        if moved && may {
            known.tell(uptime_ms);
        }
        if moved && !may {
            devices.late.insert(device);
        } else {
            devices.late.remove(&device);
        }
        (moved && may).then(|| self.told(device, ahead_ms))
    }

    /// Devices whose clock moved too soon after it was told, and may be told at last.
    pub fn late(&self) -> Vec<DeviceClock> {
        let uptime_ms = self.uptime_ms();
        let mut devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let Devices { told, late } = &mut *devices;
        let mut due = Vec::new();
        late.retain(|device| match told.get_mut(device) {
            Some(known) if !known.may_be_told(uptime_ms) => true,
            Some(known) => {
                due.push(self.told(*device, known.tell(uptime_ms)));
                false
            }
            None => false,
        });
        due
    }

    /// What is told of a device's clock.
    fn told(&self, device: DeviceId, ahead_ms: i64) -> DeviceClock {
        if let Some(sentence) = sentence("The computer's", ahead_ms) {
            tracing::info!(%device, "{sentence}");
        }
        DeviceClock { device, ahead_ms, at_ms: self.now_ms() }
    }

    /// The cloud lacks what it was told of devices' clocks: all of it is told again as it
    /// is measured.
    pub fn forget_told(&self) {
        let mut devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.told.values_mut().for_each(|known| known.told_ms = None);
    }

    /// How far a device's clock was ahead when it was last measured; 0 when right.
    #[must_use]
    pub fn of_device(&self, device: DeviceId) -> i64 {
        let devices = self.inner.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.told.get(&device).map_or(0, |t| t.ahead_ms)
    }
}

#[cfg(test)]
pub(crate) mod tests;
