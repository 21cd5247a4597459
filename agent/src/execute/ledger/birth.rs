//! Since when the ledger is whole: see the module above.

use super::{FLOOR, number};
use crate::{
    clock,
    store::{META, StoreError},
};
use redb::{ReadableTable, WriteTransaction};
use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use unifyit_protocol::{ids::CommandId, lan::Handed};

const BORN: &str = "ledger birth";
/// The birth of a ledger of which nothing is known yet.
const UNBORN: u64 = u64::MAX;
/// Commands known to have been handed over before; a relay that names more is
/// believed for all.
const MAX_HANDED: usize = 16_384;

/// What the clocks and the disk say when the relay is reached, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The site's time.
    pub site_ms: u64,
    /// The computer's own clock.
    pub own_ms: u64,
    /// [`Memory::floor_ms`].
    pub floor_ms: u64,
}

/// Since when the ledger is whole, in memory and on disk.
#[derive(Debug)]
pub struct Birth {
    opened: Instant,
    at_ms: AtomicU64,
    /// What the disk says.
    saved_ms: AtomicU64,
    /// The floor in the place of one that no clock has reached; 0 for none.
    floor_ms: AtomicU64,
    handed: Mutex<HandedSet>,
}

#[derive(Debug, Default)]
struct HandedSet {
    /// The memory is younger than this connection's relay, so that also what was
    /// only sent may have come.
    younger: bool,
    started: HashSet<CommandId>,
    sent: HashSet<CommandId>,
    all: bool,
}

