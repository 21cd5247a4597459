//! The ledger: every command that passed the guard, with its intent and its
//! outcome, on disk (G3). It is also the guard's memory of commands seen.
//!
//! Bounded: beyond [`KEEP`] entries, expired ones with an outcome are forgotten,
//! and the highest expiry among them becomes the *floor*, below which the guard
//! lets nothing pass. So forgetting never lets a command run twice.
//!
//! The file itself can be lost or set back. The ledger therefore has a *birth*, by
//! the site's time: what was signed before it and is not in it may have run. A
//! ledger that was always there is born at 0; a new file has no birth until the
//! relay says whether it ever heard of this device ([`Birth`]).
//!
//! Entries of a later version of the agent are left as they are; ones that are
//! damaged are concluded as indeterminate. Neither stops the agent.

use crate::{
    guard::{Memory, Seen},
    store::{LEDGER, META, Store, StoreError, Txn},
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use unifyit_protocol::{
    codec,
    command::MAX_VALIDITY_MS,
    ids::CommandId,
    lan::Handed,
    outcome::{CommandEvent, Status},
};

/// Entries that are kept without a look at their expiry.
const KEEP: u64 = 4096;
/// Entries beyond which nothing is accepted.
pub const MAX_ENTRIES: u64 = 65_536;
/// How often, in new entries, expired ones are looked for.
const PURGE_EVERY: u64 = 256;
const FLOOR: &str = "ledger floor";
const BORN: &str = "ledger birth";
/// The birth of a ledger of which nothing is known yet.
const UNBORN: u64 = u64::MAX;
/// Commands known to have been handed over before; a relay that names more is
/// believed for all.
const MAX_HANDED: usize = 16_384;

/// What is written down of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Expiry of the command, Unix milliseconds.
    pub expires_ms: u64,
    /// When the intent was made, Unix milliseconds.
    pub accepted_ms: u64,
    /// What became of it. `None` from the intent until then.
    #[serde(default)]
    pub outcome: Option<CommandEvent>,
}

/// What can be read of an entry whatever a later version wrote into its outcome.
#[derive(Deserialize)]
struct Head {
    expires_ms: u64,
    #[serde(default)]
    outcome: Option<IgnoredAny>,
}

/// How far an entry has come.
enum Reading {
    Whole(Entry),
    /// It has an outcome that this version cannot read.
    Later(u64),
    /// It has none, or is damaged.
    Open,
}

fn read(bytes: &[u8]) -> Reading {
    if let Ok(entry) = codec::decode::<Entry>(bytes) {
        return Reading::Whole(entry);
    }
    match codec::decode::<Head>(bytes) {
        Ok(Head { expires_ms, outcome: Some(_) }) => Reading::Later(expires_ms),
        _ => Reading::Open,
    }
}

fn key(id: CommandId) -> u128 {
    id.0.as_u128()
}

/// Writes an entry: an intent, or an outcome without one. `false`, and nothing
/// written, when the ledger is full.
///
/// # Errors
/// [`StoreError`] when the disk fails.
pub fn write(
    txn: &mut Txn<'_>,
    id: CommandId,
    entry: &Entry,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let mut table = txn.tables.open_table(LEDGER)?;
    let entries = table.len()?;
    if entries >= KEEP && entries % PURGE_EVERY == 0 || entries >= MAX_ENTRIES {
        let mut floor = 0;
        table.retain(|_, bytes| {
            let (ended, expires_ms) = match read(bytes) {
                Reading::Whole(entry) => (entry.outcome.is_some(), entry.expires_ms),
                Reading::Later(expires_ms) => (true, expires_ms),
                Reading::Open => return true,
            };
            let keep = !ended || expires_ms > now_ms;
            if !keep {
                floor = floor.max(expires_ms);
            }
            keep
        })?;
        let mut meta = txn.tables.open_table(META)?;
        let before = meta.get(FLOOR)?.map_or(0, |b| number(b.value()));
        if floor > before {
            meta.insert(FLOOR, floor.to_be_bytes().as_slice())?;
        }
    }
    if table.len()? >= MAX_ENTRIES && table.get(key(id))?.is_none() {
        return Ok(false);
    }
    table.insert(key(id), codec::encode(entry)?.as_slice())?;
    Ok(true)
}

