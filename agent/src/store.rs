//! The agent's one database: spool, ledger of commands, small settings.
//!
//! One thread writes. Jobs that arrive while a commit is under way share the
//! next one, so that eight scripts cost one sync and not eight; whoever asked is
//! told only after the sync (G1, G3). Reads are short and happen in place.
//!
//! A disk that fails or is full makes jobs fail, never the agent: the database
//! is opened again on a later job, and what must be durable is tried again by
//! whoever needs it. A commit that failed may be in the file all the same; then the
//! spool goes on from what is there, so that no number is given out twice (G4).

#[cfg(test)]
mod fault;

use crate::{
    execute::ledger::Birth,
    link::spool::{Gone, LaneBook, Quotas, SpoolState},
    platform,
};
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use unifyit_protocol::lan::Handed;

/// Small settings by name.
pub const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Reports by (lane, epoch, sequence number): (when, body).
pub const SPOOL: TableDefinition<'_, (u8, u64, u64), (u64, &[u8])> = TableDefinition::new("spool");
/// Commands by id.
pub const LEDGER: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("ledger");

/// Name of the database in the state folder.
pub const FILE: &str = "agent.redb";
const CACHE_BYTES: usize = 256 * 1024;
const MAX_WAITING: usize = 256;
const MAX_GROUP: usize = 64;

/// Why something could not be stored or read.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// Another process holds the database.
    #[error(
        "The state folder is in use by another agent. Stop that one first (systemctl stop \
         unifyit-agent), or give this one another folder with --state."
    )]
    InUse,
    /// The disk or the file failed.
    #[error(
        "The agent's database could not be used: {0}. Check that the disk is healthy and not full."
    )]
    Failed(String),
    /// The agent is ending.
    #[error("The agent's database is closed.")]
    Closed,
}

impl StoreError {
    fn failed(error: impl Into<redb::Error>) -> Self {
        Self::Failed(error.into().to_string())
    }
}

macro_rules! from_redb {
    ($($kind:ident)+) => {$(
        impl From<redb::$kind> for StoreError {
            fn from(error: redb::$kind) -> Self { Self::failed(error) }
        }
    )+};
}
from_redb!(TableError StorageError TransactionError CommitError);

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            other => Self::failed(other),
        }
    }
}

impl From<unifyit_protocol::ProtocolError> for StoreError {
    fn from(error: unifyit_protocol::ProtocolError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a job may touch: the transaction, and the spool's book about it.
pub struct Txn<'a> {
    /// The write transaction that all jobs of a group share.
    pub tables: &'a WriteTransaction,
    /// Sequence numbers and sizes of the lanes.
    pub book: &'a mut LaneBook,
}

trait Job: Send {
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Typed<T, F> {
    work: Option<F>,
    value: Option<T>,
    done: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Txn<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(txn)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, done, .. } = *self;
        let answer = result.and_then(|()| value.ok_or(StoreError::Closed));
        // Nobody waits when whoever asked was cancelled meanwhile.
        drop(done.send(answer));
    }
}

struct Shared {
    path: PathBuf,
    database: RwLock<Option<Database>>,
    spool: Arc<Mutex<SpoolState>>,
    spool_changed: Arc<Notify>,
    /// Told whenever the relay acknowledged something.
    acked: Notify,
    birth: Birth,
    #[cfg(test)]
    fault: fault::Fault,
}

