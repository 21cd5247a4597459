//! The cache's index: which content a (repository, path) had when last seen,
//! what signed indexes say it must be, and how contents fare.
//!
//! A redb database of its own beside the bodies, so that a full cache disk never
//! touches the relay's durable data; [`database`] keeps it usable. Use counts are
//! gathered in memory and written in one commit now and then; losing them costs
//! nothing but a guess. [`account`] holds what was saved, [`list`] what is to be
//! fetched ahead.

mod account;
mod database;
mod facts;
mod list;

#[cfg(test)]
mod tests;

pub use account::Saving;
pub(in crate::cache) use account::name_of;
pub(in crate::cache) use facts::{AHEAD_LIST, Teacher};
pub use list::{Ahead, MAX_AHEAD};

use super::{content::Hash, policy::Resource};
use database::{Guarded, opened, sealed};
use redb::{
    Durability, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::{io::ErrorKind, path::Path};
use thiserror::Error;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const CONTENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("contents");
const BY_SHA256: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("by_sha256");
const EXPECTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("expected");
const TAUGHT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("taught");
const SAVINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("savings");
const AHEAD: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ahead");

fn make(write: &WriteTransaction) -> Result<(), IndexError> {
    write.open_table(ENTRIES)?;
    write.open_table(CONTENTS)?;
    write.open_table(BY_SHA256)?;
    write.open_table(EXPECTED)?;
    write.open_table(TAUGHT)?;
    write.open_table(SAVINGS)?;
    write.open_table(AHEAD)?;
    Ok(())
}

fn look(read: &ReadTransaction) -> Result<(), IndexError> {
    read.open_table(ENTRIES)?.first()?;
    read.open_table(CONTENTS)?.first()?;
    read.open_table(BY_SHA256)?.first()?;
    read.open_table(EXPECTED)?.first()?;
    read.open_table(TAUGHT)?.first()?;
    read.open_table(SAVINGS)?.first()?;
    read.open_table(AHEAD)?.first()?;
    Ok(())
}

/// What a path held when last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The content.
    #[serde(with = "serde_bytes")]
    pub content: Hash,
    /// Its length in bytes.
    pub size: u64,
    /// The upstream's strong validator.
    pub etag: Option<String>,
    /// The upstream's `Last-Modified`, as it wrote it.
    pub last_modified: Option<String>,
    /// The upstream's `Content-Type`.
    pub content_type: Option<String>,
    /// When the upstream last confirmed it, Unix milliseconds.
    pub checked_ms: u64,
    /// How long the upstream says that it stays fresh, seconds.
    pub fresh_s: u32,
    /// When the bytes came from the upstream, Unix milliseconds.
    #[serde(default)]
    pub fetched_ms: u64,
    /// Whether the content was held against the hash that its name holds.
    #[serde(default)]
    pub as_named: bool,
}

/// How a content fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, by which signed indexes know it.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// Last use, Unix milliseconds.
    pub used_ms: u64,
    /// Times served.
    pub uses: u32,
    /// What fetching it took, milliseconds: dear content is kept longer.
    pub cost_ms: u32,
    /// Not evicted before, Unix milliseconds: a pending job needs it.
    #[serde(default)]
    pub pinned_ms: u64,
}

/// What a signed index says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// SHA-256 of the content.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// Length in bytes.
    pub size: Option<u64>,
    /// Which index said so.
    #[serde(default)]
    pub by: u64,
    /// When that index was read, Unix milliseconds.
    #[serde(default)]
    pub at_ms: u64,
}

impl Expected {
    /// A hash that something else than an index names.
    #[must_use]
    pub fn of(sha256: [u8; 32], size: Option<u64>) -> Self {
        Self { sha256, size, by: 0, at_ms: 0 }
    }
}

/// Why the index failed; all of it is the disk's or the database's doing.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The disk refused; what is stored may be right.
    #[error("the package cache's index cannot be used: {0}")]
    Disk(String),
    /// What is stored is not what was written.
    #[error("the package cache's index is damaged: {0}")]
    Damaged(String),
}

impl IndexError {
    fn of(error: redb::Error) -> Self {
        use redb::Error as E;
        let why = error.to_string();
        let damaged = match &error {
            E::Io(e) => matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
            E::PreviousIo
            | E::DatabaseAlreadyOpen
            | E::DatabaseClosed
            | E::ValueTooLarge(_)
            | E::TransactionInProgress => false,
            _ => true,
        };
        if damaged { Self::Damaged(why) } else { Self::Disk(why) }
    }
}