/// Writes the outcome of a command that has an intent.
///
/// # Errors
/// [`StoreError`] when the disk fails.
pub fn conclude(txn: &mut Txn<'_>, event: &CommandEvent) -> Result<(), StoreError> {
    let mut table = txn.tables.open_table(LEDGER)?;
    let found = table.get(key(event.command))?.map(|bytes| read(bytes.value()));
    let mut entry = match found {
        Some(Reading::Whole(entry)) => entry,
        Some(Reading::Later(_)) => return Ok(()),
        // Damaged: how long it must be remembered is unknown, so the longest.
        Some(Reading::Open) => Entry {
            expires_ms: event.at_ms.saturating_add(MAX_VALIDITY_MS),
            accepted_ms: event.at_ms,
            outcome: None,
        },
        None => return Err(StoreError::Failed("an outcome has no intent".into())),
    };
    entry.outcome = Some(event.clone());
    table.insert(key(event.command), codec::encode(&entry)?.as_slice())?;
    Ok(())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn find(tables: &ReadTransaction, id: CommandId) -> Result<Option<Seen>, StoreError> {
    let table = tables.open_table(LEDGER)?;
    let found = table.get(key(id))?.map(|bytes| read(bytes.value()));
    Ok(found.map(|reading| match reading {
        Reading::Whole(entry) => Seen { outcome: entry.outcome },
        Reading::Open => Seen { outcome: None },
        Reading::Later(_) => {
            let reason = "What became of it was written down by a later version of the agent, \
                which this one cannot read.";
            Seen { outcome: Some(CommandEvent { reason: Some(reason.into()), ..lost(id) }) }
        }
    }))
}

fn lost(id: CommandId) -> CommandEvent {
    CommandEvent {
        command: id,
        status: Status::Indeterminate,
        at_ms: 0,
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    }
}

/// Commands with an intent and no outcome.
///
/// # Errors
/// [`StoreError`] when the disk fails.
pub fn unfinished(store: &Store) -> Result<Vec<CommandId>, StoreError> {
    store.read(|tables| {
        let mut found = Vec::new();
        for record in tables.open_table(LEDGER)?.iter()? {
            let (id, bytes) = record?;
            // What is damaged counts as unfinished: it must never run again.
            let open = match read(bytes.value()) {
                Reading::Whole(entry) => entry.outcome.is_none(),
                Reading::Later(_) => false,
                Reading::Open => true,
            };
            if open {
                found.push(CommandId(uuid::Uuid::from_u128(id.value())));
            }
        }
        Ok(found)
    })
}

/// Since when the ledger is whole, in memory and on disk.
#[derive(Debug)]
pub struct Birth {
    opened: Instant,
    at_ms: AtomicU64,
    /// What the disk says.
    saved_ms: AtomicU64,
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
            handed: Mutex::default(),
        })
    }

    /// The relay was reached; it has heard of this device before, or never, and it
    /// holds what this disk never wrote, or does not. `now_ms` is the site's time.
    /// Whether the memory turned out to be younger than the device.
    pub fn greet(&self, known: bool, ahead: bool, now_ms: u64) -> bool {
        let at_ms = self.at_ms.load(Ordering::Acquire);
        let begun = now_ms
            .saturating_sub(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut handed = self.lock();
        *handed = HandedSet { younger: handed.younger, ..HandedSet::default() };
        let younger = if at_ms == UNBORN {
            self.at_ms.store(if known { begun } else { 0 }, Ordering::Release);
            known
        } else {
            // Never earlier: what a wrong clock made of it stays on the safe side.
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
            tables.open_table(META)?.insert(BORN, at_ms.to_be_bytes().as_slice())?;
        }
        Ok(at_ms)
    }

    /// The disk says so.
    pub fn saved(&self, at_ms: u64) {
        self.saved_ms.store(at_ms, Ordering::Release);
    }
}

/// Whether a command, of which only the id is known, may have run without being
/// remembered.
#[must_use]
pub fn may_have_run(memory: &impl Memory, id: CommandId) -> bool {
    let made = id.0.get_timestamp().map_or(0, |at| {
        let (s, nanos) = at.to_unix();
        s.saturating_mul(1000) + u64::from(nanos) / 1_000_000
    });
    memory.was_handed(id) || memory.born_ms().is_none_or(|born| born > 0 && made <= born)
}

impl Memory for Store {
    fn later_issue(&self, counter: u64, issued_ms: u64) -> u64 {
        crate::clock::later_issue(counter, issued_ms)
    }

    fn seen(&self, id: CommandId) -> Result<Option<Seen>, StoreError> {
        self.read(|tables| find(tables, id))
    }

    fn floor_ms(&self) -> Result<u64, StoreError> {
        self.read(|tables| {
            Ok(tables.open_table(META)?.get(FLOOR)?.map_or(0, |b| number(b.value())))
        })
    }

    fn born_ms(&self) -> Option<u64> {
        Some(self.birth().at_ms.load(Ordering::Acquire)).filter(|at| *at != UNBORN)
    }

    fn was_handed(&self, id: CommandId) -> bool {
        let handed = self.birth().lock();
        handed.all || handed.started.contains(&id) || (handed.younger && handed.sent.contains(&id))
    }
}
