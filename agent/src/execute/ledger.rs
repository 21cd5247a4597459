//! The ledger: every command that passed the guard, with its intent and its
//! outcome, on disk (G3). It is also the guard's memory of commands seen.
//!
//! Bounded: beyond [`KEEP`] entries, expired ones with an outcome are forgotten,
//! and the highest expiry among them becomes the *floor*, below which the guard
//! lets nothing pass. So forgetting never lets a command run twice.

use crate::{
    guard::{Memory, Seen},
    store::{LEDGER, META, Store, StoreError, Txn},
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{codec, ids::CommandId, outcome::CommandEvent};

/// Entries that are kept without a look at their expiry.
const KEEP: u64 = 4096;
/// Entries beyond which nothing is accepted.
pub const MAX_ENTRIES: u64 = 65_536;
/// How often, in new entries, expired ones are looked for.
const PURGE_EVERY: u64 = 256;
const FLOOR: &str = "ledger floor";

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
            let Ok(entry) = codec::decode::<Entry>(bytes) else { return true };
            let keep = entry.outcome.is_none() || entry.expires_ms > now_ms;
            if !keep {
                floor = floor.max(entry.expires_ms);
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
    let found = table.get(key(event.command))?.map(|b| codec::decode::<Entry>(b.value()));
    let mut entry = match found {
        Some(entry) => entry?,
        None => return Err(StoreError::Failed("an outcome has no intent".into())),
    };
    entry.outcome = Some(event.clone());
    table.insert(key(event.command), codec::encode(&entry)?.as_slice())?;
    Ok(())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn find(tables: &ReadTransaction, id: CommandId) -> Result<Option<Entry>, StoreError> {
    let table = tables.open_table(LEDGER)?;
    let found = table.get(key(id))?;
    Ok(found.map(|bytes| codec::decode(bytes.value())).transpose()?)
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
            // What cannot be read counts as unfinished: it must never run again.
            if !codec::decode::<Entry>(bytes.value()).is_ok_and(|e| e.outcome.is_some()) {
                found.push(CommandId(uuid::Uuid::from_u128(id.value())));
            }
        }
        Ok(found)
    })
}

impl Memory for Store {
    fn later_issue(&self, counter: u64, issued_ms: u64) -> u64 {
        crate::clock::later_issue(counter, issued_ms)
    }

    fn seen(&self, id: CommandId) -> Result<Option<Seen>, StoreError> {
        self.read(|tables| Ok(find(tables, id)?.map(|entry| Seen { outcome: entry.outcome })))
    }

    fn floor_ms(&self) -> Result<u64, StoreError> {
        self.read(|tables| {
            Ok(tables.open_table(META)?.get(FLOOR)?.map_or(0, |b| number(b.value())))
        })
    }
}
