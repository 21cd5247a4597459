//! What one device may take of the disk, so that it cannot crowd others out.
//!
//! Records that are one device's own are accounted to it while they wait for the
//! cloud. When a lane is over its quota, the device that takes more than its share
//! loses its oldest records first; only where nobody does, the oldest of all go.
//! What a part keeps of a device it bounds itself.

use super::{
    error::StoreError,
    outbox::STAMP,
    records::{Victim, span_ms},
    tables,
    txn::Txn,
};
use redb::ReadableTable as _;
use unifyit_protocol::{envelope::Decoded, ids::DeviceId, lane::Lane, link::UpRecord};

/// A device that takes more than one part in so many of a lane is the first to lose.
const SHARES: u64 = 4;
/// Bytes of series tables, gaps and the like of one device in a lane, which stay
/// while others go: beyond, they go too.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of a lane that are looked at for one device's in one commit.
const MAX_LOOKED_AT: usize = if cfg!(test) { 256 } else { 131_072 };

/// What a device has waiting in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waiting {
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Of these, bytes of records that stay while others go.
    pub(crate) kept: u64,
    /// Up to here its records were looked for: only such as stay are left, or, the
    /// second time, none.
    swept: [u64; 2],
}

impl Txn<'_> {
    /// Accounts a record to its device.
    pub(super) fn own(
        &mut self,
        key: (u8, u64),
        device: DeviceId,
        bytes: u64,
        kept: bool,
    ) -> Result<(), StoreError> {
        let waiting = self.mem.waiting.entry((key.0, device)).or_default();
        waiting.bytes += bytes;
        waiting.kept += if kept { bytes } else { 0 };
        let row = (tables::device_key(device), u32::try_from(bytes).unwrap_or(u32::MAX), kept);
        self.owners()?.insert(key, row)?;
        Ok(())
    }

    fn disown(&mut self, lane: u8, (device, bytes, kept): (u128, u32, bool)) {
        let key = (lane, tables::device_of(device));
        if let Some(waiting) = self.mem.waiting.get_mut(&key) {
            let bytes = u64::from(bytes);
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
            waiting.kept = waiting.kept.saturating_sub(if kept { bytes } else { 0 });
            if waiting.bytes == 0 {
                self.mem.waiting.remove(&key);
            }
        }
    }

    /// Forgets whose the records up to a position were.
    pub(super) fn disown_through(&mut self, lane: u8, upto: u64) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        self.owners()?.retain_in((lane, 0)..=(lane, upto), |_, row| {
            gone.push(row);
            false
        })?;
        gone.into_iter().for_each(|row| self.disown(lane, row));
        Ok(())
    }

    /// Forgets whose a record was.
    pub(super) fn disown_one(&mut self, key: (u8, u64)) -> Result<(), StoreError> {
        let row = self.owners()?.remove(key)?.map(|row| row.value());
        if let Some(row) = row {
            self.disown(key.0, row);
        }
        Ok(())
    }

    /// The oldest records of the device that takes more than its share of a lane, as
    /// far as a bounded look finds them: the next one goes on. `None` where no device
    /// takes more.
    pub(super) fn of_the_greediest(
        &mut self,
        lane: Lane,
        bytes: u64,
        most: usize,
    ) -> Result<Option<Vec<Victim>>, StoreError> {
        let key = tables::lane_key(lane);
        let share = self.mem.lanes.of(lane).bytes / SHARES;
        let of_lane = self.mem.waiting.iter().filter(|((lane, _), _)| *lane == key);
        let greediest = of_lane.max_by_key(|(_, waiting)| waiting.bytes);
        let Some((device, waiting)) = greediest.map(|((_, device), w)| (*device, *w)) else {
            return Ok(None);
        };
        let spare_kept = waiting.kept <= KEPT_BYTES;
        if waiting.bytes <= share || (spare_kept && waiting.bytes == waiting.kept) {
            return Ok(None);
        }
        let wanted = bytes.min(waiting.bytes - share).max(1);
        let sweep = usize::from(!spare_kept);
        let from = self.mem.lanes.of(lane).acked.max(waiting.swept[sweep]) + 1;
        let mut positions = Vec::new();
        let (mut found, mut swept, mut more) = (0, from, false);
        for (looked_at, row) in self.owners()?.range((key, from)..=(key, u64::MAX))?.enumerate() {
            let (at, row) = row?;
            let (owner, size, kept) = row.value();
            more = found >= wanted || positions.len() >= most || looked_at >= MAX_LOOKED_AT;
            if more {
                break;
            }
            swept = at.value().1;
            if owner == tables::device_key(device) && !(kept && spare_kept) {
                found += u64::from(size);
                positions.push(swept);
            }
        }
        self.mem.looking = positions.is_empty() && more;
        if positions.is_empty() && !more {
            return Ok(None);
        }
        if let Some(waiting) = self.mem.waiting.get_mut(&(key, device)) {
            waiting.swept[sweep] = swept;
        }
        let mut victims = Vec::with_capacity(positions.len());
        for position in positions {
            if let Some(row) = self.outbox()?.get((key, position))? {
                let value = row.value();
                let at_ms = super::outbox::stamp(value.get(..STAMP).unwrap_or_default());
                let span_ms = match UpRecord::decode(value.get(STAMP..).unwrap_or_default()) {
                    Ok(Decoded::Known(record)) => span_ms(&record, at_ms),
                    _ => (at_ms, at_ms),
                };
                let (bytes, device) = (value.len() as u64, Some(device));
                victims.push(Victim { position, bytes, span_ms, kept: false, device });
            }
        }
        Ok(Some(victims))
    }
}

#[cfg(test)]
mod tests;
