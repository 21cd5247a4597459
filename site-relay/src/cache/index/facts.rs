//! What signed indexes say, kept by name and bounded in number.
//!
//! Each row knows which index told it and when, so that at the bound those go
//! first that their index does not name any more, then those of the indexes that
//! nobody has asked for the longest. A name whose row is gone is served as one
//! that no index names, until its index is read again.

use super::{
    EXPECTED, Expected, Index, IndexError, Resource, TAUGHT,
    database::{opened, sealed},
};
use crate::cache::{facts::Fact, naming};
use redb::{Durability, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The name, in place of an index's path, of the list of files to fetch ahead.
pub(in crate::cache) const AHEAD_LIST: &str = "#ahead";

/// An index that told facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Taught {
    /// Its mark in the rows that it told.
    by: u64,
    /// How many files it names.
    facts: u64,
    /// When it was read, Unix milliseconds; older rows of it are of an older version.
    at_ms: u64,
    /// When it was last asked for, Unix milliseconds.
    used_ms: u64,
}

/// Who tells facts: an index of one place, by its path there.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Teacher<'a> {
    /// The repository's place.
    pub place: &'a str,
    /// The index's name there.
    pub path: &'a str,
    /// When it was read, Unix milliseconds.
    pub at_ms: u64,
}

impl Teacher<'_> {
    fn key(&self) -> String {
        format!("{}\n{}", self.place, self.path)
    }

    fn mark(&self) -> u64 {
        mark(&self.key())
    }
}

