//! The one writer: a thread that owns every write transaction.
//!
//! Jobs queue in a bounded inbox. While one commit is being synced the next
//! jobs gather; then all of them go into one transaction, are synced once and
//! answered together. An idle store commits a lone job at once, a busy one
//! spreads the price of a sync over everything that waits: no timer is needed.
//!
//! A failed commit leaves nothing behind: every job of it is told, the file is
//! opened again and the writer's memory is read anew from it.

use super::{
    error::StoreError,
    holds::Before,
    metrics::StoreMetrics,
    outbox::Lanes,
    tables::{self, DeviceRecord},
    txn::{Change, Mem, Txn, create_tables},
};
use redb::{Database, Durability, ReadableTable as _};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc, watch};
use unifyit_protocol::{
    config::{PackageCache, SiteConfig},
    ids::{DeviceId, TokenId},
};

/// Jobs in one commit at most.
const MAX_JOBS: usize = 256;
/// Jobs that may wait; senders wait beyond it.
pub(crate) const INBOX: usize = 1024;
/// Space kept in reserve, so that a full disk still lets the store drop data.
const BALLAST: u64 = 8 * 1024 * 1024;
/// A failure that lasts is logged so often.
const FAILED_AGAIN: Duration = Duration::from_secs(60);

/// Tells the time, Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Something to do within a commit, and how to tell its outcome.
pub(crate) trait Job: Send {
    /// Reads and changes tables.
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError>;
    /// The commit is durable, or nothing of it happened.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// What the writer is asked.
pub(crate) enum Message {
    /// Take part in the next commit.
    Job(Box<dyn Job>),
    /// Give unused space back to the disk, when that pays.
    Compact,
    /// Finish what is queued, then close the file.
    Close,
}

/// What readers and the writer share.
pub(crate) struct Core {
    path: PathBuf,
    cache_bytes: usize,
    /// Or why it is not open.
    db: RwLock<Result<Database, StoreError>>,
    /// Devices as enrolled, as of the last commit.
    pub(crate) devices: RwLock<HashMap<DeviceId, DeviceRecord>>,
    /// Tokens that are out, as of the last commit.
    pub(crate) revoked_tokens: RwLock<HashSet<TokenId>>,
    /// Settings of the site.
    pub(crate) site: watch::Sender<SiteConfig>,
    /// The package cache as devices are told of it, without the console's hosts.
    pub(crate) package_cache: OnceLock<PackageCache>,
    /// Where the outbox stands.
    pub(crate) lanes: watch::Sender<Lanes>,
    /// Whether the disk is nearly full.
    pub(crate) pressure: AtomicBool,
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
        let db = open_database(path, cache_bytes)?;
        let core = Self {
            path: path.to_owned(),
            cache_bytes,
            db: RwLock::new(Ok(db)),
            devices: RwLock::default(),
            revoked_tokens: RwLock::default(),
            site: watch::Sender::new(SiteConfig::default()),
            package_cache: OnceLock::new(),
            lanes: watch::Sender::new(Lanes::default()),
            pressure: AtomicBool::new(false),
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

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Folder of the file.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // It is closed before it is opened again: a file is opened once only.
        *db = Err(StoreError::Closed);
        *db = open_database(&self.path, self.cache_bytes);
        db.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn close(&self) {
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

    fn drop_ballast(&self) {
        if fs::remove_file(self.ballast()).is_ok() {
            tracing::warn!("the disk is full: the space set aside for that was released");
        }
    }

    fn publish(&self, changes: Vec<Change>, lanes: &Lanes) {
        for change in changes {
            match change {
                Change::Device(record) => {
                    let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
                    devices.insert(record.device, record);
                }
                Change::TokenRevoked(token) => {
                    let mut out =
                        self.revoked_tokens.write().unwrap_or_else(PoisonError::into_inner);
                    out.insert(token);
                }
                Change::Site(config) => drop(self.site.send_replace(config)),
            }
        }
        self.lanes.send_if_modified(|now| {
            let changed = now != lanes;
            if changed {
                now.clone_from(lanes);
            }
            changed
        });
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
    create_tables(&tx)?;
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

/// The writer's thread.
pub(crate) struct Writer {
    core: Arc<Core>,
    mem: Mem,
    inbox: mpsc::Receiver<Message>,
    /// Since the last successful commit: failures that were logged, and when last.
    failed: Option<(StoreError, Instant)>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, inbox: mpsc::Receiver<Message>) -> Result<Self, StoreError> {
        let mut mem = core.with_database(Mem::load)?;
        mem.before = Before::of(&mem.lanes.states, mem.before.written_ms, (core.clock)());
        core.lanes.send_replace(mem.lanes.clone());
        Ok(Self { core, mem, inbox, failed: None })
    }

    /// What a start of the relay does first: opens new epochs (G2).
    pub(crate) fn prepare(&mut self) -> Result<(), StoreError> {
        struct Start;
        impl Job for Start {
            fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
                txn.start_epochs(0)?;
                txn.heal()
            }
            fn finish(self: Box<Self>, _: Result<(), StoreError>) {}
        }
        let changes = self.try_commit(&mut [Box::new(Start)])?;
        self.core.publish(changes, &self.mem.lanes);
        Ok(())
    }

    /// Runs until told to close or nobody can ask any more.
    pub(crate) fn run(mut self) {
        let mut open = true;
        while open {
            let Some(first) = self.inbox.blocking_recv() else { break };
            let mut jobs: Vec<Box<dyn Job>> = Vec::new();
            let mut next = Some(first);
            let mut compact = false;
            while let Some(message) = next {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Compact => compact = true,
                    Message::Close => {
                        self.inbox.close();
                        open = !self.inbox.is_empty();
                    }
                }
                next = if jobs.len() < MAX_JOBS { self.inbox.try_recv().ok() } else { None };
            }
            if !jobs.is_empty() {
                self.commit(jobs);
            }
            if compact {
                self.compact();
            }
            if self.inbox.is_closed() && self.inbox.is_empty() {
                open = false;
            }
        }
        self.core.close();
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let started = Instant::now();
        let outcome = self.try_commit(&mut jobs);
        if let Some(metrics) = self.core.metrics.get() {
            metrics.commit(jobs.len(), started.elapsed(), outcome.is_ok(), self.inbox.len());
        }
        match outcome {
            Ok(changes) => {
                if self.failed.take().is_some() {
                    tracing::info!("the store takes commits again");
                }
                self.core.publish(changes, &self.mem.lanes);
                for job in jobs {
                    job.finish(Ok(()));
                }
            }
            Err(error) => {
                let again = self
                    .failed
                    .as_ref()
                    .is_some_and(|(before, at)| *before == error && at.elapsed() < FAILED_AGAIN);
                if !again {
                    tracing::error!(%error, jobs = jobs.len(), "a commit of the store failed");
                    self.failed = Some((error.clone(), Instant::now()));
                }
                self.recover(&error);
                for job in jobs {
                    job.finish(Err(error.clone()));
                }
            }
        }
    }

    fn try_commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Change>, StoreError> {
        let now_ms = (self.core.clock)();
        let mem = &mut self.mem;
        self.core.with_database(|db| {
            let mut tx = db.begin_write()?;
            tx.set_durability(Durability::Immediate)?;
            let mut txn = Txn::new(&tx, mem, now_ms);
            for job in jobs {
                job.apply(&mut txn)?;
            }
            let (changes, touched) = txn.finish()?;
            match touched {
                true => tx.commit()?,
                false => tx.abort()?,
            }
            Ok(changes)
        })
    }

    /// After a failed commit the file is opened again: redb refuses to go on
    /// after an I/O error, and the memory of the writer is ahead of the file.
    fn recover(&mut self, error: &StoreError) {
        if *error == StoreError::Full {
            self.core.full.store(true, Ordering::Relaxed);
            self.core.wants_space.notify_one();
            self.core.drop_ballast();
        }
        let again = self.core.reopen().and_then(|()| self.core.with_database(Mem::load));
        match again {
            Ok(mut mem) => {
                mem.before = std::mem::take(&mut self.mem.before);
                self.core.lanes.send_replace(mem.lanes.clone());
                self.mem = mem;
                // What was noted and not stored is not so.
                if let Err(error) = super::devices::load_shared(&self.core) {
                    tracing::error!(%error, "the devices cannot be read again");
                }
            }
            Err(error) => tracing::debug!(%error, "the store cannot be opened again"),
        }
    }

    /// redb files never shrink by themselves. Compaction holds up readers and
    /// writers, so it runs only when at least half of a file worth the trouble
    /// is unused.
    fn compact(&mut self) {
        let used = self.core.with_database(|db| {
            let tx = db.begin_write()?;
            let stats = tx.stats()?;
            tx.abort()?;
            Ok(stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes())
        });
        let before = self.core.file_bytes();
        let Ok(used) = used else { return };
        if before < 64 * 1024 * 1024 || used > before / 2 {
            return;
        }
        let started = Instant::now();
        let mut db = self.core.db.write().unwrap_or_else(PoisonError::into_inner);
        let Ok(db) = db.as_mut() else { return };
        match db.compact() {
            Ok(_) => tracing::info!(
                before,
                after = self.core.file_bytes(),
                took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the store was compacted"
            ),
            Err(error) => tracing::warn!(%error, "the store could not be compacted"),
        }
    }
}
