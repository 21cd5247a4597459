//! The spool on disk: what a write transaction does to it.
//!
//! Records lie under (lane, epoch, sequence number). Each lane has a quota in
//! bytes of its own, so that no lane can push out another: when one is full its
//! oldest records give way to a [`Report::Gap`] under the last number dropped,
//! which is exactly the hole in the numbers that the relay accepts (G6).

use crate::store::{META, SPOOL, StoreError};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    lane::Lane,
    report::{Gap, Report},
};

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
}

/// The writer's account of the spool. Becomes true with the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBook {
    /// Epoch under which records are added.
    pub epoch: u64,
    /// One entry a lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneEntry; 4],
    quotas: Quotas,
    dirty: bool,
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
    /// Reads the book and starts an epoch: later than any before, and later than
    /// any that a lost database may have used.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn start(
        tables: &WriteTransaction,
        quotas: Quotas,
        now_ms: u64,
    ) -> Result<Self, StoreError> {
        let saved: Option<Saved> = tables
            .open_table(META)?
            .get(SAVED)?
            .map(|bytes| codec::decode(bytes.value()))
            .transpose()?;
        let (last_epoch, lanes, state_lost) =
            saved.map_or_else(Default::default, |s| (s.epoch, s.lanes, s.state_lost));
        let epoch = now_ms.max(last_epoch.saturating_add(1));
        let mut book = Self { epoch, lanes, quotas, dirty: true, state_lost };
        for lane in &mut book.lanes {
            lane.next = 1;
        }
        book.save(tables)?;
        Ok(book)
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
            let saved = Saved { epoch: self.epoch, lanes: self.lanes, state_lost: self.state_lost };
            tables.open_table(META)?.insert(SAVED, codec::encode(&saved)?.as_slice())?;
        }
        Ok(())
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

    /// Adds a report under a number that it already has.
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
        table.insert((key_of(lane), at.epoch, at.seq), (at_ms, body))?;
        drop(table);
        let entry = &mut self.lanes[index(lane)];
        entry.next = entry.next.max(at.seq + 1);
        entry.records += 1;
        entry.bytes += body.len() as u64;
        entry.last = entry.last.max(at);
        self.dirty = true;
        if entry.bytes > self.quotas.0[index(lane)] {
            self.make_room(tables, lane)?;
        }
        Ok(())
    }

    /// Drops the oldest records of a lane until a tenth of its quota is free,
    /// and leaves a gap in their place.
    fn make_room(&mut self, tables: &WriteTransaction, lane: Lane) -> Result<(), StoreError> {
        let goal = self.quotas.0[index(lane)] / 10 * 9;
        let entry = &mut self.lanes[index(lane)];
        let mut table = tables.open_table(SPOOL)?;
        let mut gap: Option<(Position, Gap)> = None;
        while entry.bytes > goal && entry.records > 1 {
            let key = {
                let mut range = table.range(whole(lane))?;
                let Some(first) = range.next() else { break };
                let (key, value) = first?;
                let (_, epoch, seq) = key.value();
                let (at_ms, body) = value.value();
                entry.bytes = entry.bytes.saturating_sub(body.len() as u64);
                let (count, from_ms, to_ms) = match Report::decode(body) {
                    Ok(Decoded::Known(Report::Gap(old))) => (old.count, old.from_ms, old.to_ms),
                    _ => (1, at_ms, at_ms),
                };
                let at = Position { epoch, seq };
                gap = Some(match gap.take() {
                    None => (at, new_gap(lane, count, from_ms, to_ms)),
                    Some((_, mut gap)) => {
                        gap.count += count;
                        gap.to_ms = gap.to_ms.max(to_ms);
                        (at, gap)
                    }
                });
                key.value()
            };
            table.remove(key)?;
            entry.records = entry.records.saturating_sub(1);
        }
        if let Some((at, gap)) = gap {
            tracing::warn!(
                ?lane,
                dropped = gap.count,
                "the spool is full; the oldest reports were dropped"
            );
            let (when, body) = (gap.to_ms, Report::Gap(gap).encode()?);
            table.insert((key_of(lane), at.epoch, at.seq), (when, body.as_slice()))?;
            entry.records += 1;
            entry.bytes += body.len() as u64;
            self.state_lost |= lane == Lane::State;
        }
        Ok(())
    }

    /// Removes what the relay holds durably.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn trim(
        &mut self,
        tables: &WriteTransaction,
        acked: [Position; 4],
    ) -> Result<(), StoreError> {
        for lane in Lane::ALL {
            let through = acked[index(lane)];
            let entry = &mut self.lanes[index(lane)];
            if through <= entry.acked {
                continue;
            }
            entry.acked = through;
            self.dirty = true;
            if entry.records == 0 {
                continue;
            }
            let range = (key_of(lane), 0, 0)..=(key_of(lane), through.epoch, through.seq);
            let mut table = tables.open_table(SPOOL)?;
            for removed in table.extract_from_if(range, |_, _| true)? {
                entry.bytes = entry.bytes.saturating_sub(removed?.1.value().1.len() as u64);
                entry.records = entry.records.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Starts an epoch later than `above` and moves everything that waits into
    /// it, for a relay whose memory does not continue ours. `series` comes first
    /// in the metrics lane, because the relay may not know the columns any more.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn start_over(
        &mut self,
        tables: &WriteTransaction,
        above: u64,
        series: Option<(u64, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.epoch = self.epoch.max(above).saturating_add(1);
        let mut table = tables.open_table(SPOOL)?;
        for lane in Lane::ALL {
            let entry = &mut self.lanes[index(lane)];
            *entry = LaneEntry { next: 1, ..LaneEntry::default() };
            let mut add = |table: &mut redb::Table<'_, _, _>, at_ms, body: &[u8]| {
                let key = (key_of(lane), self.epoch, entry.next);
                table.insert(key, (at_ms, body))?;
                entry.last = Position { epoch: self.epoch, seq: entry.next };
                entry.next += 1;
                entry.records += 1;
                entry.bytes += body.len() as u64;
                Ok::<(), StoreError>(())
            };
            if lane == Lane::Metrics
                && let Some((at_ms, body)) = &series
            {
                add(&mut table, *at_ms, body)?;
            }
            let old = (key_of(lane), 0, 0)..(key_of(lane), self.epoch, 0);
            // One at a time: the lane may be larger than memory should be.
            while let Some((key, at_ms, body)) = first_of(&table, old.clone())? {
                table.remove(key)?;
                add(&mut table, at_ms, &body)?;
            }
        }
        self.dirty = true;
        Ok(())
    }
}

type Key = (u8, u64, u64);
type SpoolTable<'t> = redb::Table<'t, Key, (u64, &'static [u8])>;

fn first_of(
    table: &SpoolTable<'_>,
    range: std::ops::Range<Key>,
) -> Result<Option<(Key, u64, Vec<u8>)>, StoreError> {
    let Some(first) = table.range(range)?.next() else { return Ok(None) };
    let (key, value) = first?;
    let (at_ms, body) = value.value();
    Ok(Some((key.value(), at_ms, body.to_vec())))
}

pub(super) fn whole(lane: Lane) -> std::ops::RangeInclusive<Key> {
    (key_of(lane), 0, 0)..=(key_of(lane), u64::MAX, u64::MAX)
}

pub(super) fn new_gap(lane: Lane, count: u64, from_ms: u64, to_ms: u64) -> Gap {
    let reason = "The computer's space for waiting reports was full.".into();
    Gap { lane, count, from_ms, to_ms, reason }
}