fn mark(key: &str) -> u64 {
    let hash = blake3::hash(key.as_bytes());
    let first = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

fn fact_key(place: &str, path: &str) -> String {
    format!("{place}\n{}", naming::of_fact(path))
}

impl Index {
    /// What a signed index says of the path, under whatever spelling.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn expected(&self, resource: &Resource) -> Result<Option<Expected>, IndexError> {
        let key = fact_key(&resource.place, &resource.path);
        self.database.read(|read| {
            let found = read.open_table(EXPECTED)?.get(key.as_str())?;
            Ok(found.and_then(|bytes| opened(key.as_bytes(), bytes.value())))
        })
    }

    /// Learns some of what a signed index says. Facts of the same place and path
    /// replace older ones. [`Index::taught`] ends it and makes it durable.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub(in crate::cache) fn learn(
        &self,
        teacher: Teacher<'_>,
        facts: &[Fact],
    ) -> Result<(), IndexError> {
        let by = teacher.mark();
        self.database.write(Durability::None, |write| {
            let mut table = write.open_table(EXPECTED)?;
            for fact in facts {
                let name = fact_key(teacher.place, &fact.path);
                let Fact { sha256, size, .. } = *fact;
                let expected = Expected { sha256, size, by, at_ms: teacher.at_ms };
                table.insert(name.as_str(), sealed(name.as_bytes(), &expected)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// Ends the learning of one index, which named so many files. Returns how many
    /// rows there are by now.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub(in crate::cache) fn taught(
        &self,
        teacher: Teacher<'_>,
        facts: u64,
    ) -> Result<u64, IndexError> {
        let key = teacher.key();
        // What is fetched ahead comes one by one and is never of an older version.
        let at_ms = if teacher.path == AHEAD_LIST { 0 } else { teacher.at_ms };
        let row = Taught { by: teacher.mark(), facts, at_ms, used_ms: teacher.at_ms };
        self.database.write(Durability::Immediate, |write| {
            let mut table = write.open_table(TAUGHT)?;
            table.insert(key.as_str(), sealed(key.as_bytes(), &row)?.as_slice())?;
            Ok(write.open_table(EXPECTED)?.len()?)
        })
    }

    /// Notes that an index is still in use.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub(in crate::cache) fn still_taught(&self, teacher: Teacher<'_>) -> Result<(), IndexError> {
        let key = teacher.key();
        self.database.write(Durability::None, |write| {
            let mut table = write.open_table(TAUGHT)?;
            let row = table.get(key.as_str())?.and_then(|row| opened(key.as_bytes(), row.value()));
            if let Some(mut row) = row {
                let Taught { used_ms, .. } = &mut row;
                *used_ms = (*used_ms).max(teacher.at_ms);
                table.insert(key.as_str(), sealed(key.as_bytes(), &row)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// How many names facts are known of.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn facts(&self) -> Result<u64, IndexError> {
        self.database.read(|read| Ok(read.open_table(EXPECTED)?.len()?))
    }

    /// The path of the index that told a fact.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub(in crate::cache) fn teacher(
        &self,
        place: &str,
        expected: &Expected,
    ) -> Result<Option<String>, IndexError> {
        let from = format!("{place}\n");
        self.database.read(|read| {
            for row in read.open_table(TAUGHT)?.range(from.as_str()..)? {
                let (key, _) = row?;
                let Some(path) = key.value().strip_prefix(&from) else { break };
                if mark(key.value()) == expected.by && path != AHEAD_LIST {
                    return Ok(Some(path.to_owned()));
                }
            }
            Ok(None)
        })
    }

    /// Forgets facts until at most nine tenths of `most` are left. Returns how
    /// many went.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub(in crate::cache) fn forget_facts(&self, most: u64) -> Result<u64, IndexError> {
        let target = most / 10 * 9;
        self.database.write(Durability::Immediate, |write| {
            let mut rows = write.open_table(EXPECTED)?;
            let mut taught = write.open_table(TAUGHT)?;
            let before = rows.len()?;
            let mut all: HashMap<u64, (String, Taught)> = HashMap::new();
            for row in taught.iter()? {
                let (key, value) = row?;
                let key = key.value().to_owned();
                if let Some(row) = opened::<Taught>(key.as_bytes(), value.value()) {
                    all.insert(row.by, (key, row));
                }
            }
            let current = |key: &str, value: &[u8], gone: &HashSet<u64>| {
                opened::<Expected>(key.as_bytes(), value).is_some_and(|row| {
                    let teacher = all.get(&row.by).filter(|_| !gone.contains(&row.by));
                    teacher.is_some_and(|(_, teacher)| row.at_ms >= teacher.at_ms)
                })
            };
            let mut gone = HashSet::new();
            rows.retain(|key, value| current(key, value, &gone))?;
            let mut order: Vec<_> = all.values().map(|(_, row)| *row).collect();
            order.sort_by_key(|row| row.used_ms);
            let mut left = rows.len()?;
            for row in order {
                if left <= target {
                    break;
                }
                gone.insert(row.by);
                left = left.saturating_sub(row.facts);
            }
            if !gone.is_empty() {
                rows.retain(|key, value| current(key, value, &gone))?;
                for (key, _) in gone.iter().filter_map(|by| all.get(by)) {
                    taught.remove(key.as_str())?;
                }
            }
            Ok(before.saturating_sub(rows.len()?))
        })
    }

    /// The plain name that a signed index gave to a hash, for a path below
    /// `by-hash/` of the same folder.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn name_of(
        &self,
        place: &str,
        by_hash: &str,
        sha256: &[u8; 32],
    ) -> Result<Option<String>, IndexError> {
        let by_hash = naming::of_fact(by_hash);
        let Some(at) = by_hash.find("by-hash/") else { return Ok(None) };
        let from = format!("{place}\n{}", &by_hash[..at]);
        self.database.read(|read| {
            for row in read.open_table(EXPECTED)?.range(from.as_str()..)? {
                let (name, expected) = row?;
                let name = name.value();
                let Some(rest) = name.strip_prefix(&from) else { break };
                let same = opened::<Expected>(name.as_bytes(), expected.value())
                    .is_some_and(|expected| expected.sha256 == *sha256);
                if same && !rest.contains('/') {
                    return Ok(name.split_once('\n').map(|(_, path)| path.to_owned()));
                }
            }
            Ok(None)
        })
    }
}
