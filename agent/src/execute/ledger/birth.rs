//! Since when the ledger is whole: see the module above.

use super::number;
use crate::{
    clock,
    store::{META, StoreError},
};
use redb::{ReadableTable, WriteTransaction};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use unifyit_protocol::{ids::CommandId, lan::Handed};

const BORN: &str = "ledger birth";
const SINCE: &str = "counted since birth";
/// The birth of a ledger of which nothing is known yet.
const UNBORN: u64 = u64::MAX;
/// Commands known to have been handed over before; a relay that names more is
/// believed for all.
const MAX_HANDED: usize = 16_384;

/// What the clocks say when the relay is reached, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The site's time.
    pub site_ms: u64,
    /// The computer's own clock.
    pub own_ms: u64,
}

/// Since when, and which count of the authority is known to be of later; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    at_ms: u64,
    counter: u64,
}

/// Since when the ledger is whole, in memory and on disk.
#[derive(Debug)]
pub struct Birth {
    opened: Instant,
    since: Mutex<Since>,
    /// What the disk says.
    saved: Mutex<Since>,
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
        let counter = meta.get(SINCE)?.map_or(0, |bytes| number(bytes.value()));
        Ok(Self::of(Since { at_ms, counter }))
    }

    fn of(since: Since) -> Self {
        Self {
            opened: Instant::now(),
            since: since.into(),
            saved: since.into(),
            handed: Mutex::default(),
        }
    }

    /// The relay was reached; it has heard of this device before, or never, and it
    /// holds what this disk never wrote, or does not. Whether the memory turned out to
    /// be younger than the device.
    pub fn greet(&self, known: bool, ahead: bool, times: Times) -> bool {
        let now_ms = times.site_ms;
        let begun = now_ms
            .saturating_sub(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut handed = self.lock();
        *handed = HandedSet { younger: handed.younger, ..HandedSet::default() };
        let mut since = lock(&self.since);
        let younger = if since.at_ms == UNBORN {
            *since = Since { at_ms: if known { begun } else { 0 }, counter: 0 };
            known
        } else {
            if ahead {
                // What was counted before the memory was set back proves nothing any more.
                *since = Since { at_ms: since.at_ms.max(now_ms), counter: 0 };
            }
            let latest_ms = now_ms.max(times.own_ms);
            if clock::reached(since.at_ms, latest_ms) != since.at_ms && since.counter == 0 {
                tracing::error!(
                    at_ms = since.at_ms,
                    latest_ms,
                    "the memory of commands began at a time that no clock has reached; commands \
                     are refused until then. If the clocks are right, stop the agent, move \
                     agent.redb in its state folder away and start it again"
                );
            }
            ahead
        };
        handed.younger |= younger;
        younger
    }

    /// See [`Memory::is_counted_since`](crate::guard::Memory::is_counted_since).
    pub(super) fn is_counted_since(&self, counter: u64, issued_ms: u64, latest_ms: u64) -> bool {
        let mut since = lock(&self.since);
        if counter == 0 || matches!(since.at_ms, 0 | UNBORN) {
            return false;
        }
        // A moment that no clock has reached says nothing of what came before it.
        let after = issued_ms > since.at_ms && clock::reached(issued_ms, latest_ms) == issued_ms;
        if after && (since.counter == 0 || counter < since.counter) {
            since.counter = counter;
        }
        since.counter != 0 && counter > since.counter
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
        Some(lock(&self.since).at_ms).filter(|at| *at != UNBORN)
    }

    /// Whether the relay named a command, in a time that the ledger should know of.
    pub(super) fn was_handed(&self, id: CommandId) -> bool {
        let handed = self.lock();
        handed.all || handed.started.contains(&id) || (handed.younger && handed.sent.contains(&id))
    }

    fn lock(&self) -> MutexGuard<'_, HandedSet> {
        lock(&self.handed)
    }

    /// Whether the disk says otherwise.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        *lock(&self.since) != *lock(&self.saved)
    }

    /// Writes it down where the disk says otherwise; what was written counts once
    /// the commit is durable ([`Self::saved`]).
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn save(&self, tables: &WriteTransaction) -> Result<Since, StoreError> {
        let since = *lock(&self.since);
        if since != *lock(&self.saved) {
            let mut meta = tables.open_table(META)?;
            meta.insert(BORN, since.at_ms.to_be_bytes().as_slice())?;
            meta.insert(SINCE, since.counter.to_be_bytes().as_slice())?;
        }
        Ok(since)
    }

    /// The disk says so.
    pub fn saved(&self, since: Since) {
        *lock(&self.saved) = since;
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const T: u64 = 1_800_000_000_000;
    const YEARS: u64 = 10 * 365 * 24 * 3_600_000;

    fn birth(at_ms: u64) -> Birth {
        Birth::of(Since { at_ms, counter: 0 })
    }

    fn times(site_ms: u64, own_ms: u64) -> Times {
        Times { site_ms, own_ms }
    }

    #[test]
    fn no_clock_takes_a_birth_back_not_even_two_that_agree() {
        let born = birth(T);
        for (site, own) in [(T - YEARS, T), (T, T - YEARS), (T - YEARS, T - YEARS), (0, 0)] {
            born.greet(true, false, times(site, own));
            assert_eq!(born.at_ms(), Some(T), "site {site}, own {own}");
            born.greet(true, true, times(site, own));
            assert_eq!(born.at_ms(), Some(T), "set back, site {site}, own {own}");
        }
        assert!(!born.is_unsaved());
        assert!(born.greet(true, true, times(T + 1000, 0)));
        assert_eq!(born.at_ms(), Some(T + 1000), "set back later");
    }

    #[test]
    fn a_ledger_born_while_the_cloud_was_years_ahead_runs_what_is_counted_later() {
        let born = birth(UNBORN);
        assert!(born.greet(true, false, times(T + YEARS, T)));
        let at_ms = born.at_ms().unwrap();
        assert!(at_ms > T);
        let latest = T + YEARS + 5_000;
        assert!(!born.is_counted_since(6, T, latest), "it may have run before");
        assert!(!born.is_counted_since(7, latest, latest), "by its time it is later");
        assert!(born.is_unsaved());
        // The cloud is set right.
        assert!(born.is_counted_since(8, T + 60_000, T + 60_000));
        assert!(!born.is_counted_since(6, T, T + 60_000));
        assert!(!born.is_counted_since(0, T + 60_000, T + 60_000), "of somebody else");
        born.greet(true, true, times(T + 90_000, T));
        assert!(!born.is_counted_since(8, T + 60_000, T + 90_000), "set back: it may have run");
    }

    #[test]
    fn a_command_of_a_time_that_never_was_says_nothing_of_others() {
        let born = birth(T);
        assert!(!born.is_counted_since(5, T + YEARS, T + 60_000));
        assert!(!born.is_counted_since(6, T - 60_000, T + 60_000));
    }

    #[test]
    fn a_relay_that_names_more_than_can_be_kept_apart_is_believed_for_all() {
        let (born, sent) = (birth(T), CommandId::generate());
        born.handed(Handed { started: Vec::new(), sent: vec![sent] });
        assert!(!born.was_handed(sent), "it may have been lost on its way");
        let started = std::iter::repeat_with(CommandId::generate).take(MAX_HANDED).collect();
        born.handed(Handed { started, sent: Vec::new() });
        assert!(born.was_handed(sent) && born.was_handed(CommandId::generate()));
        assert!(born.lock().started.is_empty());
        born.greet(true, false, times(T, T));
        assert!(!born.was_handed(sent), "of that connection");
    }

    #[test]
    fn birth_and_count_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let database = redb::Database::create(folder.path().join("l")).unwrap();
        let born = birth(T);
        born.is_counted_since(7, T + 1, T + 2);
        let txn = database.begin_write().unwrap();
        born.saved(born.save(&txn).unwrap());
        assert!(!born.is_unsaved());
        let again = Birth::load(&txn, false).unwrap();
        assert_eq!(again.at_ms(), Some(T));
        assert!(again.is_counted_since(8, T - 1, T + 2));
        assert!(!again.is_counted_since(7, T - 1, T + 2));
    }
}
