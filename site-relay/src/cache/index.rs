//! The cache's index: which content a (repository, path) had when last seen,
//! what signed indexes say it must be, and how contents fare.
//!
//! A redb database of its own beside the bodies, so that a full cache disk never
//! touches the relay's durable data. Use counts are gathered in memory and
//! written in one commit now and then; losing them costs nothing but a guess.

use super::{content::Hash, facts::Fact, policy::Resource};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::path::Path;
use thiserror::Error;
use unifyit_protocol::codec;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const CONTENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("contents");
const BY_SHA256: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("by_sha256");
const EXPECTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("expected");
const SAVINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("savings");

/// Page cache of the index database, in bytes.
const DATABASE_CACHE: usize = 4 * 1024 * 1024;

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
}

/// What the cache saved: one repository, one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saving {
    /// Bytes sent to clients.
    pub served: u64,
    /// Bytes fetched from outside.
    pub fetched: u64,
    /// Requests answered from the disk.
    pub hits: u64,
    /// Requests that had to fetch.
    pub misses: u64,
}

/// Why the index failed; all of it is the disk's or the database's doing.
#[derive(Debug, Error)]
#[error("the package cache's index failed: {0}")]
pub struct IndexError(String);

macro_rules! from_redb {
    ($($error:ty),+) => {$(
        impl From<$error> for IndexError {
            fn from(e: $error) -> Self { Self(e.to_string()) }
        }
    )+};
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError,
    unifyit_protocol::ProtocolError
);

/// The index database.
#[derive(Debug)]
pub struct Index {
    database: Database,
}

