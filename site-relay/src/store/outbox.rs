//! The outbox: what waits for the cloud, lane by lane (G1, G2, G5).
//!
//! A row's key is its *position*, which only rises. What the wire calls a
//! sequence number is `position - base` of its epoch's [`Segment`], so that a
//! new epoch rewrites no row. Every start of the relay opens a new epoch: a disk
//! restored from an old copy then never reuses a number that the cloud has seen
//! (see [`unifyit_protocol::lane`]). Rows go when the cloud acknowledged them.
//!
//! Rows dropped for want of space leave a hole in the numbers, which the lane
//! machine steps over, and a gap record in the urgent lane, which says what was
//! lost (G6).

use super::{
    error::StoreError,
    records::{Losses, Victim, device_of, span_ms, stays},
    tables::{self, LANES, OUTBOX},
    txn::Txn,
};
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    ids::DeviceId,
    lane::{Fetch, Lane, MAX_RECORD, SenderPosition, Trim},
    link::{DeviceGap, UpRecord},
    report::Gap,
};

/// Rows dropped in one commit at most, so that no commit takes long.
const MAX_ROWS_A_COMMIT: usize = 4096;
/// Numbers of a hole that are filled up at most, see [`read`].
const MAX_FILLED: u64 = 32;
/// Length of the time stamp before each record.
pub(super) const STAMP: usize = 8;

/// An epoch of a lane that still has records, or is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The epoch.
    pub epoch: u64,
    /// Position that is sequence number 0.
    pub base: u64,
}

/// Where a lane of the outbox stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneState {
    /// Oldest first; the last is the one written.
    pub segments: Vec<Segment>,
    /// Last position that the cloud has.
    pub acked: u64,
    /// Last position given out.
    pub tail: u64,
    /// Up to here rows may have been dropped.
    pub dropped: u64,
    /// Bytes and rows waiting, as written: what waits is not read to count it. None
    /// in files of before.
    pub counted: Option<(u64, u64)>,
    /// Bytes waiting.
    #[serde(skip)]
    pub bytes: u64,
    /// Rows waiting.
    #[serde(skip)]
    pub records: u64,
}

impl LaneState {
    /// What the lane machine is told, an entry a segment.
    pub fn positions(&self, lane: Lane) -> impl Iterator<Item = SenderPosition> {
        self.spans().map(move |(segment, end)| SenderPosition {
            lane,
            epoch: segment.epoch,
            acked: self.acked.clamp(segment.base, end) - segment.base,
            tail: end - segment.base,
        })
    }

    /// Epochs with the last number that may have been dropped in them.
    pub fn dropped_numbers(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans()
            .filter(|(segment, _)| self.dropped > segment.base)
            .map(|(segment, end)| (segment.epoch, self.dropped.min(end) - segment.base))
    }

    /// Last number of the epoch that is written.
    #[must_use]
    pub fn tail_seq(&self) -> u64 {
        self.tail - self.segments.last().map_or(self.tail, |s| s.base)
    }

    /// Epoch that is written.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.epoch)
    }

    fn spans(&self) -> impl Iterator<Item = (Segment, u64)> {
        let ends = self.segments.iter().skip(1).map(|s| s.base).chain([self.tail]);
        self.segments.iter().copied().zip(ends)
    }

    fn position(&self, epoch: u64, seq: u64) -> Option<u64> {
        let (segment, end) = self.spans().find(|(s, _)| s.epoch == epoch)?;
        segment.base.checked_add(seq).filter(|p| *p <= end)
    }

    fn retire(&mut self) {
        while self.segments.get(1).is_some_and(|next| next.base <= self.acked) {
            self.segments.remove(0);
        }
    }
}

/// The four lanes, most urgent first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lanes {
    /// A state a lane.
    pub states: [LaneState; 4],
}

impl Lanes {
    /// The state of a lane.
    #[must_use]
    pub fn of(&self, lane: Lane) -> &LaneState {
        &self.states[lane.index()]
    }

    pub(crate) fn load(tx: &ReadTransaction) -> Result<Self, StoreError> {
        let mut lanes = Self::default();
        let rows = tx.open_table(LANES)?;
        let outbox = tx.open_table(OUTBOX)?;
        for (key, state) in (0u8..).zip(&mut lanes.states) {
            if let Some(row) = rows.get(key)? {
                *state = codec::decode_within(row.value(), usize::MAX)?;
            }
            if let Some((bytes, records)) = state.counted {
                (state.bytes, state.records) = (bytes, records);
                continue;
            }
            for row in outbox.range((key, 0)..=(key, u64::MAX))? {
                state.bytes += row?.1.value().len() as u64;
                state.records += 1;
            }
        }
        Ok(lanes)
    }
}

