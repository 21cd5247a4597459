//! The ledger: every command that passed the guard, with its intent and its
//! outcome, on disk (G3). It is also the guard's memory of commands seen.
//!
//! Bounded: beyond [`KEEP`] entries, expired ones with an outcome are forgotten,
//! and the highest expiry among them becomes the *floor*, below which the guard
//! lets nothing pass. So forgetting never lets a command run twice. Expired is what
//! both the site's time and the computer's own clock say is over, so that a site
//! that is years ahead forgets nothing.
//!
//! The file itself can be lost or set back. The ledger therefore has a *birth*, by
//! the site's time: what was signed before it and is not in it may have run. A
//! ledger that was always there is born at 0; a new file has no birth until the
//! relay says whether it ever heard of this device ([`Birth`]).
//!
//! Neither floor nor birth ever goes down, for nobody signs what time it is. One that
//! was written by a clock that was years ahead still refuses nothing that is new: what
//! the authority counts later than all that was forgotten, or later than a command
//! that it signed after the birth, is neither.
//!
//! With each entry the newest command of the authority is written down, by its
//! count, so that what a courier held back is judged by it in the next run too.
//!
//! Entries of a later version of the agent are left as they are; ones that are
//! damaged are concluded as indeterminate. Neither stops the agent.

mod birth;

pub use birth::{Birth, Times};

