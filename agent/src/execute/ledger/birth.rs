//! Since when the ledger is whole: see the module above.

#[cfg(test)]
mod tests;

use super::number;
use crate::{
    clock,
    store::{META, StoreError},
};
use redb::{ReadableTable, WriteTransaction};
use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use unifyit_protocol::{ids::CommandId, lan::Handed};

const BORN: &str = "ledger birth";
const SINCE: &str = "counted since birth";
/// The birth of a ledger of which nothing is known yet.
const UNBORN: u64 = u64::MAX;
/// Commands known to have been handed over before; a relay that names more is
/// believed for all.
const MAX_HANDED: usize = 16_384;
/// By how much the clock that dates commands and the site's time may differ: the
/// network's delay, and what a relay allows itself before it follows its cloud.
const SLACK_MS: u64 = 5_000;

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
    /// The uptime then, in milliseconds.
    opened_ms: i64,
    /// `None` while nothing is known of the site's time.
    held: Mutex<Option<Held>>,
    /// The file was closed and opened again in this run.
    torn: AtomicBool,
    since: Mutex<Since>,
    /// What the disk says.
    saved: Mutex<Since>,
    handed: Mutex<HandedSet>,
}

/// Since when this process has held the file open without a break, by the site's time.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// When it opened it, by the last look: clocks drift apart, in either direction.
    begun_ms: u64,
    /// What was given after that and is not in it never ran.
    since_ms: u64,
    /// When that was seen to be later than the opening, if it was.
    late_ms: Option<u64>,
}

impl Held {
    /// Looks when the process seems to have opened the file by now. Where that is later
    /// than before, its own time stood still: its computer was paused, or set back
    /// together with its memory, and nobody knows what it did meanwhile. Or the site's
    /// time was behind, and claims nothing.
    fn look(&mut self, begun_ms: u64, site_ms: u64) {
        let late = begun_ms > self.begun_ms.saturating_add(SLACK_MS);
        self.begun_ms = begun_ms;
        if late {
            self.since_ms = self.since_ms.max(site_ms);
            self.late_ms = Some(site_ms);
        }
    }
}

#[derive(Debug, Default)]
struct HandedSet {
    /// The memory is younger than this connection's relay, so that also what was
    /// only sent may have come.
    younger: bool,
    started: HashSet<CommandId>,
    sent: HashSet<CommandId>,
    /// Those of `started` that were sent at most, by all that was said of them.
    unheard: HashSet<CommandId>,
    all: bool,
    /// Commands that came and are not judged yet, and how many times each. They were
    /// named before they came, perhaps over a connection that has ended meanwhile.
    due: HashMap<CommandId, usize>,
}

impl HandedSet {
    /// Forgets what was named, but for what is still to be judged by it.
    fn forget(&mut self) {
        let Self { started, sent, unheard, all, due, .. } = self;
        for named in [&mut *started, sent, unheard] {
            named.retain(|id| due.contains_key(id));
        }
        if std::mem::take(all) {
            started.extend(due.keys());
        }
    }
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
            opened_ms: uptime_ms(),
            held: Mutex::default(),
            torn: AtomicBool::new(false),
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
        let mut begun = self.begun_ms(now_ms);
        match &mut *lock(&self.held) {
            Some(held) => {
                held.look(begun, now_ms);
                // Whoever looked first: the time may have been learnt ahead of the greeting.
                begun = begun.max(held.late_ms.map_or(0, |late| late.min(now_ms)));
            }
            // It was given nothing before.
            held => *held = Some(Held { begun_ms: begun, since_ms: now_ms, late_ms: None }),
        }
        let mut handed = self.lock();
        handed.forget();
        let mut since = lock(&self.since);
        let younger = if since.at_ms == UNBORN {
            *since = Since { at_ms: if known { begun } else { 0 }, counter: 0 };
            known
        } else {
            if ahead {
                // What was counted before the memory was set back proves nothing any more.
                *since = Since { at_ms: since.at_ms.max(begun), counter: 0 };
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

    /// The site's time was learnt again: see [`Held::look`].
    pub fn learnt(&self, site_ms: u64) {
        if let Some(held) = lock(&self.held).as_mut() {
            held.look(self.begun_ms(site_ms), site_ms);
        }
    }

    /// When this process opened the ledger, by what the site's time is now.
    fn begun_ms(&self, site_ms: u64) -> u64 {
        site_ms.saturating_add_signed(self.opened_ms.saturating_sub(uptime_ms()))
    }

    /// The relay names commands that it handed over before.
    pub fn handed(&self, named: Handed) {
        let mut handed = self.lock();
        let unheard: HashSet<CommandId> = named.unheard.into_iter().collect();
        for id in named.started {
            let first = handed.started.insert(id);
            if !unheard.contains(&id) {
                handed.unheard.remove(&id);
            } else if first {
                handed.unheard.insert(id);
            }
        }
        handed.sent.extend(named.sent);
        if handed.started.len() + handed.sent.len() > MAX_HANDED {
            tracing::warn!("the relay names more commands as handed over than can be kept apart");
            let (younger, due) = (handed.younger, std::mem::take(&mut handed.due));
            *handed = HandedSet { all: true, younger, due, ..HandedSet::default() };
        }
    }

    /// A command came: what was named until now is kept for it until it is judged.
    pub fn came(&self, id: CommandId) {
        *self.lock().due.entry(id).or_default() += 1;
    }

    /// A command that came was judged, or could not be taken.
    pub fn judged(&self, id: CommandId) {
        if let Entry::Occupied(mut times) = self.lock().due.entry(id) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    /// Since when, Unix milliseconds; `None` while nothing is known.
    pub(super) fn at_ms(&self) -> Option<u64> {
        Some(lock(&self.since).at_ms).filter(|at| *at != UNBORN)
    }

    /// Whether the relay named a command, in a time that the ledger should know of. One
    /// of which nobody heard that it was started is settled by the ledger itself where
    /// it was open all the while.
    pub(super) fn was_handed(&self, id: CommandId, issued_ms: u64, site_ms: u64) -> bool {
        let handed = self.lock();
        let started = handed.started.contains(&id)
            && (handed.younger
                || !handed.unheard.contains(&id)
                || !self.was_held_since(issued_ms, site_ms));
        handed.all || started || (handed.younger && handed.sent.contains(&id))
    }

    /// Whether this process has held the ledger open since before a command was given.
    fn was_held_since(&self, issued_ms: u64, site_ms: u64) -> bool {
        let mut held = lock(&self.held);
        let Some(held) = held.as_mut().filter(|_| !self.torn.load(Relaxed)) else { return false };
        // The site's time may have been put right since the relay was reached.
        held.look(self.begun_ms(site_ms), site_ms);
        issued_ms > held.since_ms.saturating_add(SLACK_MS)
            // A moment that has not come yet says nothing of what came before it.
            && issued_ms <= site_ms.saturating_add(SLACK_MS)
    }

    /// The file was closed and opened again.
    pub fn torn(&self) {
        self.torn.store(true, Relaxed);
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

/// Since the computer started, sleep included.
fn uptime_ms() -> i64 {
    i64::try_from(clock::uptime_ms()).unwrap_or(i64::MAX)
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
