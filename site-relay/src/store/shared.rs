//! What readers and the writer share: the open file, and what is looked up without it.
//! A file on a disk that takes no writes is opened for looking only ([`frozen`]).

use super::{
    actor::Clock, error::StoreError, frozen, metrics::StoreMetrics, outbox::Lanes, tables,
};
use crate::parts;
use redb::{Database, ReadableTable as _};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, watch};

/// Space kept in reserve, so that a full disk still lets the store drop data.
const BALLAST: u64 = 8 * 1024 * 1024;

/// What readers and the writer share.
pub(crate) struct Core {
    path: PathBuf,
    cache_bytes: usize,
    /// Or why it is not open.
    db: RwLock<Result<Database, StoreError>>,
    /// Why the file can only be looked at, when that is so.
    frozen: watch::Sender<Option<StoreError>>,
    /// Makes the disk read-only for a test.
    #[cfg(test)]
    pub(crate) read_only: AtomicBool,
    /// Makes the next commit fail for a test.
    #[cfg(test)]
    pub(crate) fails: std::sync::Mutex<Option<super::actor::tests::Fails>>,
    /// Commits that failed since the start.
    pub(super) failed: AtomicU64,
    /// What is looked up of the parts, as of the last commit.
    pub(crate) parts: parts::Shared,
    /// Where the outbox stands.
    pub(crate) lanes: watch::Sender<Lanes>,
    /// Whether the disk is nearly full.
    pub(crate) pressure: AtomicBool,
    /// Whether raw samples are to make room.
    pub(crate) crowded: AtomicBool,
    /// Whether a commit failed for want of space since something was dropped.
    pub(crate) full: AtomicBool,
    /// A commit failed for want of space.
    pub(crate) wants_space: Notify,
    /// Size of the file when something was last dropped under pressure.
    pub(crate) stood: AtomicU64,
    /// Metrics, once somebody wants them.
    pub(crate) metrics: OnceLock<StoreMetrics>,
    /// The time.
    pub(crate) clock: Clock,
}

impl Core {
    pub(crate) fn open(path: &Path, cache_bytes: usize, clock: Clock) -> Result<Self, StoreError> {
        let (db, frozen) = or_look(open_database(path, cache_bytes), path, cache_bytes)?;
        let core = Self {
            path: path.to_owned(),
            cache_bytes,
            db: RwLock::new(Ok(db)),
            frozen: watch::Sender::new(frozen),
            #[cfg(test)]
            read_only: AtomicBool::new(false),
            #[cfg(test)]
            fails: std::sync::Mutex::default(),
            failed: AtomicU64::new(0),
            parts: parts::Shared::default(),
            lanes: watch::Sender::new(Lanes::default()),
            pressure: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            full: AtomicBool::new(false),
            wants_space: Notify::new(),
            stood: AtomicU64::new(0),
            metrics: OnceLock::new(),
            clock,
        };
        Ok(core)
    }

    /// Runs a reader on a snapshot of the last commit.
    pub(crate) fn read<R>(
        &self,
        reader: impl FnOnce(&redb::ReadTransaction) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.with_database(|db| {
            use redb::ReadableDatabase as _;
            reader(&db.begin_read()?)
        })
    }

    pub(crate) fn with_database<R>(
        &self,
        work: impl FnOnce(&Database) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        work(db.as_ref().map_err(Clone::clone)?)
    }

    /// Whether a commit may well fail for want of space.
    pub(super) fn is_tight(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.pressure.load(Ordering::Relaxed)
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Folder of the file.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // It is closed before it is opened again: a file is opened once only.
        *db = Err(StoreError::Closed);
        let (opened, frozen) = match or_look(self.try_open(), &self.path, self.cache_bytes) {
            Ok((opened, frozen)) => (Ok(opened), frozen),
            Err(why) => (Err(why), None),
        };
        self.set_frozen(frozen);
        *db = opened;
        db.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Whether writes are possible (again), else why not.
    pub(super) fn thaw(&self) -> Result<bool, StoreError> {
        if !self.is_frozen() {
            return Ok(false);
        }
        let opened = self.try_open()?;
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Ok(opened);
        self.set_frozen(None);
        Ok(true)
    }

    /// Whether the file is open for looking only.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.borrow().is_some()
    }