use crate::{
    clock,
    guard::{Floor, Memory, Seen},
    store::{LEDGER, META, Store, StoreError, Txn},
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use unifyit_protocol::{
    codec,
    command::MAX_VALIDITY_MS,
    ids::CommandId,
    outcome::{CommandEvent, Status},
};

/// Entries that are kept without a look at their expiry.
const KEEP: u64 = if cfg!(test) { 128 } else { 4096 };
/// Entries beyond which nothing is accepted.
pub const MAX_ENTRIES: u64 = if cfg!(test) { 512 } else { 65_536 };
/// How often, in new entries, expired ones are looked for.
const PURGE_EVERY: u64 = if cfg!(test) { 64 } else { 256 };
const FLOOR: &str = "ledger floor";
const FLOOR_COUNT: &str = "ledger floor count";
const NEWEST: &str = "newest command";

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
    let (counter, issued_ms) = clock::newest();
    let mut newest = [0; 16];
    newest[..8].copy_from_slice(&counter.to_be_bytes());
    newest[8..].copy_from_slice(&issued_ms.to_be_bytes());
    txn.tables.open_table(META)?.insert(NEWEST, newest.as_slice())?;
    let mut table = txn.tables.open_table(LEDGER)?;
    let entries = table.len()?;
    // An own clock that never gets there must not fill the ledger.
    let now_ms = if entries < MAX_ENTRIES / 2 { now_ms.min(clock::local_ms()) } else { now_ms };
    if entries >= KEEP && entries % PURGE_EVERY == 0 || entries >= MAX_ENTRIES {
        let (mut floor, mut forgot) = (0, false);
        table.retain(|_, bytes| {
            let (ended, expires_ms) = match read(bytes) {
                Reading::Whole(entry) => (entry.outcome.is_some(), entry.expires_ms),
                Reading::Later(expires_ms) => (true, expires_ms),
                Reading::Open => return true,
            };
            let keep = !ended || expires_ms > now_ms;
            if !keep {
                (floor, forgot) = (floor.max(expires_ms), true);
            }
            keep
        })?;
        let mut meta = txn.tables.open_table(META)?;
        let before = meta.get(FLOOR)?.map_or(0, |b| number(b.value()));
        if floor > before {
            meta.insert(FLOOR, floor.to_be_bytes().as_slice())?;
        }
        if forgot {
            meta.insert(FLOOR_COUNT, counter.to_be_bytes().as_slice())?;
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

/// The newest command of the authority of the runs before: its count, and when it
/// was signed.
///
/// # Errors
/// [`StoreError`] when the disk fails.
pub fn newest(store: &Store) -> Result<(u64, u64), StoreError> {
    store.read(|tables| {
        let table = tables.open_table(META)?;
        let found = table.get(NEWEST)?.map(|bytes| {
            let (counter, issued) = bytes.value().split_at_checked(8).unwrap_or_default();
            (number(counter), number(issued))
        });
        Ok(found.unwrap_or_default())
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Whether what was written down of a command is there and cannot be read.
#[must_use]
pub fn is_damaged(store: &Store, id: CommandId) -> bool {
    let damaged = store.read(|tables| {
        let found = tables.open_table(LEDGER)?.get(key(id))?;
        Ok(found.is_some_and(|bytes| matches!(read(bytes.value()), Reading::Open)))
    });
    damaged.unwrap_or(false)
}

fn find(tables: &ReadTransaction, id: CommandId) -> Result<Option<Seen>, StoreError> {
    let table = tables.open_table(LEDGER)?;
    let found = table.get(key(id))?.map(|bytes| read(bytes.value()));
    Ok(found.map(|reading| {
        let reason = match reading {
            Reading::Whole(entry) => return Seen { outcome: entry.outcome },
            Reading::Open => "What was written down of it on this computer is damaged.",
            Reading::Later(_) => {
                "What became of it was written down by a later version of the agent, which this \
                 one cannot read."
            }
        };
        Seen { outcome: Some(CommandEvent { reason: Some(reason.into()), ..lost(id) }) }
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

/// Whether a command, of which only the id is known, may have run without being
/// remembered.
#[must_use]
pub fn may_have_run(memory: &impl Memory, id: CommandId) -> bool {
    let made = id.0.get_timestamp().map_or(0, |at| {
        let (s, nanos) = at.to_unix();
        s.saturating_mul(1000) + u64::from(nanos) / 1_000_000
    });
    memory.was_handed(id, made) || memory.born_ms().is_none_or(|born| born > 0 && made <= born)
}

impl Memory for Store {
    fn later_issue(&self, counter: u64, issued_ms: u64) -> u64 {
        crate::clock::later_issue(counter, issued_ms)
    }

    fn seen(&self, id: CommandId) -> Result<Option<Seen>, StoreError> {
        self.read(|tables| find(tables, id))
    }

    fn floor(&self) -> Result<Floor, StoreError> {
        self.read(|tables| {
            let meta = tables.open_table(META)?;
            let expiry_ms = meta.get(FLOOR)?.map_or(0, |b| number(b.value()));
            // One of an earlier version has no count, and then all may be below it.
            let counter = meta.get(FLOOR_COUNT)?.map_or(u64::MAX, |b| number(b.value()));
            Ok(Floor { expiry_ms, counter })
        })
    }

    fn is_counted_since(&self, counter: u64, issued_ms: u64) -> bool {
        self.birth().is_counted_since(counter, issued_ms, clock::latest_ms())
    }

    fn born_ms(&self) -> Option<u64> {
        self.birth().at_ms()
    }

    fn was_handed(&self, id: CommandId, issued_ms: u64) -> bool {
        self.birth().was_handed(id, issued_ms, clock::now_ms())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::link::spool::Quotas;

    const HOUR: u64 = 3_600_000;
    const YEARS: u64 = 10 * 365 * 24 * HOUR;

    fn ended(expires_ms: u64) -> Entry {
        Entry { expires_ms, accepted_ms: 1, outcome: Some(lost(CommandId::generate())) }
    }

    #[tokio::test]
    async fn a_site_that_is_years_ahead_makes_the_ledger_forget_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let now = clock::local_ms();
        let store = Store::open(folder.path(), Quotas::share(1 << 20), now).unwrap();
        let fill = store.write(move |txn| {
            for _ in 0..KEEP {
                write(txn, CommandId::generate(), &ended(now + HOUR), now)?;
            }
            write(txn, CommandId::generate(), &ended(now + YEARS), now + YEARS)
        });
        assert!(fill.await.unwrap());
        let floor = store.floor().unwrap().expiry_ms;
        assert_eq!(floor, 0, "nothing would pass for an hour, or for years");
    }

    #[tokio::test]
    async fn what_was_forgotten_is_bounded_by_its_expiry_and_by_the_authoritys_count() {
        let folder = tempfile::tempdir().unwrap();
        let now = clock::local_ms();
        let store = Store::open(folder.path(), Quotas::share(1 << 20), now).unwrap();
        assert_eq!(store.floor().unwrap().expiry_ms, 0);
        clock::later_issue(1_000, now);
        for hours in [1, 2, 2] {
            let fill = store.write(move |txn| {
                for _ in 0..=KEEP {
                    write(txn, CommandId::generate(), &ended(now - hours * HOUR), now)?;
                }
                Ok(())
            });
            fill.await.unwrap();
            let floor = store.floor().unwrap();
            assert_eq!(floor.expiry_ms, now - HOUR, "what went later expired earlier");
        }
        let floor = store.floor().unwrap();
        assert!(floor.counter >= 1_000 && floor.counter < u64::MAX, "{floor:?}");
    }

    #[tokio::test]
    async fn the_newest_command_is_known_to_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let now = clock::local_ms();
        let store = Store::open(folder.path(), Quotas::share(1 << 20), now).unwrap();
        assert_eq!(newest(&store).unwrap(), (0, 0));
        assert_eq!(clock::later_issue(7, now), 0);
        let one = store.write(move |txn| write(txn, CommandId::generate(), &ended(now), now));
        assert!(one.await.unwrap());
        assert_eq!(newest(&store).unwrap(), clock::newest());
        assert!(newest(&store).unwrap() >= (7, now));
    }
}
