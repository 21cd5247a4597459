//! Durable state of the relay: one redb file, one writer with group commit.
//!
//! Everything that changes goes as a job to the writer ([`actor`]), which puts
//! the jobs that wait into one transaction ([`txn`]) and syncs it once; a job's
//! answer means that it is durable (G1). Readers work on snapshots of the last
//! commit. The store's own are the [`outbox`] (what waits for the cloud), what of it a
//! device may take ([`fairness`]) and the [`space`] of the disk. What features keep
//! stands in their own folders: each is a [`part`] of the store, which names none.

use crate::{clock::SiteClock, parts, telemetry::Telemetry};
use actor::{Job, Message, Writer};
use shared::Core;
use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use txn::Txn;
use unifyit_protocol::lane::Fetch;

mod actor;
mod error;
mod fairness;
mod frozen;
mod metrics;
mod opened;
mod outbox;
pub(crate) mod part;
mod records;
pub(crate) mod rows;
mod shared;
mod space;
pub(crate) mod tables;
pub(crate) mod txn;

#[cfg(test)]
mod layout_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use actor::Clock;
pub use error::StoreError;
pub(crate) use metrics::lane_name;
pub use outbox::{LaneState, Lanes, Segment};
pub use space::{Quotas, Space};

/// Name of the file in the state folder.
const FILE: &str = "relay.redb";
/// Memory for pages of the file. Small, because a relay may be a small box and
/// the system's own cache stands behind it.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Tells the time.
    pub clock: Clock,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("cache_bytes", &self.cache_bytes).finish()
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self::timed(&SiteClock::default())
    }
}

impl StoreOptions {
    /// The usual ones, by the site's time.
    #[must_use]
    pub fn timed(clock: &SiteClock) -> Self {
        let clock = clock.clone();
        Self { cache_bytes: CACHE_BYTES, clock: Arc::new(move || clock.now_ms()) }
    }
}

/// Reaches the store. Cheap to clone.
#[derive(Clone)]
pub struct StoreHandle {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    writer: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Cancelled when the writer's thread has ended, for whatever reason.
    ended: CancellationToken,
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreHandle").finish_non_exhaustive()
    }
}

/// The outcome of a job that is on its way; durable when it says so.
pub(crate) struct Pending<R>(oneshot::Receiver<Result<R, StoreError>>);

impl<R> Pending<R> {
    /// Waits for the commit.
    pub(crate) async fn outcome(&mut self) -> Result<R, StoreError> {
        (&mut self.0).await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Where a job takes part in the next commit.
pub(crate) struct Place<'h>(mpsc::Permit<'h, Message>);

impl Place<'_> {
    /// Takes part; nobody hears whether it became durable.
    pub(crate) fn send(
        self,
        op: impl FnOnce(&mut Txn<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        let (reply, _nobody_asks) = oneshot::channel();
        let job = Typed { op: Some(op), ahead: None::<fn(&mut ())>, value: None, reply };
        self.0.send(Message::Job(Box::new(job)));
    }
}

impl StoreHandle {
    /// Opens or creates the store in the state folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        Self::open_with(state, StoreOptions::default())
    }