macro_rules! from_redb {
    ($($error:ty),+) => {$(
        impl From<$error> for IndexError {
            fn from(e: $error) -> Self { Self::of(e.into()) }
        }
    )+};
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// The index database.
#[derive(Debug)]
pub struct Index {
    database: Guarded,
}

impl Index {
    /// Opens or makes the index; a damaged one is replaced by an empty one.
    ///
    /// # Errors
    /// When another process has it open or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Ok(Self { database: Guarded::open(path)? })
    }

    /// Whether the rows were lost since the last time this was asked: bodies on
    /// disk must then be brought into agreement.
    pub(super) fn take_lost(&self) -> bool {
        self.database.take_lost()
    }

    /// What the path held when last seen.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn entry(&self, resource: &Resource) -> Result<Option<Entry>, IndexError> {
        let key = key(resource);
        self.database.read(|read| {
            let found = read.open_table(ENTRIES)?.get(key.as_str())?;
            Ok(found.and_then(|bytes| opened(key.as_bytes(), bytes.value())))
        })
    }

    /// The stored content with a SHA-256, wherever it came from.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn by_sha256(&self, sha256: &[u8; 32]) -> Result<Option<Hash>, IndexError> {
        self.database.read(|read| {
            let found = read.open_table(BY_SHA256)?.get(sha256.as_slice())?;
            Ok(found.and_then(|bytes| bytes.value().try_into().ok()))
        })
    }

    /// How a content fares.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn content(&self, hash: &Hash) -> Result<Option<Content>, IndexError> {
        self.database.read(|read| {
            let found = read.open_table(CONTENTS)?.get(hash.as_slice())?;
            Ok(found.and_then(|bytes| opened(hash, bytes.value())))
        })
    }

    /// All contents, for eviction and reconciliation.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn contents(&self) -> Result<Vec<(Hash, Content)>, IndexError> {
        self.database.read(|read| {
            let mut all = Vec::new();
            for row in read.open_table(CONTENTS)?.iter()? {
                let (hash, content) = row?;
                let content = opened(hash.value(), content.value());
                if let (Ok(hash), Some(content)) = (hash.value().try_into(), content) {
                    all.push((hash, content));
                }
            }
            Ok(all)
        })
    }

    /// Notes that `resource` holds a content that has just been kept.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn keep(
        &self,
        resource: &Resource,
        entry: &Entry,
        content: &Content,
    ) -> Result<(), IndexError> {
        let key = key(resource);
        self.database.write(Durability::Immediate, |write| {
            let hash = entry.content.as_slice();
            let row = sealed(key.as_bytes(), entry)?;
            write.open_table(ENTRIES)?.insert(key.as_str(), row.as_slice())?;
            write.open_table(BY_SHA256)?.insert(content.sha256.as_slice(), hash)?;
            let mut contents = write.open_table(CONTENTS)?;
            let mut content = content.clone();
            let before = contents.get(hash)?.and_then(|b| opened::<Content>(hash, b.value()));
            if let Some(before) = before {
                content.uses = before.uses;
                content.pinned_ms = content.pinned_ms.max(before.pinned_ms);
            }
            contents.insert(hash, sealed(hash, &content)?.as_slice())?;
            Ok(())
        })
    }

    /// Renews an entry that the upstream confirmed.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn confirm(&self, resource: &Resource, entry: &Entry) -> Result<(), IndexError> {
        let key = key(resource);
        // A lost confirmation costs one more question to the upstream.
        self.database.write(Durability::None, |write| {
            let row = sealed(key.as_bytes(), entry)?;
            write.open_table(ENTRIES)?.insert(key.as_str(), row.as_slice())?;
            Ok(())
        })
    }

    /// Forgets contents that are gone from the disk. Entries that point to them
    /// stay: they still carry validators, and a missing body is a miss.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn forget(&self, gone: &[Hash]) -> Result<(), IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut contents = write.open_table(CONTENTS)?;
            let mut by_sha256 = write.open_table(BY_SHA256)?;
            for hash in gone {
                let removed = contents.remove(hash.as_slice())?;
                if let Some(content) = removed.and_then(|c| opened::<Content>(hash, c.value())) {
                    by_sha256.remove(content.sha256.as_slice())?;
                }
            }
            Ok(())
        })
    }

    /// How many names have an entry.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn entries(&self) -> Result<u64, IndexError> {
        self.database.read(|read| Ok(read.open_table(ENTRIES)?.len()?))
    }

    /// Drops entries whose content is gone, and, where more than nine tenths of
    /// `most` are left, those that were confirmed the longest ago. Returns how many
    /// went.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn forget_entries(&self, most: u64) -> Result<u64, IndexError> {
        let target = usize::try_from(most / 10 * 9).unwrap_or(usize::MAX);
        self.database.write(Durability::Immediate, |write| {
            let contents = write.open_table(CONTENTS)?;
            let mut entries = write.open_table(ENTRIES)?;
            let before = entries.len()?;
            let mut checked = Vec::new();
            entries.retain(|key, value| {
                let entry = opened::<Entry>(key.as_bytes(), value);
                let here =
                    entry.filter(|e| matches!(contents.get(e.content.as_slice()), Ok(Some(_))));
                checked.extend(here.as_ref().map(|entry| entry.checked_ms));
                here.is_some()
            })?;
            checked.sort_unstable();
            let oldest = checked.len().checked_sub(target).and_then(|over| checked.get(over));
            if let Some(oldest) = oldest.copied().filter(|_| checked.len() > target) {
                entries.retain(|key, value| {
                    opened::<Entry>(key.as_bytes(), value).is_some_and(|e| e.checked_ms >= oldest)
                })?;
            }
            Ok(before.saturating_sub(entries.len()?))
        })
    }

    /// Pins contents so that eviction leaves them until then.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn pin(&self, hashes: &[Hash], until_ms: u64) -> Result<(), IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut contents = write.open_table(CONTENTS)?;
            for hash in hashes {
                let before = contents.get(hash.as_slice())?;
                let content = before.and_then(|c| opened::<Content>(hash, c.value()));
                if let Some(mut content) = content {
                    content.pinned_ms = content.pinned_ms.max(until_ms);
                    contents.insert(hash.as_slice(), sealed(hash, &content)?.as_slice())?;
                }
            }
            Ok(())
        })
    }
}

fn key(resource: &Resource) -> String {
    format!("{}\n{}", resource.place, resource.path)
}
