//! The spool on disk: what a write transaction does to it.
//!
//! Records lie under (lane, epoch, sequence number). Each lane has a quota in
//! bytes of its own, so that no lane can push out another: when one is full its
//! oldest records give way to a [`Report::Gap`] under the last number dropped,
//! which is exactly the hole in the numbers that the relay accepts (G6).
//!
//! Outcomes and output are kept for a while after the relay has them, bounded in
//! bytes: a relay that is set back to an older state gets them again.

use super::{forget::Gone, trail::Trails};
use crate::store::{META, SPOOL, StoreError};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{codec, lane::Lane};

/// A place in a lane: epoch, then sequence number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position {
    /// Epoch.
    pub epoch: u64,
    /// Sequence number.
    pub seq: u64,
}

/// Bytes that each lane may hold on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas(pub [u64; 4]);

impl Quotas {
    /// Shares `total` bytes among the lanes.
    #[must_use]
    pub fn share(total: u64) -> Self {
        let part = |percent: u64| (total / 100 * percent).max(64 * 1024);
        Self([part(15), part(15), part(35), part(35)])
    }
}

/// Index of a lane in the spool's arrays.
pub(super) fn index(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => 0,
        Lane::State => 1,
        Lane::Output => 2,
        Lane::Metrics => 3,
    }
}

/// First part of the keys of a lane.
pub(super) fn key_of(lane: Lane) -> u8 {
    match lane {
        Lane::Urgent => 0,
        Lane::State => 1,
        Lane::Output => 2,
        Lane::Metrics => 3,
    }
}

/// Numbers and sizes of one lane on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneEntry {
    /// Next sequence number of the present epoch.
    #[serde(skip)]
    pub next: u64,
    /// Records on disk.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Last record on disk.
    pub last: Position,
    /// Known to be durable at the relay.
    pub acked: Position,
    /// Bytes of records on disk that are.
    pub kept: u64,
    /// Last record that was ever written here. `None` from a version that did not
    /// note it.
    pub high: Option<Position>,
}

/// The writer's account of the spool. Becomes true with the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBook {
    /// Epoch under which records are added.
    pub epoch: u64,
    /// One entry a lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneEntry; 4],
    /// Last record of each lane that was written in epochs before the present one.
    pub before: [Position; 4],
    pub(super) quotas: Quotas,
    pub(super) dirty: bool,
    pub(super) gone: Vec<Gone>,
    /// Whether records of the state lane were dropped: what the relay knows of
    /// the inventory is then incomplete.
    pub state_lost: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    epoch: u64,
    lanes: [LaneEntry; 4],
    #[serde(default)]
    state_lost: bool,
}

const SAVED: &str = "spool";

impl LaneBook {
    /// Whether there is none: the database was just made.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn is_absent(tables: &WriteTransaction) -> Result<bool, StoreError> {
        Ok(tables.open_table(META)?.get(SAVED)?.is_none())
    }

    /// Reads the book and starts an epoch: later than any before, and later than
    /// any that a lost database may have used.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn start(
        tables: &WriteTransaction,
        quotas: Quotas,
        now_ms: u64,
    ) -> Result<(Self, Trails), StoreError> {
        let saved: Option<Saved> = tables
            .open_table(META)?
            .get(SAVED)?
            .map(|bytes| codec::decode(bytes.value()))
            .transpose()?;
        let (last_epoch, lanes, state_lost) =
            saved.map_or_else(Default::default, |s| (s.epoch, s.lanes, s.state_lost));
        let epoch = now_ms.max(last_epoch.saturating_add(1));
        let unnoted = Position { epoch: last_epoch, seq: u64::MAX };
        let before = lanes.each_ref().map(|lane: &LaneEntry| lane.high.unwrap_or(unnoted));
        let gone = Vec::new();
        let mut book = Self { epoch, lanes, before, quotas, dirty: true, gone, state_lost };
        let mut trails = Trails::load(tables)?;
        for (lane, entry) in Lane::ALL.into_iter().zip(&mut book.lanes) {
            entry.next = 1;
            entry.high.get_or_insert(Position::default());
            if entry.kept == 0 {
                // The trail is written down seldom.
                trails.of(lane).note(entry.acked, now_ms);
            }
        }
        book.save(tables)?;
        Ok((book, trails))
    }

    /// Notes whether the relay's picture of the inventory is incomplete.
    pub fn set_state_lost(&mut self, lost: bool) {
        self.dirty |= self.state_lost != lost;
        self.state_lost = lost;
    }

    /// Writes the book down when it changed.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn save(&mut self, tables: &WriteTransaction) -> Result<(), StoreError> {
        if std::mem::take(&mut self.dirty) {
            tables.open_table(META)?.insert(SAVED, self.encoded()?.as_slice())?;
        }
        Ok(())
    }

    fn encoded(&self) -> Result<Vec<u8>, StoreError> {
        let saved = Saved { epoch: self.epoch, lanes: self.lanes, state_lost: self.state_lost };
        Ok(codec::encode(&saved)?)
    }

    /// Whether the file holds this book, and with it all that it accounts for: they are
    /// written in one commit.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn is_in(&self, tables: &WriteTransaction) -> Result<bool, StoreError> {
        let own = self.encoded()?;
        Ok(tables.open_table(META)?.get(SAVED)?.is_some_and(|bytes| bytes.value() == own))
    }

    /// What was added to the state lane since `before` is there though whoever told it
    /// was told that it is not: what it tells next may not continue that.
    pub fn doubt_state(&mut self, before: &Self) {
        let state = index(Lane::State);
        if self.lanes[state].high != before.lanes[state].high {
            self.set_state_lost(true);
        }
    }

    /// Adds a report under the next number of its lane.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn append(
        &mut self,
        tables: &WriteTransaction,
        lane: Lane,
        at_ms: u64,
        body: &[u8],
    ) -> Result<Position, StoreError> {
        let at = Position { epoch: self.epoch, seq: self.lanes[index(lane)].next };
        self.put(tables, lane, at, at_ms, body)?;
        Ok(at)
    }

    /// Adds a report under a number that it already has. It may be there already, from a
    /// commit that failed.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn put(
        &mut self,
        tables: &WriteTransaction,
        lane: Lane,
        at: Position,
        at_ms: u64,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let mut table = tables.open_table(SPOOL)?;
        let replaced = table
            .insert((key_of(lane), at.epoch, at.seq), (at_ms, body))?
            .map(|old| old.value().1.len() as u64);
        drop(table);
        let entry = &mut self.lanes[index(lane)];
        entry.next = entry.next.max(at.seq + 1);
        entry.records += u64::from(replaced.is_none());
        entry.bytes = entry.bytes.saturating_sub(replaced.unwrap_or(0)) + body.len() as u64;
        entry.last = entry.last.max(at);
        entry.high = entry.high.max(Some(at));
        self.dirty = true;
        if entry.bytes > self.quotas.0[index(lane)] {
            self.make_room(tables, lane)?;
        }
        Ok(())
    }
}
