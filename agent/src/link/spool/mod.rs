//! The spool: reports wait here until the relay holds them durably (G1).
//!
//! Four lanes, each a sequence of numbered reports within an epoch. Urgent,
//! state and output reports are on disk before they are sent. Samples stay in
//! memory (the *tail*) and go to disk together when they are still
//! unacknowledged after a while, so that a connected agent hardly writes.
//!
//! This file is the side of the link: what to send next, what an
//! acknowledgement means, when to send again. [`book`] and [`forget`] are the side of
//! the disk, [`trail`] says what went for good.
//! A lane's life: `acked ≤ sent ≤ last`; a batch moves `sent`, an
//! acknowledgement moves `acked`, anything doubtful moves `sent` back to `acked`.

mod book;
mod forget;
mod state;
#[cfg(test)]
mod tests;
mod trail;

pub use book::{LaneBook, LaneEntry, Position, Quotas};
pub(crate) use forget::Gone;
pub use state::SpoolState;

use crate::{
    clock::{self, now_ms},
    execute::ledger::Times,
    store::{SPOOL, Store, StoreError, Txn},
};
use book::key_of;
use bytes::Bytes;
use redb::ReadTransaction;
use std::time::Instant;
use unifyit_protocol::{
    codec,
    lan::ReportAck,
    lane::Lane,
    report::{MAX_BATCH, Report, ReportBatch, Sequenced},
};

/// Batches close at about this many bytes of bodies.
const BATCH_BYTES: usize = 96 * 1024;
/// Largest body of one report: a batch with it alone stays under the wire's limit.
pub const MAX_REPORT: usize = codec::MAX_MESSAGE - 4096;
/// No relay can have seen a later epoch or number: epochs are milliseconds, and numbers
/// are counted up from one. Positions beyond would leave no room for what comes next.
const MOST: u64 = i64::MAX as u64;
/// Acknowledged bytes that lie on disk before the writer is asked to trim.
const TRIM_AT: u64 = 1024 * 1024;

/// Whether the relay's memory continues the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It does.
    Holds,
    /// It does not: one of the two lost data.
    Broken,
    /// It does not, and the relay has seen this epoch.
    BrokenAbove(u64),
    /// It names positions that no memory can have; nothing is done about them.
    Impossible,
}

/// Adds a report in a job of the store, so that it shares the job's commit.
///
/// # Errors
/// [`StoreError`] when the disk fails or the report cannot be encoded.
pub fn append(
    txn: &mut Txn<'_>,
    lane: Lane,
    at_ms: u64,
    report: &Report,
) -> Result<(), StoreError> {
    append_encoded(txn, lane, at_ms, &report.encode()?)
}

/// Adds a report of the urgent lane and returns its place, see
/// [`Spool::until_acked`].
///
/// # Errors
/// [`StoreError`] when the disk fails or the report cannot be encoded.
pub fn append_urgent(
    txn: &mut Txn<'_>,
    at_ms: u64,
    report: &Report,
) -> Result<Position, StoreError> {
    txn.book.append(txn.tables, Lane::Urgent, at_ms, &report.encode()?)
}

/// Adds an encoded report in a job of the store.
///
/// # Errors
/// [`StoreError`] when the disk fails.
pub fn append_encoded(
    txn: &mut Txn<'_>,
    lane: Lane,
    at_ms: u64,
    body: &[u8],
) -> Result<(), StoreError> {
    if body.len() > MAX_REPORT {
        tracing::error!(?lane, bytes = body.len(), "a report is too large for the wire");
        return Ok(());
    }
    txn.book.append(txn.tables, lane, at_ms, body)?;
    Ok(())
}

/// Handle on the spool.
#[derive(Debug, Clone)]
pub struct Spool {
    store: Store,
}