    /// Opens or creates the store with options.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_with(state: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let core = Arc::new(Core::open(&state.join(FILE), options.cache_bytes, options.clock)?);
        core.fill()?;
        let (writer, inbox) = mpsc::channel(actor::INBOX);
        let mut thread = Writer::new(Arc::clone(&core), inbox)?;
        thread.start()?;
        core.fill_ballast();
        let ended = CancellationToken::new();
        let over = ended.clone().drop_guard();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                let _told_also_by_a_panic = over;
                thread.run();
            })
            .map_err(|e| StoreError::Failed(format!("its thread cannot be started: {e}")))?;
        Ok(Self {
            inner: Arc::new(Inner { core, writer, thread: Mutex::new(Some(thread)), ended }),
        })
    }

    /// Makes the store's metrics visible.
    pub fn register(&self, telemetry: &Telemetry) {
        self.inner.core.metrics.get_or_init(|| metrics::StoreMetrics::register(telemetry));
    }

    /// Resolves when nothing can be stored any more: the store was closed, or its
    /// thread crashed.
    pub async fn ended(&self) {
        self.inner.ended.cancelled().await;
    }

    /// Finishes what is queued and closes the file. Later jobs are refused.
    pub async fn close(&self) {
        if self.inner.writer.send(Message::Close).await.is_err() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        drop(tokio::task::spawn_blocking(move || inner.join()).await);
    }

    /// Takes part in the next commit; returns once the job is queued, so that
    /// jobs of one caller keep their order.
    pub(crate) async fn submit<R, F>(&self, op: F) -> Result<Pending<R>, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
    {
        self.queue(op, |_: &mut R| {}).await
    }

    async fn queue<R, F, G>(&self, op: F, ahead: G) -> Result<Pending<R>, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
        G: FnOnce(&mut R) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Typed { op: Some(op), ahead: Some(ahead), value: None, reply };
        let sent = self.inner.writer.send(Message::Job(Box::new(job))).await;
        sent.map_err(|_| StoreError::Closed)?;
        Ok(Pending(answer))
    }

    /// Runs a job; durable when it returns (G1).
    pub(crate) async fn write<R, F>(&self, op: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
    {
        self.submit(op).await?.outcome().await
    }

    /// As [`Self::write`]; `ahead` gets what `op` returned while the commit is being
    /// synced, for what may begin before it is known to hold. On the writer's thread:
    /// it must not wait. It is left out while commits fail.
    pub(crate) async fn write_with<R, F, G>(&self, op: F, ahead: G) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
        G: FnOnce(&mut R) + Send + 'static,
    {
        self.queue(op, ahead).await?.outcome().await
    }

    /// Runs a reader on a snapshot of the last commit, off the async workers.
    pub(crate) async fn read<R, F>(&self, reader: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&redb::ReadTransaction) -> Result<R, StoreError> + Send + 'static,
    {
        let core = Arc::clone(&self.inner.core);
        tokio::task::spawn_blocking(move || core.read(reader))
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    /// What is looked up of the parts.
    pub(crate) fn parts(&self) -> &parts::Shared {
        &self.inner.core.parts
    }

    /// A place for a job that nobody waits for; none while too many wait.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        self.inner.writer.try_reserve().ok().map(Place)
    }

    /// Where the outbox stands, told after each commit that moved it.
    #[must_use]
    pub fn lanes(&self) -> watch::Receiver<Lanes> {
        self.inner.core.lanes.subscribe()
    }

    /// The time by the store's clock, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.inner.core.clock)()
    }

    /// Reads what the lane machine asked for.
    pub(crate) async fn fetch(&self, fetch: Fetch) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let core = Arc::clone(&self.inner.core);
        let state = core.lanes.borrow().of(fetch.lane).clone();
        tokio::task::spawn_blocking(move || core.read(|tx| outbox::read(tx, &state, &fetch)))
            .await
            .unwrap_or(Err(StoreError::Closed))
    }
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}

struct Typed<R, F, G> {
    op: Option<F>,
    ahead: Option<G>,
    value: Option<R>,
    reply: oneshot::Sender<Result<R, StoreError>>,
}

impl<R, F, G> Job for Typed<R, F, G>
where
    R: Send,
    F: FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send,
    G: FnOnce(&mut R) + Send,
{
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        if let Some(op) = self.op.take() {
            self.value = Some(op(txn)?);
        }
        Ok(())
    }

    fn syncing(&mut self) {
        if let (Some(ahead), Some(value)) = (self.ahead.take(), &mut self.value) {
            ahead(value);
        }
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may be gone; the work is done either way.
        drop(self.reply.send(answer));
    }
}
