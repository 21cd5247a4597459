//! Signs of life of a connection, both ways.
//!
//! Whatever is said is a sign of life, and at the usual pace of collections reports
//! and their acknowledgements are enough: nothing else wakes the agent. Only who was
//! quiet for long says something for its own sake.

use super::mqtt::KEEP_ALIVE;
use tokio::time::Instant;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To say something that is answered.
    Sign,
    /// To give the connection up.
    End,
}

/// When something was last said and heard.
#[derive(Debug)]
pub(super) struct Vitals {
    said: Instant,
    heard: Instant,
    asked: Option<Instant>,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Self {
        Self { said: now, heard: now, asked: None }
    }

    pub(super) fn said(&mut self, now: Instant) {
        self.said = now;
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What is due. A sign is due once until something is heard.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        if now >= self.end_at() {
            return Some(Due::End);
        }
        if now < self.sign_at() {
            return None;
        }
        self.asked = Some(now);
        Some(Due::Sign)
    }

    /// When something is due next, if nothing is said or heard until then.
    pub(super) fn look_at(&self) -> Instant {
        self.sign_at().min(self.end_at())
    }

    /// Also one that is busy speaking asks whether it is heard: a relay whose disk is
    /// full acknowledges nothing, and lives. Who asked waits for whatever comes.
    fn sign_at(&self) -> Instant {
        if self.asked.is_some_and(|asked| asked >= self.heard) {
            return self.end_at();
        }
        self.said.min(self.heard) + KEEP_ALIVE
    }

    fn end_at(&self) -> Instant {
        self.heard + 2 * KEEP_ALIVE
    }
}

#[cfg(test)]
mod tests;
