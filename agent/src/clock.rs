//! The only place that asks for the time; the uptime it has of [`platform`].
//!
//! A computer's own clock is often wrong: a flat battery, a second system that
//! keeps local time, a virtual machine that slept. So the agent learns the site's
//! time from its relay, over the authenticated line, and carries it forward by
//! the system's uptime, which nobody sets and which counts sleep too:
//!
//! - [`now_ms`] judges: the site's time once it was learnt in this run, the
//!   computer's own clock before.
//! - [`local_ms`] is the computer's own clock, for telling how wrong it is.
//! - [`frame_ms`] dates samples. It starts at the computer's clock and then only
//!   follows the uptime, so that no step of any clock tears or folds a chart;
//!   [`shift_ms`] is what brings it to the site's time, and travels with each
//!   batch. Samples that were taken before the relay was reached are put right so.
//!
//! What a relay that lies about the time can do, and what not: it can hold a
//! command back and make the agent take it for unexpired later on. It cannot make
//! it run twice (the ledger), nor before it was issued, nor after the agent wrote
//! down a newer command that was signed after its expiry ([`later_issue`]). Making
//! a command seem expired gains nothing: a courier could as well drop it.
//!
//! What was written down while a clock was years ahead binds nobody for years: a
//! moment that neither the site's time nor the own clock has reached, by more than
//! [`AHEAD_MS`], was never a moment.

use crate::platform;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// Differences up to this are the network's, or the drift of an hour.
const TOLERANCE_MS: i64 = 250;
/// A step of the own clock beyond this is told to the relay at once.
const STEP_MS: i64 = 1000;
/// How often the clocks are compared.
const COMPARE_EVERY_MS: u64 = 60_000;
/// Clocks that are right differ by less, whatever zone somebody set them to.
pub const AHEAD_MS: u64 = 24 * 3_600_000;
/// An answer that took longer says little.
const SLOW_MS: u64 = 5000;

/// The agent's time. All readings are arguments; see the functions below for the
/// one of this process.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Reckoning>);

#[derive(Debug, Clone, Copy, Default)]
struct Reckoning {
    /// Site's time minus uptime.
    site: Option<i64>,
    /// Time of samples minus uptime.
    frame: Option<i64>,
    /// Own clock minus uptime, as it was last looked at.
    own: Option<i64>,
    compared_ms: Option<u64>,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn after(uptime_ms: u64, offset: i64) -> u64 {
    u64::try_from(signed(uptime_ms).saturating_add(offset)).unwrap_or(0)
}

impl Clock {
    /// Nothing learnt yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Reckoning { site: None, frame: None, own: None, compared_ms: None }))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Reckoning) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time to judge by.
    pub fn now(&self, uptime_ms: u64, own_ms: u64) -> u64 {
        self.with(|r| r.site.map_or(own_ms, |offset| after(uptime_ms, offset)))
    }

    /// The time to date samples with.
    pub fn frame(&self, uptime_ms: u64, own_ms: u64) -> u64 {
        self.with(|r| {
            let start = signed(own_ms).saturating_sub(signed(uptime_ms));
            after(uptime_ms, *r.frame.get_or_insert(start))
        })
    }

    /// What brings the dates of samples to the site's time, as far as it is known.
    pub fn shift(&self) -> i64 {
        self.with(|r| match (r.site, r.frame) {
            (Some(site), Some(frame)) => site.saturating_sub(frame),
            _ => 0,
        })
    }

    /// Learns the site's time from an answer to a question that left at `asked_ms`
    /// of the uptime. Whether the reckoning moved.
    pub fn learn(&self, site_ms: u64, asked_ms: u64, uptime_ms: u64) -> bool {
        let way = uptime_ms.saturating_sub(asked_ms);
        let offset = signed(site_ms).saturating_sub(signed(asked_ms.saturating_add(way / 2)));
        self.with(|r| {
            let close = TOLERANCE_MS.max(signed(way / 2));
            let moved = match r.site {
                None => true,
                Some(_) if way > SLOW_MS => false,
                Some(present) => present.abs_diff(offset) > close.unsigned_abs(),
            };
            if moved {
                r.site = Some(offset);
            }
            moved
        })
    }

    /// How far the computer's own clock is ahead of the site's time; negative when
    /// it is behind, `None` while the latter is unknown.
    pub fn ahead(&self, uptime_ms: u64, own_ms: u64) -> Option<i64> {
        self.with(|r| r.site.map(|offset| signed(own_ms) - signed(after(uptime_ms, offset))))
    }