impl Birth {
    /// Reads it; `fresh` says that the file was just made.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn load(tables: &WriteTransaction, fresh: bool) -> Result<Self, StoreError> {
        let mut meta = tables.open_table(META)?;
        let saved = meta.get(BORN)?.map(|bytes| number(bytes.value()));
        let at_ms = saved.unwrap_or(if fresh { UNBORN } else { 0 });
        meta.insert(BORN, at_ms.to_be_bytes().as_slice())?;
        Ok(Self {
            opened: Instant::now(),
            at_ms: at_ms.into(),
            saved_ms: at_ms.into(),
            floor_ms: AtomicU64::new(0),
            handed: Mutex::default(),
        })
    }

    /// The relay was reached; it has heard of this device before, or never, and it
    /// holds what this disk never wrote, or does not. Whether the memory turned out to
    /// be younger than the device.
    pub fn greet(&self, known: bool, ahead: bool, times: Times) -> bool {
        let now_ms = times.site_ms;
        let latest_ms = now_ms.max(times.own_ms);
        let at_ms = self.at_ms.load(Ordering::Acquire);
        let begun = now_ms
            .saturating_sub(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut handed = self.lock();
        *handed = HandedSet { younger: handed.younger, ..HandedSet::default() };
        let younger = if at_ms == UNBORN {
            self.at_ms.store(if known { begun } else { 0 }, Ordering::Release);
            known
        } else {
            let wrong = |moment_ms| clock::reached(moment_ms, latest_ms) != moment_ms;
            let (birth, floor) = (wrong(at_ms), wrong(times.floor_ms));
            if birth || floor {
                tracing::warn!(
                    at_ms,
                    times.floor_ms,
                    latest_ms,
                    "the memory of commands names a time that no clock has reached; it begins anew"
                );
                self.at_ms.store(latest_ms, Ordering::Release);
            }
            if floor {
                self.floor_ms.store(latest_ms, Ordering::Release);
            }
            // Never earlier for one clock alone: what that makes of it stays on the
            // safe side.
            self.at_ms.fetch_max(if ahead { now_ms } else { 0 }, Ordering::AcqRel);
            ahead
        };
        handed.younger |= younger;
        younger
    }

    /// The relay names commands that it handed over before.
    pub fn handed(&self, named: Handed) {
        let mut handed = self.lock();
        handed.started.extend(named.started);
        handed.sent.extend(named.sent);
        if handed.started.len() + handed.sent.len() > MAX_HANDED {
            tracing::warn!("the relay names more commands as handed over than can be kept apart");
            *handed = HandedSet { all: true, younger: handed.younger, ..HandedSet::default() };
        }
    }

    /// Since when, Unix milliseconds; `None` while nothing is known.
    pub(super) fn at_ms(&self) -> Option<u64> {
        Some(self.at_ms.load(Ordering::Acquire)).filter(|at| *at != UNBORN)
    }

    /// Whether the relay named a command, in a time that the ledger should know of.
    pub(super) fn was_handed(&self, id: CommandId) -> bool {
        let handed = self.lock();
        handed.all || handed.started.contains(&id) || (handed.younger && handed.sent.contains(&id))
    }

    fn lock(&self) -> MutexGuard<'_, HandedSet> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk says otherwise.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.at_ms.load(Ordering::Acquire) != self.saved_ms.load(Ordering::Acquire)
    }

    /// Writes it down where the disk says otherwise; what was written counts once
    /// the commit is durable ([`Self::saved`]).
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn save(&self, tables: &WriteTransaction) -> Result<u64, StoreError> {
        let at_ms = self.at_ms.load(Ordering::Acquire);
        if at_ms != self.saved_ms.load(Ordering::Acquire) {
            let mut meta = tables.open_table(META)?;
            meta.insert(BORN, at_ms.to_be_bytes().as_slice())?;
            let floor_ms = self.floor_ms.load(Ordering::Acquire);
            if floor_ms > 0 {
                meta.insert(FLOOR, floor_ms.to_be_bytes().as_slice())?;
            }
        }
        Ok(at_ms)
    }

    /// The disk says so.
    pub fn saved(&self, at_ms: u64) {
        self.saved_ms.store(at_ms, Ordering::Release);
        self.floor_ms.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const T: u64 = 1_800_000_000_000;
    const YEARS: u64 = 10 * 365 * 24 * 3_600_000;

    fn birth(at_ms: u64) -> Birth {
        Birth {
            opened: Instant::now(),
            at_ms: at_ms.into(),
            saved_ms: at_ms.into(),
            floor_ms: AtomicU64::new(0),
            handed: Mutex::default(),
        }
    }

    fn times(site_ms: u64, own_ms: u64, floor_ms: u64) -> Times {
        Times { site_ms, own_ms, floor_ms }
    }

    #[test]
    fn a_ledger_born_while_the_site_was_years_ahead_refuses_for_no_years() {
        let born = birth(T + YEARS);
        assert!(!born.greet(true, false, times(T, T + 500, 0)));
        assert_eq!(born.at_ms(), Some(T + 500), "what was signed until here may have run");
        assert!(born.is_unsaved());
        born.saved(T + 500);
        born.greet(true, false, times(T + 60_000, T + 60_500, 0));
        assert_eq!(born.at_ms(), Some(T + 500), "it is born anew once, not at each greeting");
    }

    #[test]
    fn no_clock_alone_makes_a_ledger_younger() {
        let born = birth(T);
        born.greet(true, false, times(T - YEARS, T + 1000, T));
        assert_eq!(born.at_ms(), Some(T), "the site's time is years behind");
        born.greet(true, false, times(T + 1000, T - YEARS, T));
        assert_eq!(born.at_ms(), Some(T), "the own clock is years behind");
        assert!(!born.is_unsaved());
    }

    #[test]
    fn a_floor_of_a_time_that_never_was_is_replaced_by_a_birth() {
        let folder = tempfile::tempdir().unwrap();
        let database = redb::Database::create(folder.path().join("l")).unwrap();
        let born = birth(0);
        born.greet(true, false, times(T, T, T + YEARS));
        assert_eq!(born.at_ms(), Some(T));
        let txn = database.begin_write().unwrap();
        born.saved(born.save(&txn).unwrap());
        let floor = txn.open_table(META).unwrap().get(FLOOR).unwrap().map(|b| number(b.value()));
        assert_eq!(floor, Some(T), "what was over by then is over");
        assert!(!born.is_unsaved());
    }
}
