//! Turns at reads that cost much memory or time: so many bytes and so many reads at
//! once for everybody together, and fewer of both for each person, half of those for all
//! of their keys. A read of more than that is let through alone in its lane, and counted
//! whole among all. Who has as much as one may waits for themselves, and not in the line of
//! all. Each read holds a connection to the database; half of those are left to all
//! else that is asked. Who waits too long is told to come back, so that nobody's hunger
//! holds up all others.

use super::{Problem, seldom::Seldom};
use crate::authz::Sender;
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
/// Permits of one person's reads: 64 MiB. A read of more takes all of these.
const EACH_TOTAL: usize = TOTAL / 4;
/// Reads at once of one who asks.
const EACH: usize = 4;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(8);
/// People remembered before those who rest are forgotten.
const REMEMBERED: usize = 1024;

/// The turns of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    memory: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    people: Arc<Mutex<HashMap<Uuid, Weak<Own>>>>,
    in_use: IntGauge,
    refused: IntCounter,
    said: Arc<Seldom>,
}

/// What one person has.
#[derive(Debug)]
struct Own {
    whole: Bounds,
    /// What their keys together have of it.
    keys: Bounds,
}

#[derive(Debug)]
struct Bounds {
    reads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// Permits of the memory.
    total: usize,
}

/// Leave within a person's bounds.
#[derive(Debug)]
struct Leave {
    _read: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Own {
    /// What a read takes of the person's part: a key's never more than the keys' half, so
    /// that the other half stays the person's.
    fn share(&self, sender: Sender, bytes: usize) -> usize {
        if sender.by_key { self.keys.most(bytes) } else { bytes }
    }
}

impl Bounds {
    fn new(reads: usize, total: usize) -> Self {
        let (reads, memory) = (Arc::new(Semaphore::new(reads)), Arc::new(Semaphore::new(total)));
        Self { reads, memory, total }
    }

    /// What a read of so many bytes takes of these bounds at most.
    fn most(&self, bytes: usize) -> usize {
        bytes.min(self.total * UNIT)
    }

    fn at_once(&self, bytes: usize) -> Option<Leave> {
        let read = self.reads.clone().try_acquire_owned().ok()?;
        let memory = self.memory.clone().try_acquire_many_owned(permits(bytes, self.total)).ok()?;
        Some(Leave { _read: read, _memory: memory })
    }

    async fn wait(&self, bytes: usize) -> Option<Leave> {
        let read = self.reads.clone().acquire_owned().await.ok()?;
        let memory =
            self.memory.clone().acquire_many_owned(permits(bytes, self.total)).await.ok()?;
        Some(Leave { _read: read, _memory: memory })
    }
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _keys: Option<Leave>,
    _own: Leave,
    /// Remembered for as long as it lasts.
    _person: Arc<Own>,
    _read: OwnedSemaphorePermit,
    memory: OwnedSemaphorePermit,
    in_use: IntGauge,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_use.sub(bytes_of(self.memory.num_permits()));
    }
}