    /// Whether the clocks are to be compared: a minute went by, or somebody set
    /// the own one.
    pub fn look(&self, uptime_ms: u64, own_ms: u64) -> bool {
        self.with(|r| {
            let own = signed(own_ms).saturating_sub(signed(uptime_ms));
            let stepped =
                r.own.replace(own).is_some_and(|was| was.abs_diff(own) > STEP_MS.unsigned_abs());
            let due =
                r.compared_ms.is_none_or(|at| at.saturating_add(COMPARE_EVERY_MS) <= uptime_ms);
            if stepped || due {
                r.compared_ms = Some(uptime_ms);
            }
            stepped || due
        })
    }
}

/// The newest command of the authority, by its count, and when it was signed. The count decides: a cloud whose clock was ahead and is right again signs
/// newer commands at earlier times.
#[derive(Debug, Default)]
pub struct Newest(Mutex<(u64, u64)>);

impl Newest {
    /// Notes a command; when a newer one was signed, if there is one, else 0.
    pub fn later_issue(&self, counter: u64, issued_ms: u64) -> u64 {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counter < newest.0 {
            return newest.1;
        }
        *newest = (counter, issued_ms);
        0
    }

    /// The count of the newest one and when it was signed.
    pub fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static CLOCK: Clock = Clock::new();
static NEWEST: Newest = Newest(Mutex::new((0, 0)));
static COMPARE: Notify = Notify::const_new();
static MOVED: Notify = Notify::const_new();
static STEPPED: Notify = Notify::const_new();
/// Reports of epochs before this one were dated by an earlier run.
static FIRST_EPOCH: AtomicU64 = AtomicU64::new(0);
static EARLIER_SHIFT: AtomicI64 = AtomicI64::new(0);

/// Milliseconds since the computer started, sleep included. Nobody can set it.
#[must_use]
pub fn uptime_ms() -> u64 {
    platform::uptime_ms()
}

/// The computer's own clock, Unix milliseconds. One before 1970 reads as 0.
#[must_use]
pub fn local_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The time to judge by, Unix milliseconds: see the module.
#[must_use]
pub fn now_ms() -> u64 {
    CLOCK.now(uptime_ms(), local_ms())
}

/// The time to date samples with, Unix milliseconds: see the module.
#[must_use]
pub fn frame_ms() -> u64 {
    CLOCK.frame(uptime_ms(), local_ms())
}

/// What brings the dates of an epoch's samples to the site's time.
#[must_use]
pub fn shift_ms(epoch: u64) -> i64 {
    if epoch < FIRST_EPOCH.load(Ordering::Relaxed) {
        EARLIER_SHIFT.load(Ordering::Relaxed)
    } else {
        CLOCK.shift()
    }
}

/// Says which epoch this run begins with, and by how much the run before was off.
pub fn start(first_epoch: u64, earlier_shift_ms: i64) {
    FIRST_EPOCH.store(first_epoch, Ordering::Relaxed);
    EARLIER_SHIFT.store(earlier_shift_ms, Ordering::Relaxed);
}

/// Learns the site's time; `asked_ms` is the [`uptime_ms`] of the question.
/// Whether the reckoning moved.
pub fn learn(site_ms: u64, asked_ms: u64) -> bool {
    // A frame begun later would begin at a clock that was set in between.
    let _started = frame_ms();
    let moved = CLOCK.learn(site_ms, asked_ms, uptime_ms());
    if moved {
        MOVED.notify_one();
        STEPPED.notify_one();
    }
    moved
}

/// Completes when the time to judge by may have made a step since it was last asked.
pub async fn stepped() {
    STEPPED.notified().await;
}

/// Completes when the reckoning moved since it was last asked.
pub async fn moved() {
    MOVED.notified().await;
}

/// How far the computer's own clock is ahead of the site's time, when that is known.
#[must_use]
pub fn ahead_ms() -> Option<i64> {
    CLOCK.ahead(uptime_ms(), local_ms())
}

/// To be called with each collection: wakes [`compare_wanted`] when it is time.
pub fn look() {
    if CLOCK.look(uptime_ms(), local_ms()) {
        COMPARE.notify_one();
        STEPPED.notify_one();
    }
}

/// Completes when the clocks are to be compared with the relay's.
pub async fn compare_wanted() {
    COMPARE.notified().await;
}

/// The later of the site's time and the computer's own: no clock says more.
#[must_use]
pub fn latest_ms() -> u64 {
    now_ms().max(local_ms())
}

/// Notes a genuine command of the authority; see [`Newest`].
pub fn later_issue(counter: u64, issued_ms: u64) -> u64 {
    reached(NEWEST.later_issue(counter, issued_ms), latest_ms())
}

/// The newest command of the authority, for being written down.
#[must_use]
pub fn newest() -> (u64, u64) {
    NEWEST.get()
}

/// A moment, or 0 when no clock has reached it.
#[must_use]
pub fn reached(moment_ms: u64, latest_ms: u64) -> u64 {
    if moment_ms > latest_ms.saturating_add(AHEAD_MS) { 0 } else { moment_ms }
}

/// A number below `bound`, different at each call: for jitter, not for secrets.
#[must_use]
pub fn jitter(bound: u64) -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    (high ^ low).checked_rem(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;
    const YEARS: u64 = 10 * 365 * 24 * HOUR;

    /// Offsets of a computer's clock: an hour, a day and ten years, both ways.
    const OFF: [i64; 7] = [
        0,
        HOUR as i64,
        -(HOUR as i64),
        24 * HOUR as i64,
        -24 * (HOUR as i64),
        YEARS as i64,
        -(YEARS as i64),
    ];

    fn off(at: u64, by: i64) -> u64 {
        at.saturating_add_signed(by)
    }

    #[test]
    fn time_is_right_once_it_was_learnt_however_wrong_the_own_clock_is_or_becomes() {
        for before in OFF {
            for later in OFF {
                let clock = Clock::new();
                assert_eq!(clock.now(1000, off(T, before)), off(T, before));
                assert!(clock.learn(T + 1000, 2000, 2000));
                assert_eq!(clock.now(5000, off(T + 4000, before)), T + 4000);
                assert_eq!(clock.now(9000, off(T + 8000, later)), T + 8000);
                assert_eq!(clock.ahead(9000, off(T + 8000, later)), Some(later));
            }
        }
    }

    #[test]
    fn samples_from_before_the_first_answer_are_put_right_and_no_step_tears_them() {
        for before in OFF {
            for later in OFF {
                let clock = Clock::new();
                let early = clock.frame(1000, off(T, before));
                let stepped = clock.frame(11_000, off(T + 10_000, later));
                assert_eq!(stepped - early, 10_000);
                clock.learn(T + 20_000, 21_000, 21_000);
                let late = clock.frame(31_000, off(T + 30_000, before));
                assert_eq!(off(early, clock.shift()), T);
                assert_eq!(off(stepped, clock.shift()), T + 10_000);
                assert_eq!(off(late, clock.shift()), T + 30_000);
            }
        }
    }

    #[test]
    fn a_relay_whose_time_is_set_is_followed_and_jitter_is_not() {
        let clock = Clock::new();
        assert!(clock.learn(T + HOUR, 1000, 1010));
        assert!(!clock.learn(T + HOUR + 100, 1000, 1200));
        assert!(clock.learn(T, 2000, 2010), "an hour back");
        assert_eq!(clock.now(2005, 0), T);
        assert!(!clock.learn(T + HOUR, 3000, 3000 + SLOW_MS + 1), "an answer that took long");
    }

    #[test]
    fn what_was_held_back_is_judged_by_what_was_signed_since() {
        let newest = Newest::default();
        assert_eq!(newest.later_issue(5, T), 0);
        assert_eq!(newest.later_issue(6, T + HOUR), 0);
        assert_eq!(newest.later_issue(5, T), T + HOUR, "an hour has passed since, at least");
        assert_eq!(newest.later_issue(6, T + HOUR), 0, "a repeat of the newest");
        assert_eq!(newest.later_issue(7, T + 60_000), 0, "the cloud's clock was set right");
        assert_eq!(newest.later_issue(6, T + HOUR), T + 60_000);
    }

    #[test]
    fn a_moment_that_no_clock_has_reached_binds_nobody() {
        assert_eq!(reached(T + HOUR, T), T + HOUR);
        assert_eq!(reached(T + AHEAD_MS, T), T + AHEAD_MS);
        assert_eq!(reached(T + YEARS, T), 0);
    }

    #[test]
    fn half_of_the_way_is_the_answers() {
        let clock = Clock::new();
        clock.learn(T, 1000, 1400);
        assert_eq!(clock.now(1400, 0), T + 200);
    }

    #[test]
    fn a_clock_that_is_set_is_compared_at_once_and_else_each_minute() {
        let clock = Clock::new();
        assert!(clock.look(0, T));
        assert!(!clock.look(10_000, T + 10_000));
        assert!(clock.look(20_000, T + 20_000 + HOUR));
        assert!(!clock.look(30_000, T + 30_000 + HOUR));
        assert!(clock.look(80_000, T + 80_000 + HOUR));
    }
}
