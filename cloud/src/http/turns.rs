//! Turns at reads that cost much memory or time: so many bytes at once for
//! everybody together, so many reads at once for each who asks. Who waits too
//! long is told to come back, so that nobody's hunger holds up all others.

use super::Problem;
use prometheus::{IntCounter, IntGauge, Registry};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Bytes of one permit.
const UNIT: usize = 64 * 1024;
/// Permits of all reads together: 256 MiB.
const TOTAL: usize = 4096;
/// Reads at once of one who asks.
const EACH: usize = 4;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(8);
/// Actors remembered before those who rest are forgotten.
const REMEMBERED: usize = 1024;

/// The turns of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    memory: Arc<Semaphore>,
    actors: Arc<Mutex<HashMap<Uuid, Weak<Semaphore>>>>,
    in_use: IntGauge,
    refused: IntCounter,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _own: OwnedSemaphorePermit,
    memory: OwnedSemaphorePermit,
    in_use: IntGauge,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_use.sub(bytes_of(self.memory.num_permits()));
    }
}

impl Turns {
    /// All turns free.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a figure's name is not acceptable: a fault of
    /// the program.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            memory: Arc::new(Semaphore::new(TOTAL)),
            actors: Arc::default(),
            in_use: IntGauge::new("unifyit_large_read_bytes", "Memory set aside for large reads.")?,
            refused: IntCounter::new(
                "unifyit_large_reads_refused_total",
                "Large reads that found no turn in time.",
            )?,
        })
    }

    /// Adds the figures of the turns to the metrics page.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a name is used twice: a fault of the program.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.in_use.clone()))?;
        registry.register(Box::new(self.refused.clone()))
    }

    /// A turn if one is free: a read of about so many bytes.
    #[must_use]
    pub fn at_once(&self, actor: Uuid, bytes: usize) -> Option<Turn> {
        let own = self.own(actor).try_acquire_owned().ok()?;
        let memory = self.memory.clone().try_acquire_many_owned(permits(bytes)).ok()?;
        Some(self.begun(own, memory))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 when none comes in time.
    pub async fn wait(&self, actor: Uuid, bytes: usize) -> Result<Turn, Problem> {
        let own = self.own(actor);
        let turn = async {
            let own = own.acquire_owned().await.ok()?;
            let memory = self.memory.clone().acquire_many_owned(permits(bytes)).await.ok()?;
            Some(self.begun(own, memory))
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Some(turn)) => Ok(turn),
            _ => {
                self.refused.inc();
                tracing::warn!(%actor, bytes, free = self.memory.available_permits() * UNIT,
                    "A large read found no turn in time; it was told to come back.");
                Err(Problem::slow_down(
                    "Too much is being read at once. Try again in a moment, or ask for a shorter range.",
                ))
            }
        }
    }

    fn begun(&self, own: OwnedSemaphorePermit, memory: OwnedSemaphorePermit) -> Turn {
        self.in_use.add(bytes_of(memory.num_permits()));
        Turn { _own: own, memory, in_use: self.in_use.clone() }
    }

    fn own(&self, actor: Uuid) -> Arc<Semaphore> {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = actors.get(&actor).and_then(Weak::upgrade) {
            return known;
        }
        if actors.len() >= REMEMBERED {
            actors.retain(|_, turns| turns.strong_count() > 0);
        }
        let fresh = Arc::new(Semaphore::new(EACH));
        actors.insert(actor, Arc::downgrade(&fresh));
        fresh
    }
}

fn bytes_of(permits: usize) -> i64 {
    i64::try_from(permits.saturating_mul(UNIT)).unwrap_or(i64::MAX)
}

/// Never more than there are: one that needs all waits for all.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).clamp(1, TOTAL)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn one_who_asks_much_leaves_turns_for_others() {
        let turns = Turns::new().unwrap();
        let (hungry, other) = (Uuid::now_v7(), Uuid::now_v7());
        let held: Vec<Turn> = (0..EACH).map(|_| turns.at_once(hungry, 1).unwrap()).collect();
        assert!(turns.at_once(hungry, 1).is_none());
        assert!(turns.at_once(other, 1).is_some());
        drop(held);
        assert!(turns.at_once(hungry, 1).is_some());
    }

    #[tokio::test]
    async fn all_reads_together_stay_within_the_memory_set_aside() {
        let turns = Turns::new().unwrap();
        let large = turns.at_once(Uuid::now_v7(), usize::MAX).unwrap();
        assert_eq!(turns.in_use.get(), bytes_of(TOTAL));
        assert!(turns.at_once(Uuid::now_v7(), 1).is_none());
        drop(large);
        assert!(turns.at_once(Uuid::now_v7(), 1).is_some());
        assert_eq!(turns.in_use.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back() {
        let turns = Turns::new().unwrap();
        let _all = turns.at_once(Uuid::now_v7(), usize::MAX).unwrap();
        let refused = turns.wait(Uuid::now_v7(), 1).await.unwrap_err();
        assert_eq!(refused.status, 429);
    }
}