impl Turns {
    /// All turns free, where the database has so many connections.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a figure's name is not acceptable: a fault of
    /// the program.
    pub fn new(connections: u32) -> Result<Self, prometheus::Error> {
        let reads = usize::try_from(connections / 2).unwrap_or_default().max(1);
        Ok(Self {
            memory: Arc::new(Semaphore::new(TOTAL)),
            reads: Arc::new(Semaphore::new(reads)),
            people: Arc::default(),
            in_use: IntGauge::new("unifyit_large_read_bytes", "Memory set aside for large reads.")?,
            refused: IntCounter::new(
                "unifyit_large_reads_refused_total",
                "Large reads that found no turn in time.",
            )?,
            said: Arc::default(),
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
    pub fn at_once(&self, sender: Sender, bytes: usize) -> Option<Turn> {
        let person = self.own(sender.person);
        let keys = if sender.by_key { Some(person.keys.at_once(bytes)?) } else { None };
        let own = person.whole.at_once(person.share(sender, bytes))?;
        let memory = self.memory.clone().try_acquire_many_owned(permits(bytes, TOTAL)).ok()?;
        let read = self.reads.clone().try_acquire_owned().ok()?;
        Some(self.begin((keys, own), person, (read, memory)))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 when none comes in time.
    pub async fn wait(&self, sender: Sender, bytes: usize) -> Result<Turn, Problem> {
        let person = self.own(sender.person);
        let turn = async {
            let keys = if sender.by_key { Some(person.keys.wait(bytes).await?) } else { None };
            let own = person.whole.wait(person.share(sender, bytes)).await?;
            let shared = permits(bytes, TOTAL);
            let memory = self.memory.clone().acquire_many_owned(shared).await.ok()?;
            let read = self.reads.clone().acquire_owned().await.ok()?;
            Some((keys, own, memory, read))
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Some((keys, own, memory, read))) => {
                Ok(self.begin((keys, own), person, (read, memory)))
            }
            _ => {
                self.refused.inc();
                if let Some(times) = self.said.due() {
                    tracing::warn!(person = %sender.person, by_key = sender.by_key, bytes, free = self.memory.available_permits() * UNIT,
                        free_reads = self.reads.available_permits(), times,
                        "A large read found no turn in time; it was told to come back.");
                }
                Err(Problem::slow_down(
                    "Too much is being read at once. Try again in a moment, or ask for a shorter range.",
                ))
            }
        }
    }

    /// A turn of what was found free: within the person's bounds, and of all.
    fn begin(
        &self,
        (keys, own): (Option<Leave>, Leave),
        person: Arc<Own>,
        (read, memory): (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Turn {
        self.in_use.add(bytes_of(memory.num_permits()));
        let in_use = self.in_use.clone();
        Turn { _keys: keys, _own: own, _person: person, _read: read, memory, in_use }
    }

    fn own(&self, person: Uuid) -> Arc<Own> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = people.get(&person).and_then(Weak::upgrade) {
            return known;
        }
        if people.len() >= REMEMBERED {
            people.retain(|_, turns| turns.strong_count() > 0);
        }
        let fresh = Arc::new(Own {
            whole: Bounds::new(EACH, EACH_TOTAL),
            keys: Bounds::new(EACH / 2, EACH_TOTAL / 2),
        });
        people.insert(person, Arc::downgrade(&fresh));
        fresh
    }
}

fn bytes_of(permits: usize) -> i64 {
    i64::try_from(permits.saturating_mul(UNIT)).unwrap_or(i64::MAX)
}

/// Never more than there are: one that needs all waits for all.
fn permits(bytes: usize, total: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).clamp(1, total)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use futures::poll;

    fn person() -> Sender {
        Sender { person: Uuid::now_v7(), by_key: false }
    }

    #[tokio::test]
    async fn one_who_asks_much_leaves_turns_for_others() {
        let turns = Turns::new(20).unwrap();
        let (hungry, other) = (person(), person());
        let held: Vec<Turn> = (0..EACH).map(|_| turns.at_once(hungry, 1).unwrap()).collect();
        assert!(turns.at_once(hungry, 1).is_none());
        assert!(turns.at_once(other, 1).is_some());
        drop(held);
        assert!(turns.at_once(hungry, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_with_large_reads_leaves_memory_to_others() {
        let turns = Turns::new(20).unwrap();
        let (hungry, other) = (person(), person());
        let large = TOTAL * UNIT / 16 * 5;
        let mut held: Vec<Turn> = (0..3).filter_map(|_| turns.at_once(hungry, large)).collect();
        assert_eq!(held.len(), 1, "more than their part is one at a time");
        let mut waits = Box::pin(turns.wait(hungry, large));
        assert!(poll!(&mut waits).is_pending());
        let small = turns.at_once(other, 1);
        assert!(small.is_some());
        held.clear();
        assert!(waits.await.is_ok());
    }

    #[tokio::test]
    async fn keys_leave_half_of_the_reads_and_of_the_memory_to_their_person() {
        let turns = Turns::new(20).unwrap();
        let owner = person();
        let key = Sender { by_key: true, ..owner };
        let held: Vec<Turn> = (0..EACH).filter_map(|_| turns.at_once(key, 1)).collect();
        assert_eq!(held.len(), EACH / 2);
        assert!(turns.at_once(owner, 1).is_some());
        drop(held);
        let large = turns.at_once(key, EACH_TOTAL * UNIT);
        assert!(large.is_some());
        assert!(turns.at_once(key, 1).is_none());
        assert!(turns.at_once(owner, EACH_TOTAL * UNIT / 2).is_some());
    }

    #[tokio::test]
    async fn all_reads_together_stay_within_the_memory_set_aside() {
        let turns = Turns::new(20).unwrap();
        let large = turns.at_once(person(), usize::MAX).unwrap();
        assert_eq!(turns.in_use.get(), bytes_of(TOTAL));
        assert!(turns.at_once(person(), 1).is_none());
        drop(large);
        assert!(turns.at_once(person(), 1).is_some());
        assert_eq!(turns.in_use.get(), 0);
    }

    #[tokio::test]
    async fn all_reads_together_leave_half_of_the_database_to_others() {
        let turns = Turns::new(20).unwrap();
        let held: Vec<Turn> = (0..20).filter_map(|_| turns.at_once(person(), 1)).collect();
        assert_eq!(held.len(), 10);
        assert!(Turns::new(1).unwrap().at_once(person(), 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back() {
        let turns = Turns::new(20).unwrap();
        let _all = turns.at_once(person(), usize::MAX).unwrap();
        let refused = turns.wait(person(), 1).await.unwrap_err();
        assert_eq!(refused.status, 429);
    }
}
