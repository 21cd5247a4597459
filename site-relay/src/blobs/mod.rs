//! Content-addressed files: fetched once, from a sister relay or from the cloud,
//! served to the site's devices.
//!
//! A file's name is the BLAKE3 hash of its content. A missing one is fetched
//! over `/unifyit/blob/1` in ranges appended to a partial file, which survives
//! cuts and restarts; only when the whole hashes to its name does it get that
//! name. Devices that ask meanwhile wait for the same fetch. The folder is
//! bounded: files that were not asked for longest go first.
//!
//! What computers are installed from lies apart, in `install`: anybody on the LAN
//! may have it, and nothing comes there that the cloud does not give to anybody.

mod fetch;
mod serve;

#[cfg(test)]
mod tests;

use crate::{
    sisters::{Name, Sisters, Trouble},
    telemetry::Telemetry,
};
use blake3::Hash;
use fetch::Wanted;
use libp2p::PeerId;
use libp2p_stream::Control;
use prometheus::IntCounter;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

pub use serve::{install_router, router};

/// Largest file, in bytes.
const MAX_FILE: u64 = 2 << 30;
/// Ending of a file that is not whole yet.
const PARTIAL: &str = "part";

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Neither here nor at the cloud.
    #[error("there is no such file")]
    Missing,
    /// The cloud is not reached.
    #[error("the file is not at this site and the cloud is not reached: {0}")]
    Away(String),
    /// What came is not what was asked for.
    #[error("the cloud sent other bytes than were asked for; they were thrown away")]
    Damaged,
    /// Too large for this relay.
    #[error("the file is {0} bytes long, more than this relay keeps")]
    TooLarge(u64),
    /// The disk failed.
    #[error("the file cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// The files. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Shared>);

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

struct Shared {
    folder: PathBuf,
    quota: u64,
    cloud: Arc<Mutex<Option<(Control, PeerId)>>>,
    /// Whether these are the files that anybody may have.
    open: bool,
    sisters: OnceLock<Sisters>,
    /// One fetch a file at a time; the entry goes with its last holder.
    fetching: Mutex<HashMap<Hash, Arc<tokio::sync::Mutex<()>>>>,
    fetched: IntCounter,
    served: IntCounter,
}

