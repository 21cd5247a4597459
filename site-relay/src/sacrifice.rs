//! What goes first when the disk is nearly full (G6): what can be fetched again,
//! before anything that cannot. The package cache and fetched files give way to
//! samples and to what waits for the cloud.

use crate::{
    blobs::Blobs,
    cache::Cache,
    store::{StoreError, StoreHandle, StoreOptions},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Freed at least, so that a full disk is not cleared a file at a time.
const AT_LEAST: u64 = 32 * 1024 * 1024;
/// The store's reserve in the state folder.
const RESERVE: &str = "relay.reserve";
/// Files removed at one start at most.
const MAX_FILES: usize = 100_000;

/// What can be given up while the relay runs.
#[derive(Debug, Clone)]
pub(crate) struct Expendable {
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) blobs: Blobs,
}

impl Expendable {
    /// Gives up about so many bytes, those worth least first. Returns how many.
    pub(crate) async fn give_up(&self, bytes: u64) -> u64 {
        let wanted = bytes.max(AT_LEAST);
        let mut freed = match &self.cache {
            Some(cache) => cache.give_up(wanted).await,
            None => 0,
        };
        if freed < wanted {
            let (blobs, rest) = (self.blobs.clone(), wanted - freed);
            freed += tokio::task::spawn_blocking(move || blobs.give_up(rest)).await.unwrap_or(0);
        }
        if freed > 0 {
            tracing::warn!(
                freed,
                "the disk is nearly full: files that can be fetched again were given up"
            );
        }
        freed
    }
}

/// Opens the store, also on a disk that is full: what can be fetched again makes
/// room for it. The cache forgets bodies that are gone when it opens.
///
/// # Errors
/// [`StoreError`] when it cannot be opened all the same.
pub(crate) fn open_store(
    state: &Path,
    cache: &Path,
    options: &StoreOptions,
) -> Result<StoreHandle, StoreError> {
    let open = || StoreHandle::open_with(state, options.clone());
    match open() {
        Err(StoreError::Full) => {
            // The reserve for this day first, then the cache.
            if fs::remove_file(state.join(RESERVE)).is_ok()
                && let Ok(store) = open()
            {
                return Ok(store);
            }
            let freed = remove_oldest(&[cache.join("content"), state.join("blobs")], AT_LEAST);
            tracing::warn!(
                freed,
                "the disk is full: files that can be fetched again were removed to start"
            );
            open()
        }
        opened => opened,
    }
}

/// Removes the files of folders, least recently changed first, until so many bytes
/// are free.
fn remove_oldest(folders: &[PathBuf], bytes: u64) -> u64 {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            // Links are not followed: what they name is not ours.
            let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.is_file() && files.len() < MAX_FILES {
                let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((changed, meta.len(), entry.path()));
            }
        }
    }
    files.sort();
    let mut freed = 0;
    for (_, size, path) in files {
        if freed >= bytes {
            break;
        }
        if fs::remove_file(path).is_ok() {
            freed += size;
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_oldest_files_go_and_no_more_than_needed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("content/ab");
        fs::create_dir_all(&folder).unwrap();
        let at = |s| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(s);
        for (name, age) in [("new", 30), ("old", 10), ("middle", 20)] {
            fs::write(folder.join(name), [0; 100]).unwrap();
            let file = fs::File::options().append(true).open(folder.join(name)).unwrap();
            file.set_modified(at(age)).unwrap();
        }
        assert_eq!(remove_oldest(&[root.path().join("content")], 150), 200);
        assert!(folder.join("new").exists() && !folder.join("old").exists());
        assert_eq!(remove_oldest(&[root.path().join("nothing")], 1), 0);
    }
}