impl Spool {
    /// The spool of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Epoch of the reports added from now on.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.store.spool().epoch()
    }

    /// Adds a report of the metrics lane; in memory until [`Spool::settle`].
    pub fn push_metric(&self, at_ms: u64, report: &Report) {
        match report.encode() {
            Ok(body) => {
                let mut state = self.store.spool();
                if matches!(report, Report::Series(_)) {
                    state.remember_series(at_ms, body.clone());
                }
                state.push_tail(at_ms, Bytes::from(body));
            }
            Err(error) => tracing::error!(%error, "a sample cannot be encoded"),
        }
        self.store.spool_changed().notify_one();
    }

    /// Writes samples to disk that were taken before `older_than_ms` and are
    /// still unacknowledged.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails; the samples stay in memory.
    pub async fn settle(&self, older_than_ms: u64) -> Result<(), StoreError> {
        let (epoch, first, records) = self.store.spool().tail_before(older_than_ms);
        if records.is_empty() {
            return Ok(());
        }
        let through = first + records.len() as u64 - 1;
        let written = self.store.write(move |txn| {
            if txn.book.epoch != epoch {
                return Ok(false);
            }
            for (seq, (at_ms, body)) in (first..).zip(&records) {
                let at = Position { epoch, seq };
                txn.book.put(txn.tables, Lane::Metrics, at, *at_ms, body)?;
            }
            Ok(true)
        });
        if written.await? {
            self.store.spool().drop_tail(epoch, through);
        }
        Ok(())
    }

    /// The next batch to send, encoded, most urgent lane first; `only` restricts
    /// it to one lane. `None` when nothing waits or enough is under way.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn next_batch(
        &self,
        only: Option<Lane>,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for lane in Lane::ALL.into_iter().filter(|l| only.is_none_or(|o| o == *l)) {
            if let Some(batch) = self.lane_batch(lane, now)? {
                return Ok(Some(codec::encode(&batch)?));
            }
        }
        Ok(None)
    }

    fn lane_batch(&self, lane: Lane, now: Instant) -> Result<Option<ReportBatch>, StoreError> {
        let mut state = self.store.spool();
        let Some(sent) = state.may_send(lane) else { return Ok(None) };
        let (epoch, reports) = if let Some(last) = state.on_disk_after(lane, sent) {
            self.store.read(|tables| disk_batch(tables, lane, sent, last))?
        } else {
            state.tail_batch(lane, sent)
        };
        let Some(last) = reports.last().map(|r| r.seq) else { return Ok(None) };
        if epoch != sent.epoch && !state.is_quiet(lane) {
            return Ok(None);
        }
        let prev = if epoch == sent.epoch { sent.seq } else { 0 };
        state.sent(lane, Position { epoch, seq: last }, now);
        let shift_ms = (lane == Lane::Metrics).then(|| clock::shift_ms(epoch));
        Ok(Some(ReportBatch { epoch, lane, prev, shift_ms, reports }))
    }

    /// The relay says where it stands, after connecting. Whether its memory
    /// continues ours.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn welcome(&self, positions: &[ReportAck]) -> Result<Continuity, StoreError> {
        if positions.iter().any(|there| there.epoch > MOST || there.through > MOST) {
            tracing::error!(
                "the relay names positions that no memory can have; nothing is sent to it. Look at \
                it with unifyit-relay doctor"
            );
            return Ok(Continuity::Impossible);
        }
        let mut state = self.store.spool();
        let (mut above, mut ahead) = (None::<u64>, false);
        for lane in Lane::ALL {
            let there = positions
                .iter()
                .find(|p| p.lane == lane)
                .map_or_else(Position::default, |p| Position { epoch: p.epoch, seq: p.through });
            ahead |= state.is_behind(lane, there);
            let first = match self.store.read(|tables| first_after(tables, lane, there))? {
                Some(found) => Some(found),
                None => state.tail_first_after(lane, there),
            };
            if state.resume(lane, there, first) == Continuity::Broken {
                above = Some(above.unwrap_or(0).max(there.epoch));
            }
        }
        drop(state);
        // Before anything can be judged that follows the welcome.
        let (site_ms, own_ms) = (now_ms(), clock::local_ms());
        let times = Times { site_ms, own_ms };
        if self.store.birth().greet(!positions.is_empty(), ahead, times) {
            tracing::warn!(
                "this computer's state was set back or replaced; commands that were \
                given before will not run"
            );
            // What the relay was told of it is not what it is: all is told anew.
            above = above.max(positions.iter().map(|p| p.epoch).max());
        }
        if self.store.birth().is_unsaved() {
            self.store.nudge();
        }
        self.store.spool_changed().notify_one();
        match above {
            None => Ok(Continuity::Holds),
            Some(epoch) => Ok(Continuity::BrokenAbove(epoch)),
        }
    }

    /// The site's time was learnt again after the welcome.
    pub fn time_learnt(&self) {
        self.store.birth().learnt(now_ms());
    }

    /// Numbers everything that waits anew, in an epoch later than `above`.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub async fn start_over(&self, above: u64) -> Result<(), StoreError> {
        self.settle(u64::MAX).await?;
        let (series, cuts) = {
            let mut state = self.store.spool();
            (state.series(), state.cuts())
        };
        self.store
            .write(move |txn| {
                txn.book.start_over(txn.tables, above, series, &cuts)?;
                txn.book.set_state_lost(true);
                Ok(())
            })
            .await
    }

    /// The relay acknowledges, or says that a batch did not continue what it has.
    pub fn acked(&self, ack: &ReportAck, now: Instant) {
        let through = Position { epoch: ack.epoch, seq: ack.through };
        let freed = self.store.spool().acked_through(ack.lane, through, now);
        if freed > TRIM_AT {
            self.store.nudge();
        }
        self.store.spool_changed().notify_one();
        self.store.acked().notify_waiters();
    }

    /// Completes when the relay holds a report of the urgent lane.
    pub async fn until_acked(&self, at: Position) {
        loop {
            let changed = self.store.acked().notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change slips through between.
            changed.as_mut().enable();
            if self.is_acked(at) {
                return;
            }
            changed.await;
        }
    }

    /// Whether the relay holds a report of the urgent lane.
    #[must_use]
    pub fn is_acked(&self, at: Position) -> bool {
        self.store.spool().is_acked(Lane::Urgent, at)
    }

    /// The link went: what is under way is sent again on the next one.
    pub fn link_lost(&self) {
        self.store.spool().link_lost();
    }

    /// When what is under way was not acknowledged for too long.
    #[must_use]
    pub fn stale_at(&self) -> Option<Instant> {
        self.store.spool().stale_at()
    }

    /// Sends again what was not acknowledged for too long.
    pub fn retry_stale(&self, now: Instant) {
        if self.store.spool().retry_stale(now) {
            self.store.spool_changed().notify_one();
        }
    }

    /// Completes when there may be something to send.
    pub async fn changed(&self) {
        self.store.spool_changed().notified().await;
    }

    /// Whether everything was acknowledged.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.store.spool().is_drained()
    }

    /// Whether the relay's picture of the inventory is incomplete; asking once
    /// clears it with the next commit of a whole inventory.
    #[must_use]
    pub fn state_was_lost(&self) -> bool {
        self.store.spool().state_lost()
    }
}