/// Handle on the database.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Box<dyn Job>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Whether no agent runs on this folder. A database that cannot be read is
    /// nobody's.
    ///
    /// # Errors
    /// [`StoreError::InUse`].
    pub fn unused(state: &Path) -> Result<(), StoreError> {
        let path = state.join(FILE);
        match path.exists().then(|| open_database(&path)) {
            Some(Err(StoreError::InUse)) => Err(StoreError::InUse),
            _ => Ok(()),
        }
    }

    /// Opens the database of a state folder, creating it when absent, and starts
    /// an epoch of the spool that is later than any before.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another agent runs on this folder,
    /// [`StoreError::Failed`] when the disk fails.
    pub fn open(state: &Path, quotas: Quotas, now_ms: u64) -> Result<Self, StoreError> {
        let path = state.join(FILE);
        let database = open_database(&path)?;
        let txn = database.begin_write()?;
        txn.open_table(META)?;
        txn.open_table(SPOOL)?;
        txn.open_table(LEDGER)?;
        let birth = Birth::load(&txn, LaneBook::is_absent(&txn)?)?;
        let (book, trails) = LaneBook::start(&txn, quotas, now_ms)?;
        txn.commit()?;
        if let Err(error) = platform::make_private(&path) {
            tracing::warn!(%error, "the database could not be made private");
        }
        let shared = Arc::new(Shared {
            path,
            database: RwLock::new(Some(database)),
            spool: Arc::new(Mutex::new(SpoolState::new(&book, trails))),
            spool_changed: Arc::new(Notify::new()),
            acked: Notify::new(),
            birth,
            #[cfg(test)]
            fault: fault::Fault::default(),
        });
        let (jobs, inbox) = mpsc::channel(MAX_WAITING);
        let writer = Writer { shared: Arc::clone(&shared), book, doubt: None };
        thread::Builder::new()
            .name("store".into())
            .stack_size(256 * 1024)
            .spawn(move || writer.work(inbox))
            .map_err(|e| StoreError::Failed(e.to_string()))?;
        Ok(Self { jobs, shared })
    }

    /// Runs a job in a write transaction and returns once it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the job is not known to be durable. What it wrote may be
    /// there all the same, and be sent: who tries again may say it twice.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let job = Box::new(Typed { work: Some(work), value: None, done });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets the writer forget what was acknowledged, when it next has time.
    pub fn nudge(&self) {
        let (done, _) = oneshot::channel();
        let job = Typed { work: Some(|_: &mut Txn<'_>| Ok(())), value: None, done };
        // A full queue means that the writer is at work, and it trims with each commit.
        drop(self.jobs.try_send(Box::new(job)));
    }

    /// Reads.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the disk fails.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let guard = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard
            .as_ref()
            .ok_or_else(|| StoreError::Failed("it could not be opened again yet".into()))?;
        work(&database.begin_read()?)
    }

    /// The spool's state in memory.
    pub(crate) fn spool(&self) -> MutexGuard<'_, SpoolState> {
        self.shared.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relay names commands that it handed over before; see
    /// [`crate::guard::Memory::was_handed`].
    pub fn handed(&self, named: Handed) {
        self.shared.birth.handed(named);
    }

    /// Since when the ledger is whole.
    pub(crate) fn birth(&self) -> &Birth {
        &self.shared.birth
    }

    /// Told whenever the relay acknowledged something.
    pub(crate) fn acked(&self) -> &Notify {
        &self.shared.acked
    }

    /// Told whenever the spool has something to send.
    pub(crate) fn spool_changed(&self) -> &Notify {
        &self.shared.spool_changed
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(path)?)
}

struct Writer {
    shared: Arc<Shared>,
    book: LaneBook,
    /// The book of a commit that failed, and what went for good with it, until the file
    /// says whether it is in there.
    doubt: Option<(LaneBook, Vec<Gone>)>,
}

impl Writer {
    fn work(mut self, mut inbox: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = inbox.blocking_recv() {
            let mut group = vec![first];
            while group.len() < MAX_GROUP
                && let Ok(job) = inbox.try_recv()
            {
                group.push(job);
            }
            let result = self.commit(&mut group);
            if let Err(error) = &result {
                tracing::error!(%error, "a commit failed; the agent tries again");
                self.reopen();
            }
            for job in group {
                job.finish(result.clone());
            }
            self.shared.spool_changed.notify_one();
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let guard = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard
            .as_ref()
            .ok_or_else(|| StoreError::Failed("it could not be opened again yet".into()))?;
        let tables = database.begin_write()?;
        // Sequence numbers count only once they are on disk.
        let mut book = self.book.clone();
        let acked = self.lock_spool().acked();
        let mut txn = Txn { tables: &tables, book: &mut book };
        for job in group.iter_mut() {
            job.run(&mut txn)?;
        }
        let gone = book.trim(&tables, acked)?;
        book.save(&tables)?;
        if let Some(trails) = self.lock_spool().trails_to_save() {
            trails.save(&tables)?;
        }
        let birth = self.shared.birth.save(&tables)?;
        if let Err(error) = self.sync(tables) {
            drop(guard);
            self.doubt = Some((book, gone));
            return Err(error);
        }
        drop(guard);
        self.shared.birth.saved(birth);
        self.take_over(book, gone);
        Ok(())
    }

    fn sync(&self, tables: WriteTransaction) -> Result<(), StoreError> {
        #[cfg(test)]
        self.shared.fault.before()?;
        tables.commit()?;
        #[cfg(test)]
        self.shared.fault.after()?;
        Ok(())
    }

    /// What a commit did to the spool is true from here on.
    fn take_over(&mut self, book: LaneBook, gone: Vec<Gone>) {
        let mut spool = self.shared.spool.lock().unwrap_or_else(PoisonError::into_inner);
        spool.committed(&book);
        spool.forgotten(gone);
        drop(spool);
        self.book = book;
    }

    /// After a failed write redb refuses everything until it is opened again.
    fn reopen(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(guard.take());
        let opened = open_database(&shared.path).and_then(|database| {
            let kept = match &self.doubt {
                Some((book, _)) => book.is_in(&database.begin_write()?)?,
                None => false,
            };
            Ok((database, kept))
        });
        shared.birth.torn();
        match opened {
            Ok((database, kept)) => {
                *guard = Some(database);
                // Whoever reads the spool waits for the database and lets nobody at its
                // state meanwhile.
                drop(guard);
                if let Some((mut book, gone)) = self.doubt.take().filter(|_| kept) {
                    tracing::warn!("the commit that failed is in the file; what it wrote counts");
                    book.doubt_state(&self.book);
                    self.take_over(book, gone);
                }
            }
            Err(error) => tracing::error!(%error, "the database cannot be opened"),
        }
    }

    fn lock_spool(&self) -> MutexGuard<'_, SpoolState> {
        self.shared.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