/// Reads what the lane machine asked for: numbered records, up to the first wide hole
/// after the first of them. A frame has no words for holes between its records, so
/// the numbers of narrow ones, which one device's dropped rows leave between those
/// of others, are filled with records that say nothing: else each would travel alone.
pub(crate) fn read(
    tx: &ReadTransaction,
    state: &LaneState,
    fetch: &Fetch,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let key = tables::lane_key(fetch.lane);
    let Some((segment, end)) = state.spans().find(|(s, _)| s.epoch == fetch.epoch) else {
        return Ok(Vec::new());
    };
    let from = segment.base + fetch.after + 1;
    let nothing = UpRecord::Presence(Vec::new()).encode()?;
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    for row in tx.open_table(OUTBOX)?.range((key, from)..=(key, end))? {
        let (position, value) = row?;
        let seq = position.value().1 - segment.base;
        let record = value.value().get(STAMP..).unwrap_or_default();
        let next = records.last().map_or(seq, |(last, _)| last + 1);
        let missing = seq.saturating_sub(next);
        let wide = missing > MAX_FILLED || (missing > 0 && position.value().1 > state.dropped);
        let filled = usize::try_from(missing).unwrap_or(usize::MAX);
        bytes += record.len() + filled.saturating_mul(nothing.len());
        if wide
            || (!records.is_empty() && bytes > fetch.max_bytes)
            || records.len().saturating_add(filled) >= fetch.max_records
        {
            break;
        }
        records.extend((next..seq).map(|number| (number, nothing.clone())));
        records.push((seq, record.to_vec()));
    }
    Ok(records)
}

