//! The database below the index, kept usable through what disks do.
//!
//! After a failed write (a full disk) redb refuses all work until it is opened
//! again, and a damaged file stays damaged: both are mended here, at the first
//! call that meets them. A disk error reopens the file. Damage throws it away
//! and starts anew, because everything in it can be learnt again; who asks
//! [`Guarded::take_lost`] then brings the bodies on disk into agreement. Each
//! row carries a tag over its name and value, so that a flipped bit that redb
//! does not see makes a row absent, never wrong.

use super::{IndexError, look, make};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use unifyit_protocol::codec;

/// Page cache of the database, in bytes.
const DATABASE_CACHE: usize = 4 * 1024 * 1024;
/// A database that could not be opened is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of the tag behind each value.
const TAG: usize = 8;

/// A database that is opened again when it fails.
#[derive(Debug)]
pub(super) struct Guarded {
    path: PathBuf,
    slot: RwLock<Slot>,
    lost: AtomicBool,
}

#[derive(Debug)]
struct Slot {
    database: Option<Database>,
    /// Counts openings, so that two who met the same failure mend it once.
    opened: u64,
    tried: Instant,
}

impl Guarded {
    /// Opens or makes the database; a damaged one is replaced.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let (database, anew) = open_or_anew(path, false)?;
        let slot = Slot { database: Some(database), opened: 1, tried: Instant::now() };
        Ok(Self { path: path.into(), slot: RwLock::new(slot), lost: AtomicBool::new(anew) })
    }

    /// Whether the rows were lost since the last time this was asked.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        self.run(|database| work(&database.begin_read()?))
    }

    pub(super) fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        self.run(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let mut work = Some(work);
        let (opened, error) = {
            let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
            match (&slot.database, work.take()) {
                (Some(database), Some(work)) => match guarded(|| work(database)) {
                    Ok(value) => return Ok(value),
                    Err(error) => (slot.opened, error),
                },
                (_, unused) => {
                    work = unused;
                    (slot.opened, IndexError::Disk("it is closed".into()))
                }
            }
        };
        self.mend(opened, matches!(error, IndexError::Damaged(_)));
        // Work that met a closed database has not run yet.
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        match (&slot.database, work) {
            (Some(database), Some(work)) => guarded(|| work(database)),
            _ => Err(error),
        }
    }

    fn mend(&self, failed: u64, damaged: bool) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let closed = slot.database.is_none();
        if slot.opened != failed || (closed && slot.tried.elapsed() < RETRY) {
            return;
        }
        slot.tried = Instant::now();
        let old = slot.database.take();
        let _closed = guarded(|| {
            drop(old);
            Ok(())
        });
        match open_or_anew(&self.path, damaged) {
            Ok((database, anew)) => {
                tracing::warn!(anew, "The package cache's index failed and was opened again.");
                slot.database = Some(database);
                slot.opened += 1;
                if anew {
                    self.lost.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "The package cache's index stays closed for now.");
            }
        }
    }
}

impl Drop for Guarded {
    /// Closing writes, and writing into a damaged file may panic.
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        let database = slot.database.take();
        let _closed = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// Turns a panic inside the database, which only a damaged file causes, into an
/// error.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(IndexError::Damaged("the database met nonsense".into())))
}

fn open_or_anew(path: &Path, damaged: bool) -> Result<(Database, bool), IndexError> {
    if !damaged {
        match guarded(|| open(path)) {
            Ok(database) => return Ok((database, false)),
            Err(error @ IndexError::Disk(_)) => return Err(error),
            Err(IndexError::Damaged(why)) => {
                tracing::warn!(why, "The package cache's index is damaged; it starts anew.");
            }
        }
    }
    std::fs::remove_file(path).map_err(|e| IndexError::Disk(e.to_string()))?;
    Ok((guarded(|| open(path))?, true))
}

fn open(path: &Path) -> Result<Database, IndexError> {
    let database = redb::Builder::new().set_cache_size(DATABASE_CACHE).create(path)?;
    let write = database.begin_write()?;
    make(&write)?;
    write.commit()?;
    // A root that does not lead anywhere is found now rather than later.
    look(&database.begin_read()?)?;
    Ok(database)
}

/// A row's value with its tag.
pub(super) fn sealed<T: Serialize>(name: &[u8], value: &T) -> Result<Vec<u8>, IndexError> {
    let mut bytes = codec::encode(value).map_err(|e| IndexError::Disk(e.to_string()))?;
    let tag = tag(name, &bytes);
    bytes.extend_from_slice(&tag);
    Ok(bytes)
}

/// A row's value, when its tag fits.
pub(super) fn opened<T: DeserializeOwned>(name: &[u8], bytes: &[u8]) -> Option<T> {
    let (value, tagged) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
    (tagged == tag(name, value)).then(|| codec::decode(value).ok())?
}

fn tag(name: &[u8], value: &[u8]) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(name.len() as u64).to_le_bytes()).update(name).update(value);
    let mut tag = [0; TAG];
    hasher.finalize_xof().fill(&mut tag);
    tag
}
