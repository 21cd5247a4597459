//! What is told of a clock, and what is stored.

use super::*;

const HOUR: u64 = 3_600_000;

/// A clock that was seen, and one that was set by so much a minute later.
fn set(clocks: &mut Clocks, by: i64) {
    let (then_ms, then_up) = clocks.seen;
    clocks.see((then_ms + 60_200).saturating_add_signed(by), then_up + 60_000);
}

fn ask(now_ms: u64) -> ClockAsk {
    ClockAsk { asked_ms: 7, now_ms }
}

/// Takes what is to be stored as stored.
fn store(clocks: &mut Clocks) -> Option<i64> {
    let ahead = clocks.to_store()?;
    clocks.stored(Ok(ahead)).unwrap();
    Some(ahead)
}

fn failed() -> Result<i64, DbError> {
    Err(DbError::Query(sqlx::Error::RowNotFound))
}

#[tokio::test]
async fn only_a_clock_that_was_set_is_told() {
    let mut clocks = Clocks::greeted(now_ms());
    set(&mut clocks, 0);
    assert!(!clocks.untold);
    set(&mut clocks, -3_600_000);
    assert!(clocks.untold);
    let told = clocks.tell(None);
    assert_eq!((told.asked_ms, told.now_ms), (None, clocks.seen.0));
    let ahead = clocks.to_store().unwrap();
    assert!(ahead.abs_diff(3_600_000) < 1000, "ahead of one that was set back: {ahead}");
    assert!(!clocks.untold, "told already");
}

#[tokio::test]
async fn a_machine_that_slept_was_not_set() {
    let mut clocks = Clocks::greeted(now_ms());
    // That ours counts sleep, as is taken for granted here, is the next test's.
    let (then_ms, then_up) = clocks.seen;
    clocks.see(then_ms + HOUR, then_up + HOUR);
    assert!(!clocks.untold && clocks.to_store().is_none());
}

/// The kernel counts sleep in this file. On a machine that has never slept, a clock that
/// does not count it shows the same: there this tells it from others only.
#[test]
fn uptime_is_the_kernels() {
    let before = uptime_ms();
    let told = std::fs::read_to_string("/proc/uptime").unwrap();
    let after = uptime_ms();
    let (seconds, hundredths) = told.split_once(' ').unwrap().0.split_once('.').unwrap();
    let told = seconds.parse::<u64>().unwrap() * 1000 + hundredths.parse::<u64>().unwrap() * 10;
    assert!(before < told + 10 && told <= after, "{before}, {told}, {after}");
}

#[tokio::test]
async fn a_command_waits_for_the_time_by_which_it_is_dated() {
    let mut clocks = Clocks::greeted(now_ms());
    assert!(clocks.ahead_of_data().is_none(), "nobody set it");
    // What was seen is an hour ahead of what our clock shows since.
    clocks.seen.0 += HOUR;
    let told = clocks.ahead_of_data().unwrap();
    assert!(told.asked_ms.is_none() && told.now_ms.abs_diff(now_ms()) < 60_000, "{told:?}");
    assert!(clocks.ahead_of_data().is_none(), "once");
}

#[tokio::test]
async fn a_relay_is_right_again_the_moment_our_clock_is() {
    // The cloud began an hour ahead, so the relay's greeting was an hour behind.
    let mut clocks = Clocks::greeted(now_ms() - HOUR);
    assert!(clocks.ahead().abs_diff(-3_600_000) < 1000 && clocks.to_store().is_none());
    set(&mut clocks, -3_600_000);
    assert_eq!(clocks.to_store(), Some(0));
}

#[tokio::test]
async fn what_was_measured_by_a_clock_that_was_set_since_is_put_right() {
    let mut clocks = Clocks::greeted(now_ms());
    assert!(clocks.answer(&ask(now_ms())).is_some());
    // Too soon, and an hour behind; then ours is found to have been an hour ahead.
    assert!(clocks.answer(&ask(now_ms() - HOUR)).is_none());
    assert!(clocks.to_store().is_none(), "not before it is answered");
    set(&mut clocks, -3_600_000);
    clocks.tell(None);
    assert_eq!(clocks.to_store(), None, "it was right all the time");
}

#[tokio::test]
async fn a_relay_that_asks_without_end_is_answered_now_and_then() {
    let mut clocks = Clocks::greeted(now_ms());
    let ahead = ask(now_ms() + 2 * HOUR);
    let answer = clocks.answer(&ahead).unwrap();
    assert_eq!(answer.asked_ms, Some(7));
    let stored = store(&mut clocks);
    assert!(stored.is_some_and(|ahead| ahead.abs_diff(7_200_000) < 5000), "{stored:?}");
    assert!(clocks.answer(&ahead).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_asks_too_soon_is_told_a_moment_later() {
    let mut clocks = Clocks::greeted(now_ms());
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(clocks.answer(&ask(now_ms())).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(clocks.answer(&ask(now_ms() + 2 * HOUR)).is_none());
    assert!(clocks.look().is_none(), "not yet");
    tokio::time::advance(LOOK).await;
    assert_eq!(clocks.look().unwrap().asked_ms, None);
    let stored = store(&mut clocks);
    assert!(stored.is_some_and(|by| by.abs_diff(7_200_000) < 15_000), "{stored:?}");
    tokio::time::advance(LOOK).await;
    assert!(clocks.look().is_none() && store(&mut clocks).is_none(), "it is told once");
}

#[tokio::test]
async fn what_could_not_be_stored_is_stored_again_though_no_clock_moves() {
    let mut clocks = Clocks::greeted(now_ms());
    clocks.answer(&ask(now_ms() + 2 * HOUR)).unwrap();
    let ahead = clocks.to_store().unwrap();
    clocks.storing = Some(tokio::spawn(async { failed() }));
    assert_eq!(clocks.to_store(), None, "one at a time");
    assert!(clocks.stored(failed()).is_err());
    assert_eq!(clocks.to_store(), Some(ahead));
    clocks.stored(Ok(ahead)).unwrap();
    assert_eq!(clocks.to_store(), None);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_may_have_lain_says_nothing_of_the_relays_clock() {
    let mut clocks = Clocks::greeted(now_ms());
    clocks.reads(false);
    tokio::time::advance(LAIN).await;
    clocks.reads(true);
    let lain = ask(now_ms() - HOUR);
    assert!(clocks.answer(&lain).is_some(), "it is answered");
    assert_eq!(clocks.to_store(), None);
    clocks.reads(true);
    tokio::time::advance(LAIN).await;
    assert!(clocks.answer(&lain).is_some());
    let stored = clocks.to_store();
    assert!(stored.is_some_and(|by| by.abs_diff(-3_600_000) < 15_000), "{stored:?}");
}