impl Txn<'_> {
    /// Appends a record to a lane of the outbox.
    pub(crate) fn append(&mut self, lane: Lane, record: &UpRecord) -> Result<(), StoreError> {
        let bytes = record.encode()?;
        if bytes.len() <= MAX_RECORD {
            return self.append_encoded(lane, &bytes, device_of(record), stays(record));
        }
        tracing::warn!(?lane, bytes = bytes.len(), "a record too large for the link was dropped");
        let reason = "A record was larger than what the link to the cloud carries.";
        self.gap(device_of(record), lane, 1, reason)
    }

    /// States a loss that is of this moment.
    pub(crate) fn gap(
        &mut self,
        device: Option<DeviceId>,
        lane: Lane,
        count: u64,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (from_ms, to_ms) = (self.now_ms, self.now_ms);
        let gap = Gap { lane, count, from_ms, to_ms, reason: reason.to_owned() };
        let record = UpRecord::Gap(DeviceGap { device, gap }).encode()?;
        self.append_encoded(Lane::Urgent, &record, device, true)
    }

    fn append_encoded(
        &mut self,
        lane: Lane,
        record: &[u8],
        owner: Option<DeviceId>,
        kept: bool,
    ) -> Result<(), StoreError> {
        let mut value = Vec::with_capacity(STAMP + record.len());
        value.extend_from_slice(&self.now_ms.to_le_bytes());
        value.extend_from_slice(record);
        let state = self.lane_mut(lane);
        state.tail += 1;
        state.bytes += value.len() as u64;
        state.records += 1;
        let key = (tables::lane_key(lane), state.tail);
        self.outbox()?.insert(key, value.as_slice())?;
        match owner {
            Some(device) => self.own(key, device, value.len() as u64, kept),
            None => Ok(()),
        }
    }

    /// The cloud has a lane durably up to a number: forgets the rows.
    pub(crate) fn trim(&mut self, trim: &Trim) -> Result<(), StoreError> {
        let state = self.lane_mut(trim.lane);
        let Some(upto) = state.position(trim.epoch, trim.through) else { return Ok(()) };
        if upto <= state.acked {
            return Ok(());
        }
        state.acked = upto;
        state.dropped = state.dropped.max(upto);
        state.retire();
        let key = tables::lane_key(trim.lane);
        let (mut bytes, mut records) = (0, 0);
        self.outbox()?.retain_in((key, 0)..=(key, upto), |_, value| {
            bytes += value.len() as u64;
            records += 1;
            false
        })?;
        self.disown_through(key, upto)?;
        let state = self.lane_mut(trim.lane);
        state.bytes = state.bytes.saturating_sub(bytes);
        state.records = state.records.saturating_sub(records);
        Ok(())
    }

    /// Opens a new epoch in every lane: at each start, and when the cloud knows
    /// of an epoch that this disk does not (G2). An epoch without records is
    /// renamed, so that starts alone leave nothing behind.
    pub(crate) fn start_epochs(&mut self, at_least: u64) -> Result<u64, StoreError> {
        let newest = self.mem.lanes.states.iter().map(LaneState::epoch).max().unwrap_or(0);
        let epoch = (newest + 1).max(self.now_ms).max(at_least);
        for lane in Lane::ALL {
            let state = self.lane_mut(lane);
            let base = state.tail;
            if state.segments.last().is_some_and(|s| s.base == base) {
                state.segments.pop();
            }
            state.segments.push(Segment { epoch, base });
            state.retire();
        }
        Ok(epoch)
    }

    /// The cloud knows a later epoch than this disk: the disk is an old copy and
    /// the clock went back. What was written since the start is unknown to the
    /// cloud, so it goes on under a later epoch, with the same numbers.
    pub(crate) fn rename_epochs(&mut self, beyond: u64) -> Result<(), StoreError> {
        let newest = self.mem.lanes.states.iter().map(LaneState::epoch).max().unwrap_or(0);
        let epoch = (newest.max(beyond) + 1).max(self.now_ms);
        for lane in Lane::ALL {
            if let Some(last) = self.lane_mut(lane).segments.last_mut() {
                last.epoch = epoch;
            }
        }
        Ok(())
    }

    /// Drops the oldest records of a lane until about `bytes` are free, first those
    /// of a device that takes more than its share, and leaves gap records. Series
    /// tables stay: without them later rollups could
    /// not be read; so do gaps and audit entries. Returns how many went.
    pub(crate) fn drop_oldest(
        &mut self,
        lane: Lane,
        bytes: u64,
        reason: &str,
    ) -> Result<u64, StoreError> {
        let key = tables::lane_key(lane);
        let victims = match self.of_the_greediest(lane, bytes, MAX_ROWS_A_COMMIT)? {
            Some(victims) => victims,
            None => {
                let from = self.mem.swept[lane.index()].max(self.mem.lanes.of(lane).acked) + 1;
                let victims = self.victims(key, from, bytes)?;
                if let Some(last) = victims.last() {
                    self.mem.swept[lane.index()] = last.position;
                }
                victims
            }
        };
        let mut losses = Losses::default();
        let mut freed = 0;
        for victim in victims.iter().filter(|v| !v.kept) {
            freed += victim.bytes;
            losses.add(victim.device, victim.span_ms);
            self.outbox()?.remove((key, victim.position))?;
            self.disown_one((key, victim.position))?;
        }
        let lost = losses.total();
        let state = self.lane_mut(lane);
        if let Some(last) = victims.last() {
            state.dropped = state.dropped.max(last.position);
        }
        state.bytes = state.bytes.saturating_sub(freed);
        state.records = state.records.saturating_sub(lost);
        for (device, count, from_ms, to_ms) in losses.rows {
            let gap = Gap { lane, count, from_ms, to_ms, reason: reason.to_owned() };
            self.append(Lane::Urgent, &UpRecord::Gap(DeviceGap { device, gap }))?;
        }
        Ok(lost)
    }

    fn victims(&mut self, key: u8, from: u64, bytes: u64) -> Result<Vec<Victim>, StoreError> {
        let mut victims = Vec::new();
        let mut found = 0;
        for row in self.outbox()?.range((key, from)..=(key, u64::MAX))? {
            let (position, value) = row?;
            let value = value.value();
            let size = value.len() as u64;
            let at_ms = stamp(value);
            let (kept, device, span_ms) =
                match UpRecord::decode(value.get(STAMP..).unwrap_or_default()) {
                    Ok(Decoded::Known(record)) => {
                        (stays(&record), device_of(&record), span_ms(&record, at_ms))
                    }
                    _ => (false, None, (at_ms, at_ms)),
                };
            found += if kept { 0 } else { size };
            let position = position.value().1;
            victims.push(Victim { position, bytes: size, span_ms, kept, device });
            if found >= bytes || victims.len() >= MAX_ROWS_A_COMMIT {
                break;
            }
        }
        Ok(victims)
    }
}

/// When a row was written.
pub(super) fn stamp(value: &[u8]) -> u64 {
    value.first_chunk::<STAMP>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
