//! Since when the ledger is whole.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const T: u64 = 1_800_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const YEARS: u64 = 10 * 365 * 24 * HOUR;

fn birth(at_ms: u64) -> Birth {
    Birth::of(Since { at_ms, counter: 0 })
}

fn times(site_ms: u64, own_ms: u64) -> Times {
    Times { site_ms, own_ms }
}

/// Time goes by.
fn pass(born: &mut Birth, ms: u64) {
    born.opened_ms -= i64::try_from(ms).unwrap();
}

#[test]
fn no_clock_takes_a_birth_back_not_even_two_that_agree() {
    let born = birth(T);
    for (site, own) in [(T - YEARS, T), (T, T - YEARS), (T - YEARS, T - YEARS), (0, 0)] {
        born.greet(true, false, times(site, own));
        assert_eq!(born.at_ms(), Some(T), "site {site}, own {own}");
        born.greet(true, true, times(site, own));
        assert_eq!(born.at_ms(), Some(T), "set back, site {site}, own {own}");
    }
    assert!(!born.is_unsaved());
    assert!(born.greet(true, true, times(T + 1000, 0)));
    assert_eq!(born.at_ms(), Some(T + 1000), "set back later");
}

#[test]
fn a_ledger_born_while_the_cloud_was_years_ahead_runs_what_is_counted_later() {
    let born = birth(UNBORN);
    assert!(born.greet(true, false, times(T + YEARS, T)));
    let at_ms = born.at_ms().unwrap();
    assert!(at_ms > T);
    let latest = T + YEARS + 5_000;
    assert!(!born.is_counted_since(6, T, latest), "it may have run before");
    assert!(!born.is_counted_since(7, latest, latest), "by its time it is later");
    assert!(born.is_unsaved());
    // The cloud is set right.
    assert!(born.is_counted_since(8, T + 60_000, T + 60_000));
    assert!(!born.is_counted_since(6, T, T + 60_000));
    assert!(!born.is_counted_since(0, T + 60_000, T + 60_000), "of somebody else");
    born.greet(true, true, times(T + 90_000, T));
    assert!(!born.is_counted_since(8, T + 60_000, T + 90_000), "set back: it may have run");
}

#[test]
fn a_command_of_a_time_that_never_was_says_nothing_of_others() {
    let born = birth(T);
    assert!(!born.is_counted_since(5, T + YEARS, T + 60_000));
    assert!(!born.is_counted_since(6, T - 60_000, T + 60_000));
}

#[test]
fn a_relay_that_names_more_than_can_be_kept_apart_is_believed_for_all() {
    let (born, sent) = (birth(T), CommandId::generate());
    let was_handed = |id| born.was_handed(id, T, T);
    born.handed(Handed { sent: vec![sent], ..Handed::default() });
    assert!(!was_handed(sent), "it may have been lost on its way");
    let started: Vec<_> = std::iter::repeat_with(CommandId::generate).take(MAX_HANDED).collect();
    born.handed(Handed { unheard: started.clone(), started, ..Handed::default() });
    assert!(was_handed(sent) && was_handed(CommandId::generate()));
    assert!(born.lock().started.is_empty() && born.lock().unheard.is_empty());
    born.greet(true, false, times(T, T));
    assert!(!was_handed(sent), "of that connection");
}

#[test]
fn what_was_named_before_a_command_came_counts_until_it_is_judged() {
    let (born, id, other) = (birth(T), CommandId::generate(), CommandId::generate());
    let was_handed = |id| born.was_handed(id, T, T);
    born.handed(Handed { started: vec![id, other], ..Handed::default() });
    born.came(id);
    born.came(id);
    // The connection ends while it waits.
    born.greet(true, false, times(T, T));
    assert!(was_handed(id) && !was_handed(other));
    born.judged(id);
    born.greet(true, false, times(T, T));
    assert!(was_handed(id), "it came twice");
    born.judged(id);
    born.greet(true, false, times(T, T));
    assert!(!was_handed(id));
    let many = std::iter::repeat_with(CommandId::generate).take(MAX_HANDED + 1).collect();
    born.came(id);
    born.handed(Handed { started: many, ..Handed::default() });
    born.greet(true, false, times(T, T));
    assert!(was_handed(id) && !was_handed(other), "more were named than are kept apart");
}

