//! Whether the line to the cloud is silent, by the traffic that is there anyway.
//!
//! Records and comparisons of clocks have an answer. One that is missing for
//! [`SILENT`] beyond what answers usually take makes the line suspicious; so does
//! a line on which nothing came for longer than its pings are apart. Nothing is
//! sent for this while all is well: the uplink's bytes at rest stay what they are.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How much later than usual an answer may come.
const SILENT: Duration = Duration::from_millis(500);
/// Pings are ten seconds apart.
const IDLE: Duration = Duration::from_millis(12_500);
/// What an answer takes until it is known.
const FIRST: Duration = Duration::from_millis(100);
/// What an answer takes at most, as far as this is concerned.
const LONGEST: Duration = Duration::from_secs(5);
/// A line that was left sooner than this, before anything came on it, may not have
/// been silent, only slow.
const SETTLED: Duration = Duration::from_secs(60);

/// The decision, without clocks.
#[derive(Debug, Clone, Copy)]
struct Line {
    began: Instant,
    heard: Instant,
    /// Since when an answer is missing.
    asked: Option<Instant>,
    /// How long answers usually take; an assumption until there was one.
    usual: Duration,
    answered: bool,
}

impl Line {
    /// A line begins with a greeting, which has an answer.
    fn new(now: Instant, usual: Duration) -> Self {
        Self { began: now, heard: now, asked: Some(now), usual, answered: false }
    }

    fn heard(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            let took = now.saturating_duration_since(asked);
            let known = if self.answered { self.usual } else { took.max(FIRST) };
            self.usual = ((known * 7 + took) / 8).min(LONGEST);
            self.answered = true;
        }
        self.heard = now;
    }

    /// How long an answer may take.
    fn patience(&self) -> Duration {
        SILENT + self.usual * 2
    }

    fn suspect_at(&self) -> Instant {
        let idle = self.heard + IDLE;
        self.asked.map_or(idle, |asked| idle.min(asked + self.patience()))
    }

    /// The line that takes its place: asked less soon, when this one did not last.
    fn next(&self, now: Instant, replaced: bool) -> Self {
        let young = now.saturating_duration_since(self.began) < SETTLED;
        let hasty = replaced && young && !self.answered;
        Self::new(now, if hasty { (self.usual * 2 + SILENT).min(LONGEST) } else { FIRST })
    }
}

/// The line as the session and its connection share it.
#[derive(Debug)]
pub(super) struct Pulse {
    line: Mutex<Line>,
    asked: Notify,
    heard: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        let line = Mutex::new(Line::new(Instant::now(), FIRST));
        Self { line, asked: Notify::new(), heard: Notify::new() }
    }
}

impl Pulse {
    /// A line begins, in the place of one that was silent or after a pause.
    pub(super) fn begin(&self, replaced: bool) {
        let mut line = self.line();
        *line = line.next(Instant::now(), replaced);
    }

    /// Something was sent that the cloud answers.
    pub(super) fn asked(&self) {
        let mut line = self.line();
        if line.asked.is_none() {
            line.asked = Some(Instant::now());
            self.asked.notify_one();
        }
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.line().heard(Instant::now());
        self.heard.notify_waiters();
    }

    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.line().patience()
    }

    /// Resolves when the line is suspicious.
    pub(super) async fn suspicious(&self) {
        loop {
            let at = self.line().suspect_at();
            if at <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    /// Resolves when something came after this call.
    pub(super) async fn answered(&self) {
        self.heard.notified().await;
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_line_is_suspicious_when_an_answer_is_missing_and_not_before() {
        let now = Instant::now();
        let mut line = Line::new(now, FIRST);
        assert_eq!(line.suspect_at(), now + SILENT + FIRST * 2, "greeted");
        line.heard(now);
        assert_eq!(line.suspect_at(), now + IDLE, "nothing was asked");
        line.asked = Some(now + ms(50));
        assert_eq!(line.suspect_at(), now + ms(50) + line.patience());
        line.heard(now + ms(150));
        assert_eq!(line.suspect_at(), now + ms(150) + IDLE, "it was answered");
        line.asked = Some(now + IDLE);
        assert_eq!(line.suspect_at(), now + ms(150) + IDLE, "pings are missing as well");
    }

    #[test]
    fn a_slow_line_is_given_the_time_that_it_takes() {
        let now = Instant::now();
        let mut line = Line::new(now, FIRST);
        for round in 0..40 {
            line.asked = Some(now + ms(round * 3000));
            line.heard(now + ms(round * 3000 + 2000));
        }
        assert!(line.patience() > ms(4000), "{:?}", line.patience());
        for _ in 0..40 {
            line.asked = Some(now);
            line.heard(now + ms(60_000));
        }
        assert_eq!(line.patience(), SILENT + LONGEST * 2, "there is a longest");
    }

    #[test]
    fn lines_that_replace_each_other_are_suspected_less_and_less_soon() {
        let now = Instant::now();
        let mut line = Line::new(now, FIRST);
        let mut before = line.patience();
        for _ in 0..8 {
            line = line.next(now + ms(2000), true);
            assert!(line.patience() > before || line.usual == LONGEST, "{line:?}");
            before = line.patience();
        }
        assert_eq!(line.usual, LONGEST);
        let mut answered = line;
        answered.heard(now + ms(2010));
        assert_eq!(answered.next(now + ms(3000), true).usual, FIRST, "it was the line before");
        let (lasting, fresh) = (line.next(now + ms(2000) + SETTLED, true), line.next(now, false));
        assert_eq!((lasting.usual, fresh.usual), (FIRST, FIRST));
    }
}