impl Index {
    /// Opens or makes the index.
    ///
    /// # Errors
    /// When another process has it open or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let database = redb::Builder::new().set_cache_size(DATABASE_CACHE).create(path)?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(CONTENTS)?;
        write.open_table(BY_SHA256)?;
        write.open_table(EXPECTED)?;
        write.open_table(SAVINGS)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// What the path held when last seen.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn entry(&self, resource: &Resource) -> Result<Option<Entry>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(ENTRIES)?;
        let found = table.get(key(resource).as_str())?;
        Ok(found.and_then(|bytes| codec::decode(bytes.value()).ok()))
    }

    /// What a signed index says of the path.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn expected(&self, resource: &Resource) -> Result<Option<Expected>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(EXPECTED)?;
        let found = table.get(key(resource).as_str())?;
        Ok(found.and_then(|bytes| codec::decode(bytes.value()).ok()))
    }

    /// The stored content with a SHA-256, wherever it came from.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn by_sha256(&self, sha256: &[u8; 32]) -> Result<Option<Hash>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(BY_SHA256)?;
        let found = table.get(sha256.as_slice())?;
        Ok(found.and_then(|bytes| bytes.value().try_into().ok()))
    }

    /// How a content fares.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn content(&self, hash: &Hash) -> Result<Option<Content>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(CONTENTS)?;
        let found = table.get(hash.as_slice())?;
        Ok(found.and_then(|bytes| codec::decode(bytes.value()).ok()))
    }

    /// All contents, for eviction and reconciliation.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn contents(&self) -> Result<Vec<(Hash, Content)>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(CONTENTS)?;
        let mut all = Vec::new();
        for row in table.iter()? {
            let (hash, content) = row?;
            if let (Ok(hash), Ok(content)) =
                (hash.value().try_into(), codec::decode::<Content>(content.value()))
            {
                all.push((hash, content));
            }
        }
        Ok(all)
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
        let write = self.database.begin_write()?;
        {
            let hash = entry.content.as_slice();
            write
                .open_table(ENTRIES)?
                .insert(key(resource).as_str(), encoded(entry)?.as_slice())?;
            write.open_table(BY_SHA256)?.insert(content.sha256.as_slice(), hash)?;
            let mut contents = write.open_table(CONTENTS)?;
            let mut content = content.clone();
            if let Some(before) = contents.get(hash)?
                && let Ok(before) = codec::decode::<Content>(before.value())
            {
                content.uses = before.uses;
                content.pinned_ms = content.pinned_ms.max(before.pinned_ms);
            }
            contents.insert(hash, encoded(&content)?.as_slice())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Renews an entry that the upstream confirmed.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn confirm(&self, resource: &Resource, entry: &Entry) -> Result<(), IndexError> {
        let mut write = self.database.begin_write()?;
        // A lost confirmation costs one more question to the upstream.
        write.set_durability(redb::Durability::None)?;
        write.open_table(ENTRIES)?.insert(key(resource).as_str(), encoded(entry)?.as_slice())?;
        write.commit()?;
        Ok(())
    }

    /// Learns what a signed index says. Facts of the same repository and path
    /// replace older ones.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn learn(&self, repository: &str, facts: &[Fact]) -> Result<(), IndexError> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(EXPECTED)?;
            for fact in facts {
                let name = format!("{repository}\n{}", fact.path);
                let expected = Expected { sha256: fact.sha256, size: fact.size };
                table.insert(name.as_str(), encoded(&expected)?.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// The plain name that a signed index gave to a hash, for a path below
    /// `by-hash/` of the same folder.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn name_of(
        &self,
        repository: &str,
        by_hash: &str,
        sha256: &[u8; 32],
    ) -> Result<Option<String>, IndexError> {
        let Some(at) = by_hash.find("by-hash/") else { return Ok(None) };
        let from = format!("{repository}\n{}", &by_hash[..at]);
        let read = self.database.begin_read()?;
        let table = read.open_table(EXPECTED)?;
        for row in table.range(from.as_str()..)? {
            let (name, expected) = row?;
            let Some(rest) = name.value().strip_prefix(&from) else { break };
            let same = codec::decode::<Expected>(expected.value())
                .is_ok_and(|expected| expected.sha256 == *sha256);
            if same && !rest.contains('/') {
                return Ok(name.value().split_once('\n').map(|(_, path)| path.to_owned()));
            }
        }
        Ok(None)
    }

    /// Forgets contents that are gone from the disk. Entries that point to them
    /// stay: they still carry validators, and a missing body is a miss.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn forget(&self, gone: &[Hash]) -> Result<(), IndexError> {
        let write = self.database.begin_write()?;
        {
            let mut contents = write.open_table(CONTENTS)?;
            let mut by_sha256 = write.open_table(BY_SHA256)?;
            for hash in gone {
                let removed = contents.remove(hash.as_slice())?;
                let content = removed.and_then(|c| codec::decode::<Content>(c.value()).ok());
                if let Some(content) = content {
                    by_sha256.remove(content.sha256.as_slice())?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Notes uses and savings gathered since the last time.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn note(
        &self,
        uses: &[(Hash, u32, u64)],
        savings: &[(String, Saving)],
    ) -> Result<(), IndexError> {
        let write = self.database.begin_write()?;
        {
            let mut contents = write.open_table(CONTENTS)?;
            for (hash, times, at_ms) in uses {
                let before = contents.get(hash.as_slice())?;
                let content = before.and_then(|c| codec::decode::<Content>(c.value()).ok());
                if let Some(mut content) = content {
                    content.uses = content.uses.saturating_add(*times);
                    content.used_ms = content.used_ms.max(*at_ms);
                    contents.insert(hash.as_slice(), encoded(&content)?.as_slice())?;
                }
            }
            let mut table = write.open_table(SAVINGS)?;
            for (name, more) in savings {
                let before = table.get(name.as_str())?;
                let mut sum: Saving =
                    before.and_then(|s| codec::decode(s.value()).ok()).unwrap_or_default();
                sum.served += more.served;
                sum.fetched += more.fetched;
                sum.hits += more.hits;
                sum.misses += more.misses;
                table.insert(name.as_str(), encoded(&sum)?.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Pins contents so that eviction leaves them until then.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn pin(&self, hashes: &[Hash], until_ms: u64) -> Result<(), IndexError> {
        let write = self.database.begin_write()?;
        {
            let mut contents = write.open_table(CONTENTS)?;
            for hash in hashes {
                let before = contents.get(hash.as_slice())?;
                let content = before.and_then(|c| codec::decode::<Content>(c.value()).ok());
                if let Some(mut content) = content {
                    content.pinned_ms = content.pinned_ms.max(until_ms);
                    contents.insert(hash.as_slice(), encoded(&content)?.as_slice())?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Savings by day (`2026-11-21`) and repository, oldest first.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn savings(&self) -> Result<Vec<(String, String, Saving)>, IndexError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(SAVINGS)?;
        let mut all = Vec::new();
        for row in table.iter()? {
            let (name, saving) = row?;
            if let (Some((day, repository)), Ok(saving)) =
                (name.value().split_once('\n'), codec::decode(saving.value()))
            {
                all.push((day.to_owned(), repository.to_owned(), saving));
            }
        }
        Ok(all)
    }
}

fn key(resource: &Resource) -> String {
    format!("{}\n{}", resource.repository, resource.path)
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, IndexError> {
    Ok(codec::encode(value)?)
}