#[test]
fn what_nobody_heard_to_be_started_is_settled_by_a_ledger_that_was_open_all_the_while() {
    let (mut born, id) = (birth(T), CommandId::generate());
    let sent = Handed { started: vec![id], unheard: vec![id], ..Handed::default() };
    let later = T + MINUTE;
    born.handed(sent.clone());
    assert!(born.was_handed(id, later, later), "nothing is known of the time yet");
    born.greet(true, false, times(T, T));
    born.handed(sent.clone());
    pass(&mut born, MINUTE);
    assert!(!born.was_handed(id, later, later), "the ledger would know it");
    assert!(born.was_handed(id, T, later), "given before this process was");
    assert!(born.was_handed(id, later + YEARS, later), "by a clock that was ahead");
    // The site's time was behind, and is right now: so it was opened later.
    let right = later + HOUR;
    born.greet(true, false, times(right, T));
    born.handed(sent.clone());
    assert!(born.was_handed(id, right - MINUTE, right));
    pass(&mut born, MINUTE);
    assert!(!born.was_handed(id, right + MINUTE, right + MINUTE));
    let later = right + 2 * MINUTE;
    born.greet(true, false, times(T, T));
    born.handed(Handed { started: vec![id], ..Handed::default() });
    assert!(born.was_handed(id, later, later), "it said itself that it was");
    born.greet(true, true, times(later, T));
    born.handed(sent.clone());
    assert!(born.was_handed(id, later, later), "the ledger was set back");
    let mut torn = birth(T);
    torn.greet(true, false, times(T, T));
    torn.torn();
    torn.greet(true, false, times(T, T));
    torn.handed(sent);
    pass(&mut torn, later - T);
    assert!(torn.was_handed(id, later, later), "opened again, it may be another file");
}

#[test]
fn only_what_is_named_as_started_is_kept_as_unheard_and_only_until_it_was_heard() {
    let (mut born, id) = (birth(T), CommandId::generate());
    for _ in 0..20 {
        let unheard = std::iter::repeat_with(CommandId::generate).take(4_096).collect();
        born.handed(Handed { unheard, ..Handed::default() });
    }
    assert!(born.lock().unheard.is_empty(), "{}", born.lock().unheard.len());
    born.greet(true, false, times(T, T));
    born.handed(Handed { started: vec![id], unheard: vec![id], ..Handed::default() });
    pass(&mut born, MINUTE);
    assert!(!born.was_handed(id, T + MINUTE, T + MINUTE));
    born.handed(Handed { started: vec![id], ..Handed::default() });
    assert!(born.was_handed(id, T + MINUTE, T + MINUTE), "it was heard to be started since");
}

#[test]
fn a_sites_time_that_is_put_right_after_the_welcome_takes_back_what_it_claimed() {
    let (mut born, id) = (birth(0), CommandId::generate());
    born.greet(true, false, times(T - HOUR, T));
    born.handed(Handed { started: vec![id], unheard: vec![id], ..Handed::default() });
    assert!(born.was_handed(id, T - 10 * MINUTE, T), "given before this process was");
    pass(&mut born, 10 * MINUTE);
    assert!(!born.was_handed(id, T + 10 * MINUTE, T + 10 * MINUTE), "the ledger would know it");
}

