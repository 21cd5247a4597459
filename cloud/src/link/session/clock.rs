//! A relay's clock beside ours, both ways: it asks for the time once a minute and
//! learns it from the answer, we learn how far its machine is off; when our own
//! clock is set, it is told at once.

use super::Ended;
use crate::{
    db::DbError,
    link::{RelayChange, relay::now_ms},
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};
use unifyit_protocol::{
    clock::{CLOCK_RIGHT_MS, ClockAnswer, ClockAsk},
    link::Frame,
};

/// Questions of a relay are answered this often at most.
const AGAIN: Duration = Duration::from_secs(5);
/// How often our own clock is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A step of our clock beyond this is told.
const STEP_MS: u64 = 1000;
/// A relay's clock that moved by less than this is not stored again.
const STORED_AGAIN_MS: u64 = 30_000;
/// For so long after its relay was not read, a question may have lain before us: it says
/// when it was asked, and nobody knows how long ago that was.
const LAIN: Duration = Duration::from_secs(60);

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn apart(relay_ms: u64, our_ms: u64) -> i64 {
    signed(relay_ms).saturating_sub(signed(our_ms))
}

fn rounded(ahead: i64) -> i64 {
    if ahead.unsigned_abs() <= CLOCK_RIGHT_MS { 0 } else { ahead }
}

/// Milliseconds since the machine started, sleep included. Nobody can set it.
fn uptime_ms() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(at.tv_sec), u64::try_from(at.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1000) + nanos.unwrap_or(0) / 1_000_000
}

/// What a session knows of both clocks.
pub(super) struct Clocks {
    /// How far ahead the relay's clock is in the database; unknown when that could not
    /// be stored.
    stored: Option<i64>,
    pub(super) storing: Option<JoinHandle<Result<i64, DbError>>>,
    /// How far ahead the relay's clock is, by its last question and what ours was set
    /// since.
    ahead: i64,
    answered: Option<Instant>,
    /// The relay asked too soon after its last question. It is told the time when that
    /// is due.
    owed: bool,
    /// Our clock was set since it was told.
    untold: bool,
    /// Our clock and the time that nobody sets, in milliseconds, as they were last seen.
    seen: (u64, u64),
    look: Instant,
    /// Whether the relay is read, and when it was last seen that it is not.
    reads: bool,
    unread: Option<Instant>,
}

impl Clocks {
    /// By a greeting that has just come; ours told the relay our time. How far ahead the
    /// relay is will be stored with the greeting.
    pub(super) fn greeted(relay_ms: u64) -> Self {
        let seen = (now_ms(), uptime_ms());
        let ahead = apart(relay_ms, seen.0);
        Self {
            stored: Some(rounded(ahead)),
            storing: None,
            ahead,
            answered: None,
            owed: false,
            untold: false,
            seen,
            look: Instant::now() + LOOK,
            reads: true,
            unread: None,
        }
    }

    /// How far ahead the relay's own clock is of ours; 0 when it is right.
    pub(super) fn ahead(&self) -> i64 {
        rounded(self.ahead)
    }

    /// Notes whether the relay is read.
    pub(super) fn reads(&mut self, reads: bool) {
        if !(reads && self.reads) {
            self.unread = Some(Instant::now());
        }
        self.reads = reads;
    }

