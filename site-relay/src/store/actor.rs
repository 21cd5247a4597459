//! The one writer: a thread that owns every write transaction.
//!
//! Jobs queue in a bounded inbox. While one commit is being synced the next
//! jobs gather; then all of them go into one transaction, are synced once and
//! answered together. An idle store commits a lone job at once, a busy one
//! spreads the price of a sync over everything that waits: no timer is needed.
//!
//! A failed commit leaves nothing behind in memory: every job of it is told, the file
//! is opened again and the writer's memory is read anew from it. In the file it may be
//! whole all the same, for a disk whose sync fails does not say what it kept.

#[cfg(test)]
pub(super) mod tests;

use super::{
    error::StoreError,
    opened::Opened,
    shared::Core,
    tables::META_WRITTEN,
    txn::{Mem, Txn, read_meta},
};
use crate::parts;
use redb::Durability;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Jobs in one commit at most.
const MAX_JOBS: usize = 256;
/// Jobs that may wait; senders wait beyond it.
pub(crate) const INBOX: usize = 1024;
/// A failure that lasts is logged so often.
const FAILED_AGAIN: Duration = Duration::from_secs(60);

/// Tells the time, Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Something to do within a commit, and how to tell its outcome.
pub(crate) trait Job: Send {
    /// Reads and changes tables.
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError>;
    /// Every job of the commit is applied and its sync begins, which may yet fail. Not
    /// said while commits fail or the disk is nearly full. Must not wait.
    fn syncing(&mut self) {}
    /// The commit is durable, or it failed.
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
/// What a commit gathered, and whether it wrote anything.
type Committed = (parts::Gathered, bool);

/// The writer's thread.
pub(crate) struct Writer {
    core: Arc<Core>,
    mem: Mem,
    inbox: mpsc::Receiver<Message>,
    /// Since the last successful commit: failures that were logged, and when last.
    failed: Option<(StoreError, Instant)>,
    /// Whether this start has begun its epochs.
    prepared: bool,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, inbox: mpsc::Receiver<Message>) -> Result<Self, StoreError> {
        let mut mem = core.with_database(Mem::load)?;
        let written_ms = core.read(|tx| read_meta(tx, META_WRITTEN))?.unwrap_or_default();
        mem.opened = Opened::of(&mem.lanes.states, written_ms, (core.clock)());
        core.lanes.send_replace(mem.lanes.clone());
        Ok(Self { core, mem, inbox, failed: None, prepared: false })
    }

    /// What a start of the relay does first: opens new epochs (G2). On a read-only
    /// disk that waits until it takes writes.
    ///
    /// # Errors
    /// When it cannot be stored for another reason.
    pub(crate) fn start(&mut self) -> Result<(), StoreError> {
        match self.prepare() {
            Err(why @ StoreError::ReadOnly) => {
                tracing::error!(error = %why, "the relay starts all the same; devices keep what they have to say");
                Ok(())
            }
            other => other,
        }
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        struct Start;
        impl Job for Start {
            fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
                txn.start_epochs(0)?;
                txn.heal()
            }
            fn finish(self: Box<Self>, _: Result<(), StoreError>) {}
        }
        let (gathered, _) = self.write(&mut [Box::new(Start)])?;
        self.prepared = true;
        self.core.publish(gathered, &self.mem.lanes);
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
            Ok((gathered, touched)) => {
                // A job that changes nothing says nothing of the disk.
                if touched && self.failed.take().is_some() {
                    tracing::info!("the store takes commits again");
                }
                self.core.publish(gathered, &self.mem.lanes);
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
                // Counted first: whoever sees what the file holds all the same, sees that
                // this failed.
                self.core.failed.fetch_add(1, Ordering::Relaxed);
                self.recover(&error);
                for job in jobs {
                    job.finish(Err(error.clone()));
                }
            }
        }
    }

    /// What was gathered, and whether anything was written.
    fn try_commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Committed, StoreError> {
        if self.core.thaw()? {
            // A commit that failed may have been seen, and be gone: its numbers are not
            // used again (G2).
            self.prepared = false;
            self.load()?;
        }
        if !self.prepared {
            self.prepare()?;
        }
        self.write(jobs)
    }

    fn write(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Committed, StoreError> {
        let now_ms = (self.core.clock)();
        let steady = self.prepared && self.failed.is_none() && !self.core.is_tight();
        let mem = &mut self.mem;
        self.core.with_database(|db| {
            let mut tx = db.begin_write()?;
            tx.set_durability(Durability::Immediate)?;
            let mut txn = Txn::new(&tx, mem, now_ms);
            for job in jobs.iter_mut() {
                job.apply(&mut txn)?;
            }
            let (gathered, touched) = txn.finish()?;
            if touched && steady {
                jobs.iter_mut().for_each(|job| job.syncing());
            }
            match touched {
                #[cfg(test)]
                true => tests::commit(&self.core, tx)?,
                #[cfg(not(test))]
                true => tx.commit()?,
                false => tx.abort()?,
            }
            Ok((gathered, touched))
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
        // What can be looked at already is left open, for its repair takes a while; no
        // job has touched the memory since.
        if self.core.is_frozen() {
            return;
        }
        if let Err(error) = self.core.reopen().and_then(|()| self.load()) {
            tracing::debug!(%error, "the store cannot be opened again");
        }
    }

    /// Takes the memory of the file for the writer's.
    fn load(&mut self) -> Result<(), StoreError> {
        let mem = self.core.with_database(Mem::load)?;
        self.core.lanes.send_replace(mem.lanes.clone());
        let before = std::mem::replace(&mut self.mem, mem);
        self.mem.opened = before.opened;
        self.mem.parts.carry(before.parts);
        // What was noted and not stored is not so.
        self.core.fill()
    }

    /// redb files never shrink by themselves. Compaction holds up readers and
    /// writers, so it runs only when at least half of a file worth the trouble
    /// is unused.
    fn compact(&mut self) {
        if self.core.is_frozen() {
            return;
        }
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
        match self.core.compact() {
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
