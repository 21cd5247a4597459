//! A relay's clock beside ours, both ways: it asks for the time once a minute and
//! learns it from the answer, we learn how far its machine is off; when our own
//! clock is set, it is told at once.

use super::{Ended, SessionDeps};
use crate::{
    db::DbError,
    link::{RelayChange, RelayIdentity, relay::now_ms},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};
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

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// How far a relay's own clock is ahead of ours; 0 when it is right.
pub(super) fn ahead_of(relay_ms: u64) -> i64 {
    rounded(apart(relay_ms, now_ms()))
}

fn apart(relay_ms: u64, our_ms: u64) -> i64 {
    signed(relay_ms).saturating_sub(signed(our_ms))
}

fn rounded(ahead: i64) -> i64 {
    if ahead.unsigned_abs() <= CLOCK_RIGHT_MS { 0 } else { ahead }
}

/// What a relay is told, and how far its clock is ahead of ours when that is to be
/// stored.
type Said = (ClockAnswer, Option<i64>);

/// What a session knows of both clocks.
pub(super) struct Clocks {
    stored: i64,
    newest: Arc<Newest>,
    /// How far ahead the relay's clock is, by its last question and what ours was set
    /// since.
    ahead: i64,
    answered: Option<Instant>,
    /// The relay asked too soon after its last question. It is told the time when that
    /// is due.
    owed: bool,
    /// Our clock was set since it was told.
    untold: bool,
    /// Our clock and the time that nobody sets, as they were last seen.
    seen: (u64, Instant),
    look: Instant,
}

impl Clocks {
    /// After a greeting, which told ours and stored the relay's.
    pub(super) fn new(stored: i64) -> Self {
        let now = Instant::now();
        let (seen, look) = ((now_ms(), now), now + LOOK);
        Self {
            stored,
            newest: Arc::default(),
            ahead: stored,
            answered: None,
            owed: false,
            untold: false,
            seen,
            look,
        }
    }

    /// When our clock is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.look)
    }

    /// What the relay is to be told when our clock was set, or when it asked too soon
    /// before.
    pub(super) fn look(&mut self) -> Option<Said> {
        let now = Instant::now();
        if now < self.look {
            return None;
        }
        self.look = now + LOOK;
        self.see(now_ms(), now);
        if self.owed {
            self.answered = Some(now);
        }
        (self.owed || self.untold).then(|| self.tell(None))
    }

    /// What goes ahead of a command when our clock was set since it was told: the
    /// command is dated by it, and would be long over, or not yet due, by the one
    /// before.
    pub(super) fn ahead_of_data(&mut self) -> Option<Said> {
        self.see(now_ms(), Instant::now());
        self.untold.then(|| self.tell(None))
    }

    /// Answers a question; one that follows another within a moment is answered with
    /// the next look.
    pub(super) fn answer(&mut self, ask: &ClockAsk) -> Option<Said> {
        let now = Instant::now();
        self.see(now_ms(), now);
        self.ahead = apart(ask.now_ms, self.seen.0);
        self.owed = self.answered.is_some_and(|at| now.duration_since(at) < AGAIN);
        if self.owed {
            return None;
        }
        self.answered = Some(now);
        Some(self.tell(Some(ask.asked_ms)))
    }

    /// Sees whether our clock was set. The relay's is by as much less ahead of ours as
    /// ours was set forward: a relay that was blamed for our wrong clock is well the
    /// moment ours is right.
    fn see(&mut self, now_ms: u64, now: Instant) {
        let (then_ms, then) = self.seen;
        let went = u64::try_from(now.duration_since(then).as_millis()).unwrap_or(u64::MAX);
        let by = apart(now_ms, then_ms.saturating_add(went));
        self.seen = (now_ms, now);
        if by.unsigned_abs() > STEP_MS {
            self.ahead = self.ahead.saturating_sub(by);
            self.untold = true;
        }
    }

    fn tell(&mut self, asked_ms: Option<u64>) -> Said {
        (self.owed, self.untold) = (false, false);
        let ahead = rounded(self.ahead);
        let moved = ahead.abs_diff(self.stored) >= STORED_AGAIN_MS;
        if moved {
            self.stored = ahead;
        }
        (ClockAnswer { asked_ms, now_ms: self.seen.0 }, moved.then_some(ahead))
    }
}

impl super::Session<'_> {
    /// Answers a relay, and stores how far its clock is off when that changed.
    pub(super) fn compare_clocks(&mut self, ask: ClockAsk) -> Result<(), Ended> {
        let said = self.clocks.answer(&ask);
        self.tell_time(said)
    }

    /// Tells the time ahead of a command that is dated by a clock just set.
    pub(super) fn tell_time_ahead_of_data(&mut self) -> Result<(), Ended> {
        let said = self.clocks.ahead_of_data();
        self.tell_time(said)
    }

    fn tell_time(&mut self, said: Option<Said>) -> Result<(), Ended> {
        let Some((answer, moved)) = said else { return Ok(()) };
        if let Some(ahead_ms) = moved {
            let (deps, relay, newest) = (self.deps.clone(), self.relay, self.clocks.newest.clone());
            newest.ahead_ms.store(ahead_ms, Ordering::Relaxed);
            tokio::spawn(async move {
                if let Err(error) = newest.store(&deps, &relay).await {
                    tracing::warn!(relay = %relay.id, %error, "A relay's clock could not be stored.");
                }
            });
        }
        self.waiting.push(Frame::ClockAnswer(answer))
    }

    /// Tells the relay when our clock was set, or what it asked for too soon.
    pub(super) fn look_at_clock(&mut self) -> Result<(), Ended> {
        let said = self.clocks.look();
        self.tell_time(said)
    }
}