    /// When our clock is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.look)
    }

    /// What the relay is to be told when our clock was set, or when it asked too soon
    /// before.
    pub(super) fn look(&mut self) -> Option<ClockAnswer> {
        let now = Instant::now();
        if now < self.look {
            return None;
        }
        self.look = now + LOOK;
        self.see(now_ms(), uptime_ms());
        if self.owed {
            self.answered = Some(now);
        }
        (self.owed || self.untold).then(|| self.tell(None))
    }

    /// What goes ahead of a command when our clock was set since it was told: the
    /// command is dated by it, and would be long over, or not yet due, by the one
    /// before.
    pub(super) fn ahead_of_data(&mut self) -> Option<ClockAnswer> {
        self.see(now_ms(), uptime_ms());
        self.untold.then(|| self.tell(None))
    }

    /// Answers a question; one that follows another within a moment is answered with
    /// the next look. One that may have lain before us says nothing of the relay's clock.
    pub(super) fn answer(&mut self, ask: &ClockAsk) -> Option<ClockAnswer> {
        let now = Instant::now();
        self.see(now_ms(), uptime_ms());
        if self.unread.is_none_or(|at| now.duration_since(at) >= LAIN) {
            self.ahead = apart(ask.now_ms, self.seen.0);
        }
        self.owed = self.answered.is_some_and(|at| now.duration_since(at) < AGAIN);
        if self.owed {
            return None;
        }
        self.answered = Some(now);
        Some(self.tell(Some(ask.asked_ms)))
    }

    /// Sees whether our clock was set. The relay's is by as much less ahead of ours as
    /// ours was set forward: a relay that was blamed for our wrong clock is well the
    /// moment ours is right. Both clocks go on while the machine sleeps.
    fn see(&mut self, now_ms: u64, uptime_ms: u64) {
        let (then_ms, then_up) = self.seen;
        let went = uptime_ms.saturating_sub(then_up);
        let by = apart(now_ms, then_ms.saturating_add(went));
        self.seen = (now_ms, uptime_ms);
        if by.unsigned_abs() > STEP_MS {
            self.ahead = self.ahead.saturating_sub(by);
            self.untold = true;
        }
    }

    fn tell(&mut self, asked_ms: Option<u64>) -> ClockAnswer {
        (self.owed, self.untold) = (false, false);
        ClockAnswer { asked_ms, now_ms: self.seen.0 }
    }

    /// How far ahead the relay's clock is, when the database says something else. Nothing
    /// of a clock that the relay asked for too soon: its next look is soon enough.
    fn to_store(&self) -> Option<i64> {
        let ahead = self.ahead();
        let known = self.stored.is_some_and(|at| ahead.abs_diff(at) < STORED_AGAIN_MS);
        (self.storing.is_none() && !self.owed && !known).then_some(ahead)
    }

    fn stored(&mut self, done: Result<i64, DbError>) -> Result<(), DbError> {
        self.storing = None;
        // One that failed may have been committed all the same.
        self.stored = done.as_ref().ok().copied();
        done.map(drop)
    }
}

impl super::Session<'_> {
    /// Answers a relay, and stores how far its clock is off when that changed.
    pub(super) fn compare_clocks(&mut self, ask: ClockAsk) -> Result<(), Ended> {
        let answer = self.clocks.answer(&ask);
        self.tell_time(answer)
    }

    /// Tells the time ahead of a command that is dated by a clock just set.
    pub(super) fn tell_time_ahead_of_data(&mut self) -> Result<(), Ended> {
        let answer = self.clocks.ahead_of_data();
        self.tell_time(answer)
    }

    /// Tells the relay when our clock was set, or what it asked for too soon. What could
    /// not be stored is tried again.
    pub(super) fn look_at_clock(&mut self) -> Result<(), Ended> {
        let answer = self.clocks.look();
        self.tell_time(answer)
    }

    fn tell_time(&mut self, answer: Option<ClockAnswer>) -> Result<(), Ended> {
        self.store_clock();
        answer.map_or(Ok(()), |answer| self.waiting.push(Frame::ClockAnswer(answer)))
    }

    /// Starts to store how far the relay's clock is off, one at a time.
    fn store_clock(&mut self) {
        let Some(ahead_ms) = self.clocks.to_store() else { return };
        let (deps, relay) = (self.deps.clone(), self.relay);
        self.clocks.storing = Some(tokio::spawn(async move {
            let mut tx = deps.db.tenant(&relay.scope()).await?;
            sqlx::query("UPDATE relays SET clock_ahead_ms = $2 WHERE id = $1")
                .bind(relay.id.0)
                .bind(ahead_ms)
                .execute(&mut *tx)
                .await?;
            // Browsers are told too.
            super::told(deps.records.as_ref(), &mut tx, &relay, RelayChange::Clock).await?;
            tx.commit().await.map(|()| ahead_ms)
        }));
    }

    pub(super) fn clock_stored(&mut self, done: Result<i64, DbError>) {
        match self.clocks.stored(done) {
            // It may have moved meanwhile.
            Ok(()) => self.store_clock(),
            Err(error) => {
                tracing::warn!(relay = %self.relay.id, %error, "A relay's clock could not be stored; it is tried again.");
            }
        }
    }
}

#[cfg(test)]
mod tests;