#[test]
fn a_process_that_was_set_back_with_its_memory_has_not_held_the_ledger_meanwhile() {
    let id = CommandId::generate();
    let sent = Handed { started: vec![id], unheard: vec![id], ..Handed::default() };
    let mut born = birth(0);
    pass(&mut born, 24 * HOUR);
    assert!(!born.greet(true, false, times(T, T)));
    born.handed(sent.clone());
    pass(&mut born, MINUTE);
    assert!(!born.was_handed(id, T + MINUTE, T + MINUTE), "nothing happened yet");
    // All of it is set back to here, and goes on two hours later.
    assert!(born.greet(true, true, times(T + 2 * HOUR, T)));
    assert_eq!(born.at_ms(), Some(T + 2 * HOUR), "what was given meanwhile may have run");
    // The same where the time is heard ahead of the greeting.
    let mut born = birth(0);
    pass(&mut born, 24 * HOUR);
    born.greet(true, false, times(T, T));
    born.learnt(T + 2 * HOUR);
    pass(&mut born, 3_000);
    assert!(born.greet(true, true, times(T + 2 * HOUR + 3_000, T)));
    assert_eq!(born.at_ms(), Some(T + 2 * HOUR));
    let mut born = birth(0);
    pass(&mut born, 24 * HOUR);
    born.greet(true, false, times(T, T));
    // The relay is an older copy, too, and holds no more than this disk.
    assert!(!born.greet(true, false, times(T + 2 * HOUR, T)));
    born.handed(sent);
    assert!(born.was_handed(id, T + 2 * HOUR - 6 * MINUTE, T + 2 * HOUR));
    pass(&mut born, MINUTE);
    let later = T + 2 * HOUR + MINUTE;
    assert!(!born.was_handed(id, later, later), "since then it is held again");
}

/// A process of a computer whose uptime gains so much in a minute, or loses it, an hour
/// after it was greeted; and what time it is.
fn drifted(gains_ms: i64) -> (Birth, u64) {
    let mut born = birth(0);
    born.greet(true, false, times(T, T));
    for minute in 1..=60 {
        pass(&mut born, MINUTE.saturating_add_signed(gains_ms));
        born.learnt(T + minute * MINUTE);
    }
    (born, T + HOUR)
}

#[test]
fn clocks_that_drift_apart_are_no_break() {
    for gains_ms in [-1_000, 0, 1_000] {
        let ((born, now), id) = (drifted(gains_ms), CommandId::generate());
        born.greet(true, false, times(now, T));
        born.handed(Handed { started: vec![id], unheard: vec![id], ..Handed::default() });
        assert!(!born.was_handed(id, T + 30 * MINUTE, now), "{gains_ms}");
    }
}

#[test]
fn a_process_whose_clocks_drifted_apart_is_seen_to_be_set_back_all_the_same() {
    for gains_ms in [-1_000, 0, 1_000] {
        let ((born, now), id) = (drifted(gains_ms), CommandId::generate());
        // All of it was set back by ten seconds.
        let now = now + 10_000;
        born.greet(true, false, times(now, T));
        born.handed(Handed { started: vec![id], unheard: vec![id], ..Handed::default() });
        assert!(born.was_handed(id, now - 1_000, now), "{gains_ms}: it may have run then");
    }
}

#[test]
fn a_ledger_that_was_set_back_runs_what_was_given_after_it_was_opened() {
    let mut born = birth(0);
    // The relay is reached a while later.
    pass(&mut born, 20_000);
    assert!(born.greet(true, true, times(T + 20_000, T)));
    assert!(born.at_ms().unwrap() <= T);
}

#[test]
fn birth_and_count_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let database = redb::Database::create(folder.path().join("l")).unwrap();
    let born = birth(T);
    born.is_counted_since(7, T + 1, T + 2);
    let txn = database.begin_write().unwrap();
    born.saved(born.save(&txn).unwrap());
    assert!(!born.is_unsaved());
    let again = Birth::load(&txn, false).unwrap();
    assert_eq!(again.at_ms(), Some(T));
    assert!(again.is_counted_since(8, T - 1, T + 2));
    assert!(!again.is_counted_since(7, T - 1, T + 2));
}