impl Blobs {
    /// Opens the folder `blobs` in the state folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state: &Path, quota: u64, telemetry: &Telemetry) -> io::Result<Self> {
        let folder = state.join("blobs");
        std::fs::create_dir_all(&folder)?;
        Ok(Self(Arc::new(Shared {
            folder,
            quota,
            cloud: Arc::default(),
            open: false,
            sisters: OnceLock::new(),
            fetching: Mutex::default(),
            fetched: telemetry.counter("blob_fetched_bytes", "Bytes of files from the cloud."),
            served: telemetry.counter("blob_served_bytes", "Bytes of files asked for by devices."),
        })))
    }

    /// The files that anybody may have, by the same way to the cloud.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub fn installers(&self, state: &Path, quota: u64) -> io::Result<Self> {
        let folder = state.join("install");
        std::fs::create_dir_all(&folder)?;
        Ok(Self(Arc::new(Shared {
            folder,
            quota,
            cloud: Arc::clone(&self.0.cloud),
            open: true,
            sisters: OnceLock::new(),
            fetching: Mutex::default(),
            fetched: self.0.fetched.clone(),
            served: self.0.served.clone(),
        })))
    }

    /// Asks these sister relays before the cloud.
    pub(crate) fn attach_sisters(&self, sisters: Sisters) {
        drop(self.0.sisters.set(sisters));
    }

    /// A whole file that is here.
    pub(crate) fn held(&self, hash: &Hash) -> Option<std::fs::File> {
        std::fs::File::open(self.path(hash)).ok()
    }

    /// The file from a sister relay; whether one had it. Bytes of different sources
    /// are never put together, so that a wrong file tells whose it was.
    async fn try_sisters(&self, hash: Hash, path: &Path) -> Result<bool, BlobError> {
        let Some(sisters) = self.0.sisters.get() else { return Ok(false) };
        let partial = path.with_extension("sister");
        let (name, mut tried) = (Name::Blake3(*hash.as_bytes()), Vec::new());
        while let Some((peer, size)) = sisters.holder(name, &tried).await {
            tried.push(peer);
            drop(tokio::fs::remove_file(&partial).await);
            if size > MAX_FILE {
                continue;
            }
            self.make_room(size, &hash);
            let control = sisters.control();
            match fetch::fetch(
                control,
                peer,
                Wanted { hash, open: false },
                &partial,
                sisters.fetched_bytes(),
            )
            .await
            {
                Ok(_) => {
                    tokio::fs::rename(&partial, path).await?;
                    sisters.gave();
                    return Ok(true);
                }
                Err(BlobError::Disk(error)) => return Err(error.into()),
                Err(BlobError::Damaged) => sisters.set_aside(peer, &Trouble::Lied),
                Err(error) => sisters.set_aside(peer, &Trouble::BrokeOff(error.to_string())),
            }
        }
        drop(tokio::fs::remove_file(&partial).await);
        Ok(false)
    }

    /// The way to the cloud, in the place of the one before.
    pub(crate) fn attach(&self, control: Control, cloud: PeerId) {
        *self.0.cloud.lock().unwrap_or_else(PoisonError::into_inner) = Some((control, cloud));
    }

    /// Path of a whole file, fetched if it is not here.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn get(&self, hash: Hash) -> Result<PathBuf, BlobError> {
        let path = self.path(&hash);
        if tokio::fs::try_exists(&path).await? {
            touch(&path);
            return Ok(path);
        }
        let lock = {
            let mut fetching = self.0.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(fetching.entry(hash).or_default())
        };
        let _one = lock.lock().await;
        if !tokio::fs::try_exists(&path).await? && !self.try_sisters(hash, &path).await? {
            let cloud = self.0.cloud.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (control, cloud) =
                cloud.ok_or_else(|| BlobError::Away("not connected yet".into()))?;
            let partial = self.partial(&hash);
            let wanted = Wanted { hash, open: self.0.open };
            let size = fetch::fetch(control, cloud, wanted, &partial, &self.0.fetched);
            let size = size.await?;
            self.make_room(size, &hash);
            tokio::fs::rename(partial, &path).await?;
        }
        Ok(path)
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.0.folder.join(hash.to_hex().as_str())
    }

    fn partial(&self, hash: &Hash) -> PathBuf {
        self.path(hash).with_extension(PARTIAL)
    }

    /// Removes whole files not asked for longest, about so many bytes of them.
    /// Returns how many went.
    pub(crate) fn give_up(&self, bytes: u64) -> u64 {
        let mut freed = 0;
        for (_, size, path) in self.oldest_first() {
            if freed >= bytes {
                break;
            }
            if path.extension().is_none() && std::fs::remove_file(&path).is_ok() {
                freed += size;
            }
        }
        freed
    }

    fn oldest_first(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.0.folder) else { return Vec::new() };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        files
    }

    /// Removes files not asked for longest until `size` more bytes fit.
    fn make_room(&self, size: u64, keep: &Hash) {
        let kept = [self.path(keep), self.partial(keep)];
        let mut files = self.oldest_first();
        files.retain(|(_, _, path)| !kept.contains(path));
        let mut total: u64 = size + files.iter().map(|f| f.1).sum::<u64>();
        for (_, bytes, path) in files {
            if total <= self.0.quota {
                return;
            }
            if std::fs::remove_file(&path).is_ok() {
                total = total.saturating_sub(bytes);
            }
        }
    }
}

/// Notes that a file was asked for.
fn touch(path: &Path) {
    if let Ok(file) = std::fs::File::options().append(true).open(path) {
        // Only the order of eviction depends on it.
        drop(file.set_modified(SystemTime::now()));
    }
}