    /// Tells when that changes.
    pub(super) fn frozen(&self) -> watch::Receiver<Option<StoreError>> {
        self.frozen.subscribe()
    }

    fn set_frozen(&self, why: Option<StoreError>) {
        self.frozen.send_if_modified(|now| {
            let changed = *now != why;
            *now = why;
            changed
        });
    }

    /// Gives unused space back to the disk.
    pub(super) fn compact(&self) -> Result<bool, StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_mut().map_err(|why| why.clone())?;
        Ok(db.compact()?)
    }

    fn try_open(&self) -> Result<Database, StoreError> {
        #[cfg(test)]
        if self.read_only.load(Ordering::Relaxed) {
            return Err(StoreError::ReadOnly);
        }
        open_database(&self.path, self.cache_bytes)
    }

    pub(super) fn close(&self) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Err(StoreError::Closed);
    }

    fn ballast(&self) -> PathBuf {
        self.path.with_extension("reserve")
    }

    /// Sets space aside for the day when the disk is full.
    pub(crate) fn fill_ballast(&self) {
        let path = self.ballast();
        if fs::metadata(&path).is_ok_and(|m| m.len() >= BALLAST) {
            return;
        }
        let room = nix::sys::statvfs::statvfs(self.folder())
            .is_ok_and(|s| s.blocks_available().saturating_mul(s.fragment_size()) > 4 * BALLAST);
        if !room {
            return;
        }
        let made = fs::File::create(&path).and_then(|file| {
            nix::fcntl::posix_fallocate(&file, 0, i64::try_from(BALLAST).unwrap_or(i64::MAX))
                .map_err(std::io::Error::from)
        });
        if let Err(error) = made {
            tracing::debug!(%error, "no space could be set aside for a full disk");
        }
    }

    pub(super) fn drop_ballast(&self) {
        if fs::remove_file(self.ballast()).is_ok() {
            tracing::warn!("the disk is full: the space set aside for that was released");
        }
    }

    /// Fills what is looked up from the file.
    pub(super) fn fill(&self) -> Result<(), StoreError> {
        self.read(|tx| self.parts.fill(tx))
    }

    /// A commit is durable.
    pub(super) fn publish(&self, gathered: parts::Gathered, lanes: &Lanes) {
        self.parts.publish(gathered);
        self.lanes.send_if_modified(|now| {
            let changed = now != lanes;
            if changed {
                now.clone_from(lanes);
            }
            changed
        });
    }
}

/// A file that opens on no disk but a read-only one can still be looked at.
fn or_look(
    opened: Result<Database, StoreError>,
    path: &Path,
    cache_bytes: usize,
) -> Result<(Database, Option<StoreError>), StoreError> {
    match opened {
        Ok(db) => Ok((db, None)),
        Err(why @ StoreError::ReadOnly) => match frozen::open(path, cache_bytes) {
            Ok(db) => Ok((db, Some(why))),
            Err(error) => {
                tracing::error!(%error, "the store cannot even be read");
                Err(why)
            }
        },
        Err(why) => Err(why),
    }
}

fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder.set_repair_callback(|session| {
        let percent = (session.progress() * 100.0).round();
        tracing::info!(percent, "checking the store after an unclean stop");
    });
    let db = builder.create(path)?;
    let tx = db.begin_write()?;
    parts::Tables::create(&tx)?;
    check_layout(&tx)?;
    tx.commit()?;
    Ok(db)
}

/// A file of a later version is left alone: an older program would misread it.
fn check_layout(tx: &redb::WriteTransaction) -> Result<(), StoreError> {
    let mut meta = tx.open_table(tables::META)?;
    let found = meta.get(tables::META_LAYOUT)?.and_then(|v| v.value().first().copied());
    match found {
        Some(layout) if layout > tables::LAYOUT => Err(StoreError::Failed(format!(
            "it was written by a later version (layout {layout}); update unifyit-relay"
        ))),
        _ => {
            meta.insert(tables::META_LAYOUT, [tables::LAYOUT].as_slice())?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