type Batch = (u64, Vec<Sequenced>);

/// Consecutive records of one epoch after a position and up to `last`: what lies beyond
/// is of a commit that nobody knows to be durable.
fn disk_batch(
    tables: &ReadTransaction,
    lane: Lane,
    after: Position,
    last: Position,
) -> Result<Batch, StoreError> {
    let table = tables.open_table(SPOOL)?;
    let from = (key_of(lane), after.epoch, after.seq.saturating_add(1));
    let (mut epoch, mut reports, mut bytes) = (0, Vec::new(), 0);
    for record in table.range(from..=(key_of(lane), last.epoch, last.seq))? {
        let (key, value) = record?;
        let (_, at_epoch, seq) = key.value();
        let (_, body) = value.value();
        let full = reports.len() == MAX_BATCH || bytes + body.len() > BATCH_BYTES;
        if !reports.is_empty() && (full || at_epoch != epoch) {
            break;
        }
        epoch = at_epoch;
        bytes += body.len();
        reports.push(Sequenced { seq, body: body.to_vec() });
    }
    Ok((epoch, reports))
}

/// The first record after a position, and whether it explains a gap before it.
fn first_after(
    tables: &ReadTransaction,
    lane: Lane,
    after: Position,
) -> Result<Option<(Position, bool)>, StoreError> {
    let table = tables.open_table(SPOOL)?;
    let from = (key_of(lane), after.epoch, after.seq.saturating_add(1));
    let Some(first) = table.range(from..=(key_of(lane), u64::MAX, u64::MAX))?.next() else {
        return Ok(None);
    };
    let (key, value) = first?;
    let (_, epoch, seq) = key.value();
    Ok(Some((Position { epoch, seq }, state::is_gap(value.value().1))))
}
