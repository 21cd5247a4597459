//! When the cloud is asked for its time: once a minute, at once when this machine's
//! clock was set, and again until it has answered. The cloud answers nobody who asks
//! twice within seconds, and what hangs on its word (commands that may be over) must
//! not wait for the next minute.

use std::time::Duration;
use tokio::time::Instant;

/// How often clocks are compared.
const EVERY: Duration = Duration::from_secs(60);
/// Newest loads, which take a question along each minute, are this late at most.
const LATE: Duration = Duration::from_secs(15);
/// After this a question that was not answered is asked again, then after twice as
/// long, and so on.
const AGAIN: Duration = Duration::from_secs(6);

/// The questions of one session.
#[derive(Debug)]
pub(super) struct Asking {
    /// The one that waits for its answer.
    open: Option<u64>,
    next: Instant,
    pause: Duration,
    every: Duration,
}

impl Asking {
    /// A session began, and its greeting told the time.
    pub(super) fn new(now: Instant) -> Self {
        Self { open: None, next: now + EVERY, pause: AGAIN, every: EVERY }
    }

    /// When to ask again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// This machine's clock was set: the question is a fresh one.
    pub(super) fn stepped(&mut self) {
        self.open = None;
    }

    /// Questions go along with what leaves each minute; one by itself can wait for that.
    pub(super) fn goes_along(&mut self) {
        self.every = EVERY + LATE;
    }

    /// A question leaves.
    pub(super) fn asked(&mut self, asked_ms: u64, now: Instant) {
        self.pause = if self.open.is_some() { (self.pause * 2).min(EVERY) } else { AGAIN };
        self.open = Some(asked_ms);
        self.next = now + self.pause;
    }

    /// The cloud told its time, by itself or as an answer.
    pub(super) fn told(&mut self, asked_ms: Option<u64>, now: Instant) {
        // One that answers an earlier question may have crossed this one.
        if asked_ms.is_none() || asked_ms == self.open {
            self.open = None;
            self.next = now + self.every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_question_that_the_cloud_does_not_answer_is_asked_again() {
        let began = Instant::now();
        let mut asking = Asking::new(began);
        assert_eq!(asking.next(), began + EVERY);
        asking.asked(1_000, began);
        asking.told(Some(1_000), began + S);
        // The clock is set a moment later, and the cloud finds it too soon.
        asking.stepped();
        asking.asked(3_000, began + 3 * S);
        asking.told(Some(1_000), began + 4 * S);
        assert_eq!(asking.next(), began + 9 * S, "that answers the question before");
        asking.asked(9_000, began + 9 * S);
        assert_eq!(asking.next(), began + 21 * S, "pauses grow");
        asking.told(Some(9_000), began + 10 * S);
        assert_eq!(asking.next(), began + 70 * S);
        asking.asked(70_000, began + 70 * S);
        assert_eq!(asking.next(), began + 76 * S);
        asking.told(None, began + 71 * S);
        assert_eq!(asking.next(), began + 131 * S, "the cloud told it by itself");
    }

    #[test]
    fn a_question_by_itself_waits_for_one_that_goes_along() {
        let began = Instant::now();
        let mut asking = Asking::new(began);
        asking.goes_along();
        asking.asked(1_000, began);
        asking.told(Some(1_000), began + S);
        assert_eq!(asking.next(), began + S + EVERY + LATE);
    }

    #[test]
    fn a_cloud_that_never_answers_is_asked_once_a_minute() {
        let mut now = Instant::now();
        let mut asking = Asking::new(now);
        for turn in 0..20 {
            asking.asked(turn, now);
            now = asking.next();
        }
        let last = now;
        asking.asked(20, now);
        assert_eq!(asking.next() - last, EVERY);
    }
}
