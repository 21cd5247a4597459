//! Who owes a sign of life, and when.

use super::*;
use std::time::Duration;

const S: Duration = Duration::from_secs(1);

#[test]
fn who_speaks_and_is_answered_owes_no_sign() {
    let start = Instant::now();
    let mut vitals = Vitals::new(start);
    for tens in 1..60 {
        let now = start + tens * 10 * S;
        assert_eq!(vitals.due(now), None, "at {tens}0 s");
        vitals.said(now);
        vitals.heard(now + S);
        // The moment is pushed on before it comes: at rest nothing wakes for it.
        assert!(vitals.look_at() > now + 15 * S);
    }
}

#[test]
fn who_says_nothing_shows_a_sign_once_in_a_keep_alive_time() {
    let start = Instant::now();
    let mut vitals = Vitals::new(start);
    assert_eq!(vitals.look_at(), start + 20 * S);
    assert_eq!(vitals.due(start + 20 * S), Some(Due::Sign));
    assert_eq!(vitals.due(start + 21 * S), None);
    vitals.said(start + 20 * S);
    vitals.heard(start + 21 * S);
    assert_eq!(vitals.due(start + 39 * S), None);
    assert_eq!(vitals.due(start + 40 * S), Some(Due::Sign));
}

#[test]
fn a_relay_that_answers_no_report_is_asked_and_only_a_silent_one_is_left() {
    let start = Instant::now();
    let mut vitals = Vitals::new(start);
    for second in 1..20 {
        vitals.said(start + second * S);
    }
    assert_eq!(vitals.due(start + 20 * S), Some(Due::Sign), "though enough is said");
    let mut answered = Vitals { ..vitals };
    vitals.said(start + 38 * S);
    assert_eq!(vitals.due(start + 39 * S), None);
    assert_eq!(vitals.look_at(), start + 40 * S);
    assert_eq!(vitals.due(start + 40 * S), Some(Due::End));
    answered.heard(start + 21 * S);
    assert_eq!(answered.due(start + 45 * S), Some(Due::Sign));
}
