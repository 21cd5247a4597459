//! The list of files to fetch ahead, durable and bounded.

use super::{
    AHEAD, BY_SHA256, CONTENTS, Content, Index, IndexError,
    database::{opened, sealed},
};
use redb::{Durability, ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

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
    /// Whether that was for want of a permission.
    #[serde(default)]
    pub refused: bool,
}

impl Index {
    /// Makes these the list. What is on it already keeps how far it is, and is due
    /// again; what goes from it is no longer pinned. Returns how many found no place.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn want(&self, files: &[Ahead]) -> Result<usize, IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut table = write.open_table(AHEAD)?;
            let mut left_out = 0;
            let named: HashSet<[u8; 32]> = files.iter().map(|file| file.sha256).collect();
            let mut gone = Vec::new();
            table.retain(|name, _| {
                let stays = <[u8; 32]>::try_from(name).is_ok_and(|name| named.contains(&name));
                if !stays {
                    gone.push(name.to_vec());
                }
                stays
            })?;
            unpin(write, &gone)?;
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
                    file.done |= before.done;
                    if before.url == file.url {
                        file.failures = before.failures;
                        file.failure = before.failure;
                        file.refused = before.refused;
                    }
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

fn unpin(write: &WriteTransaction, gone: &[Vec<u8>]) -> Result<(), IndexError> {
    let by_sha256 = write.open_table(BY_SHA256)?;
    let mut contents = write.open_table(CONTENTS)?;
    for sha256 in gone {
        let Some(hash) = by_sha256.get(sha256.as_slice())?.map(|hash| hash.value().to_vec()) else {
            continue;
        };
        let before = contents.get(hash.as_slice())?;
        let content = before.and_then(|content| opened::<Content>(&hash, content.value()));
        if let Some(mut content) = content {
            content.pinned_ms = 0;
            contents.insert(hash.as_slice(), sealed(&hash, &content)?.as_slice())?;
        }
    }
    Ok(())
}
