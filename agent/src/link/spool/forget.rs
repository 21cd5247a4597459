//! What the spool lets go of, and when: the other half of the book.

use super::{
    book::{LaneBook, LaneEntry, Position, index, key_of},
    trail::Lost,
};
use crate::store::{SPOOL, StoreError};
use redb::{ReadableTable, WriteTransaction};
use unifyit_protocol::{
    envelope::Decoded,
    lane::Lane,
    report::{Gap, Report},
};

/// Bytes of a lane that stay after they were acknowledged, at most.
fn keep(lane: Lane, quota: u64) -> u64 {
    let most = match lane {
        Lane::Urgent => 1 << 20,
        Lane::Output => 4 << 20,
        // Inventory is told anew as a whole; samples are too many.
        Lane::State | Lane::Metrics => 0,
    };
    most.min(quota / 4)
}

/// A record that went for good: its lane, its place, when it was made.
pub(crate) type Gone = (Lane, Position, u64);

/// Where a lane goes on in a new epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// The relay has everything up to here.
    pub through: Position,
    /// The highest number that was ever given or that the relay spoke of: a restart
    /// does not take it for a setback once more.
    pub high: Position,
    /// What neither has any more.
    pub lost: Option<Lost>,
}

type Key = (u8, u64, u64);
type SpoolTable<'t> = redb::Table<'t, Key, (u64, &'static [u8])>;

impl LaneBook {
    /// Drops the oldest records of a lane until a tenth of its quota is free: first
    /// those that the relay has, then others, with a gap in their place.
    pub(super) fn make_room(
        &mut self,
        tables: &WriteTransaction,
        lane: Lane,
    ) -> Result<(), StoreError> {
        let goal = self.quotas.0[index(lane)] / 10 * 9;
        let entry = &mut self.lanes[index(lane)];
        let mut table = tables.open_table(SPOOL)?;
        let mut gap: Option<(Position, Gap)> = None;
        while entry.bytes > goal && entry.records > 1 {
            let Some((key, at_ms, body)) = first_of(&table, whole(lane))? else { break };
            let (at, size) = (Position { epoch: key.1, seq: key.2 }, body.len() as u64);
            table.remove(key)?;
            entry.bytes = entry.bytes.saturating_sub(size);
            entry.records = entry.records.saturating_sub(1);
            if at <= entry.acked {
                entry.kept = entry.kept.saturating_sub(size);
                self.gone.push((lane, at, at_ms));
                continue;
            }
            let (count, from_ms, to_ms) = match Report::decode(&body) {
                Ok(Decoded::Known(Report::Gap(old))) => (old.count, old.from_ms, old.to_ms),
                _ => (1, at_ms, at_ms),
            };
            gap = Some(match gap.take() {
                None => (at, new_gap(lane, count, from_ms, to_ms)),
                Some((_, mut gap)) => {
                    gap.count += count;
                    gap.to_ms = gap.to_ms.max(to_ms);
                    (at, gap)
                }
            });
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

    /// Removes what the relay holds durably, but for what is kept of it. Returns
    /// what is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn trim(
        &mut self,
        tables: &WriteTransaction,
        acked: [Position; 4],
    ) -> Result<Vec<Gone>, StoreError> {
        for lane in Lane::ALL {
            let through = acked[index(lane)];
            let entry = &mut self.lanes[index(lane)];
            if through <= entry.acked {
                continue;
            }
            self.dirty = true;
            if entry.records == 0 {
                entry.acked = through;
                continue;
            }
            let from = (key_of(lane), entry.acked.epoch, entry.acked.seq.saturating_add(1));
            entry.acked = through;
            let mut table = tables.open_table(SPOOL)?;
            for record in table.range(from..=(key_of(lane), through.epoch, through.seq))? {
                entry.kept += record?.1.value().1.len() as u64;
            }
            let keep = keep(lane, self.quotas.0[index(lane)]);
            while entry.kept > keep {
                let upto = (key_of(lane), 0, 0)..(key_of(lane), through.epoch, through.seq + 1);
                let Some((key, at_ms, body)) = first_of(&table, upto)? else {
                    entry.kept = 0;
                    break;
                };
                table.remove(key)?;
                let size = body.len() as u64;
                entry.kept = entry.kept.saturating_sub(size);
                entry.bytes = entry.bytes.saturating_sub(size);
                entry.records = entry.records.saturating_sub(1);
                self.gone.push((lane, Position { epoch: key.1, seq: key.2 }, at_ms));
            }
        }
        Ok(std::mem::take(&mut self.gone))
    }

    /// Starts an epoch later than `above` and moves everything into it that the
    /// relay lacks, for a relay whose memory does not continue ours. What neither
    /// has leaves a gap. `series` comes first in the metrics lane, because the relay
    /// may not know the columns any more.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn start_over(
        &mut self,
        tables: &WriteTransaction,
        above: u64,
        series: Option<(u64, Vec<u8>)>,
        cuts: &[Cut; 4],
    ) -> Result<(), StoreError> {
        self.epoch = self.epoch.max(above).saturating_add(1);
        let mut table = tables.open_table(SPOOL)?;
        for lane in Lane::ALL {
            let cut = &cuts[index(lane)];
            let entry = &mut self.lanes[index(lane)];
            let high = entry.high.max(Some(cut.high));
            *entry = LaneEntry { next: 1, high, ..LaneEntry::default() };
            let mut add = |table: &mut SpoolTable<'_>, at_ms, body: &[u8]| {
                let key = (key_of(lane), self.epoch, entry.next);
                table.insert(key, (at_ms, body))?;
                entry.last = Position { epoch: self.epoch, seq: entry.next };
                entry.high = entry.high.max(Some(entry.last));
                entry.next += 1;
                entry.records += 1;
                entry.bytes += body.len() as u64;
                Ok::<(), StoreError>(())
            };
            if let Some(Lost { count, from_ms, to_ms }) = cut.lost {
                tracing::warn!(?lane, count, "the relay lost reports that are not kept here");
                let reason = "The site relay was set back to an earlier state.".into();
                let gap = Gap { lane, count, from_ms, to_ms, reason };
                add(&mut table, to_ms, &Report::Gap(gap).encode()?)?;
            }
            if lane == Lane::Metrics
                && let Some((at_ms, body)) = &series
            {
                add(&mut table, *at_ms, body)?;
            }
            let old = (key_of(lane), 0, 0)..(key_of(lane), self.epoch, 0);
            // One at a time: the lane may be larger than memory should be.
            while let Some((key, at_ms, body)) = first_of(&table, old.clone())? {
                table.remove(key)?;
                if (Position { epoch: key.1, seq: key.2 }) > cut.through {
                    add(&mut table, at_ms, &body)?;
                }
            }
        }
        self.dirty = true;
        Ok(())
    }
}

fn first_of(
    table: &SpoolTable<'_>,
    range: std::ops::Range<Key>,
) -> Result<Option<(Key, u64, Vec<u8>)>, StoreError> {
    let Some(first) = table.range(range)?.next() else { return Ok(None) };
    let (key, value) = first?;
    let (at_ms, body) = value.value();
    Ok(Some((key.value(), at_ms, body.to_vec())))
}

fn whole(lane: Lane) -> std::ops::Range<Key> {
    (key_of(lane), 0, 0)..(key_of(lane) + 1, 0, 0)
}

pub(super) fn new_gap(lane: Lane, count: u64, from_ms: u64, to_ms: u64) -> Gap {
    let reason = "The computer's space for waiting reports was full.".into();
    Gap { lane, count, from_ms, to_ms, reason }
}