/// How far a relay's clock is ahead, for being stored. One that moves twice within a
/// moment is stored twice at a time: whoever is later writes what is newest.
#[derive(Debug, Default)]
struct Newest {
    ahead_ms: AtomicI64,
    writing: Mutex<()>,
}

impl Newest {
    /// Stores it, and tells browsers.
    async fn store(&self, deps: &SessionDeps, relay: &RelayIdentity) -> Result<(), DbError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut tx = deps.db.tenant(&relay.scope()).await?;
        sqlx::query("UPDATE relays SET clock_ahead_ms = $2 WHERE id = $1")
            .bind(relay.id.0)
            .bind(self.ahead_ms.load(Ordering::Relaxed))
            .execute(&mut *tx)
            .await?;
        super::presence::told(deps.records.as_ref(), &mut tx, relay, RelayChange::Clock).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was seen, and one that was set by so much a minute later.
    fn set(clocks: &mut Clocks, by: i64) {
        let (then_ms, then) = clocks.seen;
        let later_ms = (then_ms + 60_200).saturating_add_signed(by);
        clocks.see(later_ms, then + Duration::from_secs(60));
    }

    #[tokio::test]
    async fn only_a_clock_that_was_set_is_told() {
        let mut clocks = Clocks::new(0);
        set(&mut clocks, 0);
        assert!(!clocks.untold);
        set(&mut clocks, -3_600_000);
        assert!(clocks.untold);
        let (told, moved) = clocks.tell(None);
        assert_eq!((told.asked_ms, told.now_ms), (None, clocks.seen.0));
        let ahead = moved.unwrap();
        assert!(ahead.abs_diff(3_600_000) < 1000, "ahead of one that was set back: {ahead}");
        assert!(!clocks.untold, "told already");
    }

    #[tokio::test]
    async fn a_command_waits_for_the_time_by_which_it_is_dated() {
        let mut clocks = Clocks::new(0);
        assert!(clocks.ahead_of_data().is_none(), "nobody set it");
        // What was seen is an hour ahead of what our clock shows since.
        clocks.seen.0 += 3_600_000;
        let (told, _) = clocks.ahead_of_data().unwrap();
        assert!(told.asked_ms.is_none() && told.now_ms.abs_diff(now_ms()) < 60_000, "{told:?}");
        assert!(clocks.ahead_of_data().is_none(), "once");
    }

    #[tokio::test]
    async fn a_relay_is_right_again_the_moment_our_clock_is() {
        // The cloud began an hour ahead, so the relay's greeting was an hour behind.
        let mut clocks = Clocks::new(-3_600_000);
        set(&mut clocks, -3_600_000);
        assert_eq!(clocks.tell(None).1, Some(0));
    }

    #[tokio::test]
    async fn what_was_measured_by_a_clock_that_was_set_since_is_put_right() {
        let mut clocks = Clocks::new(0);
        let ask = |ms: u64| ClockAsk { asked_ms: 7, now_ms: ms };
        assert!(clocks.answer(&ask(now_ms())).is_some());
        // Too soon, and an hour behind; then ours is found to have been an hour ahead.
        assert!(clocks.answer(&ask(now_ms() - 3_600_000)).is_none());
        set(&mut clocks, -3_600_000);
        assert_eq!(clocks.tell(None).1, None, "it was right all the time");
    }

    #[tokio::test]
    async fn a_relay_that_asks_without_end_is_answered_now_and_then() {
        let mut clocks = Clocks::new(0);
        let ask = ClockAsk { asked_ms: 7, now_ms: now_ms() + 7_200_000 };
        let (answer, moved) = clocks.answer(&ask).unwrap();
        assert_eq!(answer.asked_ms, Some(7));
        assert!(moved.is_some_and(|ahead| ahead.abs_diff(7_200_000) < 5000), "{moved:?}");
        assert!(clocks.answer(&ask).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_asks_too_soon_is_told_a_moment_later() {
        let mut clocks = Clocks::new(0);
        tokio::time::advance(Duration::from_secs(3)).await;
        let right = ClockAsk { asked_ms: 7, now_ms: now_ms() };
        assert!(clocks.answer(&right).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        let ahead = ClockAsk { asked_ms: 8, now_ms: now_ms() + 7_200_000 };
        assert!(clocks.answer(&ahead).is_none());
        assert!(clocks.look().is_none(), "not yet");
        tokio::time::advance(LOOK).await;
        let (told, moved) = clocks.look().unwrap();
        assert_eq!(told.asked_ms, None);
        // The time of day does not advance with the other, and seems set back.
        assert!(moved.is_some_and(|by| by.abs_diff(7_200_000) < 15_000), "{moved:?}");
        tokio::time::advance(LOOK).await;
        // The time of day went on by itself meanwhile, and not by so much.
        let stepped = clocks.look();
        assert!(stepped.is_none_or(|(_, moved)| moved.is_none()), "it is told once");
    }
}
