//! The site's time against clocks that a test sets.
#![allow(clippy::unwrap_used, reason = "tests")]

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
    for own in [T, T + HOUR, T - HOUR, T + 24 * HOUR, T - 24 * HOUR, T + ten_years, T - ten_years] {
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
    assert!(!steps.has_changed().unwrap() && !clock.was_just_set());
    set.own.store(T + HOUR, Ordering::Relaxed);
    clock.look();
    assert!(steps.has_changed().unwrap() && clock.was_just_set());
    steps.borrow_and_update();
    clock.learn(T, 0);
    assert!(steps.has_changed().unwrap());
    steps.borrow_and_update();
    clock.learn(T + 100, 0);
    assert!(!steps.has_changed().unwrap(), "that was jitter");
    assert!(clock.was_just_set(), "devices may not know of it yet");
    set.uptime.store(JUST_MS + 1, Ordering::Relaxed);
    assert!(!clock.was_just_set());
}

fn measured(clock: &SiteClock, device: DeviceId, device_ms: u64) -> Option<i64> {
    clock.measured(device, device_ms).map(|told| told.ahead_ms)
}

#[test]
fn a_device_is_measured_against_both_clocks() {
    let (set, clock) = clock(T + HOUR);
    let device = DeviceId::generate();
    clock.learn(T, 0);
    assert_eq!(clock.ahead_ms(), Some(signed(HOUR)));
    assert_eq!(measured(&clock, device, T), Some(0), "it has the cloud's time");
    assert_eq!(measured(&clock, device, T + HOUR), None, "it has the machine's");
    let later = |ms: u64| {
        set.uptime.store(ms, Ordering::Relaxed);
        set.own.store(T + HOUR + ms, Ordering::Relaxed);
    };
    later(TOLD_EVERY_MS);
    let two = T + 2 * HOUR + TOLD_EVERY_MS;
    assert_eq!(measured(&clock, device, two), Some(signed(2 * HOUR)));
    later(2 * TOLD_EVERY_MS);
    assert_eq!(measured(&clock, device, two + 61_000), None, "told already");
    assert_eq!(clock.of_device(device), signed(2 * HOUR + 1000));
    assert_eq!(measured(&clock, device, T + 2 * TOLD_EVERY_MS), Some(0), "right again");
}

#[test]
fn a_device_whose_clock_is_set_wrong_and_right_again_is_told_at_once() {
    let (_, clock) = clock(T);
    let device = DeviceId::generate();
    for ahead in [0, HOUR, 0] {
        assert_eq!(measured(&clock, device, T + ahead), Some(signed(ahead)));
    }
}

#[test]
fn a_device_whose_clock_jumps_about_is_soon_told_once_a_minute_and_how_it_ended_is_told() {
    let (set, clock) = clock(T);
    let (device, calm) = (DeviceId::generate(), DeviceId::generate());
    assert_eq!(measured(&clock, calm, T), Some(0));
    let (mut told, mut late) = (0, Vec::new());
    for second in 0..120_u64 {
        set.uptime.store(second * 1000, Ordering::Relaxed);
        set.own.store(T + second * 1000, Ordering::Relaxed);
        for jump in [HOUR, 0, 2 * HOUR] {
            told += usize::from(clock.measured(device, T + second * 1000 + jump).is_some());
        }
        late.extend(clock.late());
    }
    let few = usize::try_from(TOLD_AT_ONCE).unwrap() + 1;
    assert_eq!(told + late.len(), few, "records and lines of a log for each of its messages");
    assert_eq!(clock.of_device(device), signed(2 * HOUR), "what is shown is what was said");
    set.uptime.store(120_000, Ordering::Relaxed);
    let late: Vec<_> = clock.late().into_iter().map(|c| (c.device, c.ahead_ms)).collect();
    assert_eq!(late, [(device, signed(2 * HOUR))], "the last state is told");
    assert!(clock.late().is_empty());
}

#[test]
fn a_machine_that_was_paused_while_the_cloud_is_away_hands_out_nothing_that_may_be_over() {
    let (set, clock) = clock(T);
    clock.learn(T, 0);
    set.uptime.store(5000, Ordering::Relaxed);
    set.own.store(T + 5000, Ordering::Relaxed);
    assert!(clock.is_settled() && clock.latest_ms() == T + 5000);
    // Two hours in which the uptime stood still.
    set.own.store(T + 5000 + 2 * HOUR, Ordering::Relaxed);
    assert_eq!(clock.now_ms(), T + 5000, "nobody knows which of the two is wrong");
    assert_eq!(clock.latest_ms(), T + 5000 + 2 * HOUR);
    assert!(!clock.is_settled());
    clock.learn(T + 5000 + 2 * HOUR, 5000);
    assert!(clock.is_settled() && clock.latest_ms() == T + 5000 + 2 * HOUR);
    // A clock that somebody sets wrong says nothing once the cloud is heard.
    set.own.store(T + 48 * HOUR, Ordering::Relaxed);
    assert!(!clock.is_settled());
    clock.learn(T + 5000 + 2 * HOUR, 5000);
    assert!(clock.is_settled());
}

#[test]
fn a_clock_that_was_behind_and_is_put_right_is_no_reason_to_doubt() {
    let (set, clock) = clock(T - HOUR);
    clock.learn(T, 0);
    set.own.store(T, Ordering::Relaxed);
    assert!(clock.is_settled() && clock.latest_ms() == T);
    set.own.store(T - 2 * HOUR, Ordering::Relaxed);
    assert!(clock.is_settled() && clock.latest_ms() == T);
}
