//! What goes first when the disk is nearly full (G6): what can be fetched again,
//! before anything that cannot. The package cache and fetched files give way to
//! samples and to what waits for the cloud, where that makes room on the store's disk.

use crate::{
    blobs::Blobs,
    cache::Cache,
    store::{Quotas, Space, StoreError, StoreHandle, StoreOptions},
};
use nix::sys::statvfs::statvfs;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
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

/// What can be given up for the store while the relay runs.
#[derive(Debug, Clone)]
pub(crate) struct Expendable {
    cache: Option<Arc<Cache>>,
    blobs: Option<Blobs>,
}

impl Expendable {
    /// Of the cache, which stands in that folder, and of fetched files, what lies on
    /// the disk of the state folder.
    pub(crate) fn beside(
        state: &Path,
        (cache, folder): (Option<Arc<Cache>>, &Path),
        blobs: Blobs,
    ) -> Self {
        let cache = cache.filter(|_| share_a_disk(state, folder));
        let blobs = Some(blobs).filter(|_| share_a_disk(state, &state.join("blobs")));
        Self { cache, blobs }
    }

    /// Gives up about so many bytes, those worth least first. Returns how many.
    async fn give_up(&self, bytes: u64) -> u64 {
        let wanted = bytes.max(AT_LEAST);
        let mut freed = match &self.cache {
            Some(cache) => cache.give_up(wanted).await,
            None => 0,
        };
        if freed < wanted
            && let Some(blobs) = self.blobs.clone()
        {
            let rest = wanted - freed;
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

/// Holds the store's quotas, and makes room where its disk is nearly full. As long as
/// there are files that can be fetched again, nothing else goes for want of space.
///
/// # Errors
/// [`StoreError`] when the store's commit failed.
pub(crate) async fn make_room(
    store: &StoreHandle,
    quotas: Quotas,
    expendable: &Expendable,
) -> Result<Space, StoreError> {
    let space = store.space(&quotas);
    let freed = match space.pressure || store.is_full() {
        true => expendable.give_up(quotas.keep_free.saturating_sub(space.free)).await,
        false => 0,
    };
    store.maintain(quotas, freed > 0).await
}

/// Whether what is removed from one folder makes room in the other.
fn share_a_disk(one: &Path, other: &Path) -> bool {
    let device = |path| fs::metadata(path).map(|meta| meta.dev());
    let (Ok(a), Ok(b)) = (device(one), device(other)) else { return false };
    if a == b {
        return true;
    }
    // Subvolumes have devices of their own, and the room of their file system.
    let (Ok(a), Ok(b)) = (statvfs(one), statvfs(other)) else { return false };
    let room = |s: &nix::sys::statvfs::Statvfs| (s.blocks(), s.fragment_size(), s.blocks_free());
    a.blocks() > 0 && room(&a) == room(&b)
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
            let freed = remove_oldest(&beside(state, cache), AT_LEAST);
            tracing::warn!(
                freed,
                "the disk is full: files that can be fetched again were removed to start"
            );
            open()
        }
        opened => opened,
    }
}

/// Folders with files that can be fetched again, on the disk of the state folder.
fn beside(state: &Path, cache: &Path) -> Vec<PathBuf> {
    let mut folders = vec![cache.join("content"), state.join("blobs")];
    folders.retain(|folder| share_a_disk(state, folder));
    folders
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

    #[test]
    fn files_on_another_disk_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["blobs", "cache/content"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let (state, cache) = (root.path(), root.path().join("cache"));
        assert_eq!(beside(state, &cache), [cache.join("content"), state.join("blobs")]);
        // The system's own file systems are other disks.
        assert!(!share_a_disk(state, Path::new("/proc")));
        fs::remove_dir(cache.join("content")).unwrap();
        std::os::unix::fs::symlink("/proc", cache.join("content")).unwrap();
        assert_eq!(beside(state, &cache), [state.join("blobs")]);
        let blobs = Blobs::open(state, 1, &crate::telemetry::Telemetry::new()).unwrap();
        let here = Expendable::beside(state, (None, &cache), blobs.clone());
        let apart = Expendable::beside(Path::new("/proc/self"), (None, &cache), blobs);
        assert!(here.blobs.is_some() && apart.blobs.is_none());
    }
}
