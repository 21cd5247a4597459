//! A relay's clock beside ours, both ways: it asks for the time once a minute and
//! learns it from the answer, we learn how far its machine is off; when our own
//! clock is set, it is told at once.

use super::{Ended, SessionDeps};
use crate::{
    db::DbError,
    link::{RelayChange, RelayIdentity, relay::now_ms},
};
use std::time::Duration;
use tokio::time::Instant;
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
    rounded(signed(relay_ms).saturating_sub(signed(now_ms())))
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
    /// How far ahead the relay's clock is, by its last question and what ours was set
    /// since.
    ahead: i64,
    answered: Option<Instant>,
    /// How far ahead the clock was of a relay that asked too soon after its last
    /// question. It is told the time when that is due.
    owed: Option<i64>,
    /// Our clock and the time that nobody sets, as they were last told.
    told: (u64, Instant),
    look: Instant,
}

impl Clocks {
    /// After a greeting, which told ours and stored the relay's.
    pub(super) fn new(stored: i64) -> Self {
        let now = Instant::now();
        let (told, look) = ((now_ms(), now), now + LOOK);
        Self { stored, ahead: stored, answered: None, owed: None, told, look }
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
        match self.owed.take() {
            Some(ahead) => Some((self.tell(None, now), self.moved(ahead))),
            None => self.stepped(now_ms(), now),
        }
    }

    fn tell(&mut self, asked_ms: Option<u64>, now: Instant) -> ClockAnswer {
        let now_ms = now_ms();
        (self.answered, self.told) = (Some(now), (now_ms, now));
        ClockAnswer { asked_ms, now_ms }
    }

    /// How far the relay's clock is ahead, when that is to be stored.
    fn moved(&mut self, ahead: i64) -> Option<i64> {
        self.ahead = ahead;
        let moved = ahead.abs_diff(self.stored) >= STORED_AGAIN_MS;
        if moved {
            self.stored = ahead;
        }
        moved.then_some(ahead)
    }

    /// What goes ahead of a command when our clock was set since it was told: the
    /// command is dated by it, and would be long over, or not yet due, by the one
    /// before.
    pub(super) fn ahead_of_data(&mut self) -> Option<Said> {
        self.stepped(now_ms(), Instant::now())
    }

    /// The relay's clock is by as much less ahead of ours as ours was set forward: a
    /// relay that was blamed for our wrong clock is well the moment ours is right.
    fn stepped(&mut self, now_ms: u64, now: Instant) -> Option<Said> {
        let (then_ms, then) = self.told;
        let went = u64::try_from(now.duration_since(then).as_millis()).unwrap_or(u64::MAX);
        let by = signed(now_ms).saturating_sub(signed(then_ms.saturating_add(went)));
        if by.unsigned_abs() <= STEP_MS {
            return None;
        }
        self.told = (now_ms, now);
        let moved = self.moved(rounded(self.ahead.saturating_sub(by)));
        Some((ClockAnswer { asked_ms: None, now_ms }, moved))
    }

    /// Answers a question; one that follows another within a moment is answered with
    /// the next look.
    pub(super) fn answer(&mut self, ask: &ClockAsk) -> Option<Said> {
        let now = Instant::now();
        if self.answered.is_some_and(|at| now.duration_since(at) < AGAIN) {
            self.owed = Some(ahead_of(ask.now_ms));
            return None;
        }
        self.owed = None;
        let moved = self.moved(ahead_of(ask.now_ms));
        Some((self.tell(Some(ask.asked_ms), now), moved))
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
            let (deps, relay) = (self.deps.clone(), self.relay);
            tokio::spawn(async move {
                if let Err(error) = store(&deps, &relay, ahead_ms).await {
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

/// Stores how far a relay's clock is ahead, and tells browsers.
pub(super) async fn store(
    deps: &SessionDeps,
    relay: &RelayIdentity,
    ahead_ms: i64,
) -> Result<(), DbError> {
    let mut tx = deps.db.tenant(&relay.scope()).await?;
    sqlx::query("UPDATE relays SET clock_ahead_ms = $2 WHERE id = $1")
        .bind(relay.id.0)
        .bind(ahead_ms)
        .execute(&mut *tx)
        .await?;
    super::presence::told(deps.records.as_ref(), &mut tx, relay, RelayChange::Clock).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_clock_that_was_set_is_told() {
        let mut clocks = Clocks::new(0);
        let (then_ms, then) = clocks.told;
        let later = then + Duration::from_secs(60);
        assert!(clocks.stepped(then_ms + 60_200, later).is_none());
        let (told, moved) = clocks.stepped(then_ms - 3_540_000, later).unwrap();
        assert_eq!((told.asked_ms, told.now_ms), (None, then_ms - 3_540_000));
        assert_eq!(moved, Some(3_600_000), "the relay is ahead of a clock that was set back");
        assert!(clocks.stepped(then_ms - 3_540_000, later).is_none(), "told already");
    }

    #[tokio::test]
    async fn a_relay_is_right_again_the_moment_our_clock_is() {
        // The cloud began an hour ahead, so the relay's greeting was an hour behind.
        let mut clocks = Clocks::new(-3_600_000);
        let (then_ms, then) = clocks.told;
        let (told, moved) = clocks.stepped(then_ms - 3_600_000, then).unwrap();
        assert_eq!((told.now_ms, moved), (then_ms - 3_600_000, Some(0)));
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
        assert!(moved.is_some_and(|by| by.abs_diff(7_200_000) < 5000), "{moved:?}");
        tokio::time::advance(LOOK).await;
        // The time of day went on by itself meanwhile, and not by so much.
        let stepped = clocks.look();
        assert!(stepped.is_none_or(|(_, moved)| moved.is_none()), "it is told once");
    }
}
