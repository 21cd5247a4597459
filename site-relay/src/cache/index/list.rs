//! The list of files to fetch ahead, durable and bounded.

use super::{
    AHEAD, Index, IndexError,
    database::{opened, sealed},
};
use redb::{Durability, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

/// Most files on the list.
pub const MAX_AHEAD: u64 = 4096;

/// One file to have ready, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Its address, as a client would ask the cache.
    pub url: String,
    /// SHA-256 of its content.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// Wanted, and pinned, until then, Unix milliseconds.
    pub until_ms: u64,
    /// Smaller comes first.
    pub place: u64,
    /// Whether it is here.
    pub done: bool,
    /// Times that it could not be had.
    pub failures: u32,
    /// When, the last time, Unix milliseconds.
    #[serde(default)]
    pub tried_ms: u64,
    /// Why, the last time.
    pub failure: String,
}

impl Index {
    /// Puts files on the list, or renews them. Returns how many found no place.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn want(&self, files: &[Ahead]) -> Result<usize, IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut table = write.open_table(AHEAD)?;
            let mut left_out = 0;
            for file in files {
                let before = table
                    .get(file.sha256.as_slice())?
                    .map(|row| opened::<Ahead>(&file.sha256, row.value()));
                if before.is_none() && table.len()? >= MAX_AHEAD {
                    left_out += 1;
                    continue;
                }
                let mut file = file.clone();
                if let Some(before) = before.flatten() {
                    file.until_ms = file.until_ms.max(before.until_ms);
                    file.done |= before.done;
                }
                table.insert(file.sha256.as_slice(), sealed(&file.sha256, &file)?.as_slice())?;
            }
            Ok(left_out)
        })
    }

    /// Notes how one file of the list fares; one that is not on it stays away.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn fared(&self, file: &Ahead) -> Result<(), IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut table = write.open_table(AHEAD)?;
            if table.get(file.sha256.as_slice())?.is_some() {
                table.insert(file.sha256.as_slice(), sealed(&file.sha256, file)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// The list, first things first, without what has expired by `now_ms`,
    /// which is dropped.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn ahead(&self, now_ms: u64) -> Result<Vec<Ahead>, IndexError> {
        let mut list = Vec::new();
        let mut over = Vec::new();
        self.database.read(|read| {
            for row in read.open_table(AHEAD)?.iter()? {
                let (name, value) = row?;
                match opened::<Ahead>(name.value(), value.value()) {
                    Some(file) if file.until_ms > now_ms => list.push(file),
                    _ => over.push(name.value().to_vec()),
                }
            }
            Ok(())
        })?;
        if !over.is_empty() {
            self.database.write(Durability::Immediate, |write| {
                let mut table = write.open_table(AHEAD)?;
                for name in over {
                    table.remove(name.as_slice())?;
                }
                Ok(())
            })?;
        }
        list.sort_by_key(|file: &Ahead| (file.failures, file.place));
        Ok(list)
    }
}
