//! What records are to the store: how they are packed, whose they are, whether they
//! may go, and what was lost.

use super::txn::Txn;
use std::collections::BTreeMap;
use unifyit_protocol::{ids::DeviceId, link::UpRecord};

/// Most entries in one record.
const MAX_ENTRIES_A_RECORD: usize = 1000;
/// Bytes that one device may have in an hour in records that it shares with others.
/// What it has beyond travels in records of its own, which are accounted to it.
const SHARED_AN_HOUR: u64 = 64 * 1024;
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// What a device had in shared records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InShared {
    hour: u64,
    bytes: u64,
}

/// A record that may go.
pub(super) struct Victim {
    pub(super) position: u64,
    pub(super) bytes: u64,
    /// Of when its content is: first and last moment.
    pub(super) span_ms: (u64, u64),
    pub(super) kept: bool,
    pub(super) device: Option<DeviceId>,
}

/// What was lost, by device; beyond a bound it is put down to the site.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) rows: Vec<(Option<DeviceId>, u64, u64, u64)>,
}

impl Losses {
    const MAX: usize = 64;

    pub(super) fn add(&mut self, device: Option<DeviceId>, (first_ms, last_ms): (u64, u64)) {
        let known = self.rows.iter().any(|r| r.0 == device);
        let device = if known || self.rows.len() < Self::MAX { device } else { None };
        match self.rows.iter_mut().find(|r| r.0 == device) {
            Some((_, count, from, to)) => {
                *count += 1;
                *from = (*from).min(first_ms);
                *to = (*to).max(last_ms);
            }
            None => self.rows.push((device, 1, first_ms, last_ms)),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.rows.iter().map(|r| r.1).sum()
    }
}

/// Whether a record stays while others go for want of space.
pub(super) fn stays(record: &UpRecord) -> bool {
    matches!(record, UpRecord::Series(_) | UpRecord::Gap(_) | UpRecord::Audit(_))
}

/// Whose record it is, where it is one device's.
pub(super) fn device_of(record: &UpRecord) -> Option<DeviceId> {
    match record {
        UpRecord::Inventory(i) => Some(i.device),
        UpRecord::Output(o) => Some(o.device),
        UpRecord::Series(s) => Some(s.device),
        UpRecord::Enrolled(e) => Some(e.device),
        UpRecord::Gap(g) => g.device,
        UpRecord::Feature(f) => f.device,
        UpRecord::Shared(shared) => Some(shared.device),
        UpRecord::Metrics(m) => one_device(m.iter().map(|one| one.device)),
        UpRecord::Progress(p) => one_device(p.iter().map(|one| one.device)),
        UpRecord::Presence(p) => one_device(p.iter().map(|one| one.device)),
        UpRecord::Clocks(c) => one_device(c.iter().map(|one| one.device)),
        _ => None,
    }
}

/// Of when a record that was written at a moment is: blocks of measurements reach
/// back.
pub(super) fn span_ms(record: &UpRecord, at_ms: u64) -> (u64, u64) {
    let UpRecord::Metrics(list) = record else { return (at_ms, at_ms) };
    let first = list.iter().filter_map(|one| one.block.first_minute()).min();
    (first.map_or(at_ms, |minute| minute.saturating_mul(MINUTE_MS).min(at_ms)), at_ms)
}

fn one_device(mut devices: impl Iterator<Item = DeviceId>) -> Option<DeviceId> {
    let first = devices.next()?;
    devices.all(|device| device == first).then_some(first)
}

impl Txn<'_> {
    /// Groups entries for records of about so many bytes at most, given whose each is
    /// and its bytes: what one device says at length must not make others' entries
    /// unsendable, nor hide among them. Entries of a device keep their order.
    pub(crate) fn packed<T>(
        &mut self,
        entries: Vec<T>,
        most: usize,
        of: impl Fn(&T) -> (DeviceId, usize),
    ) -> Vec<Vec<T>> {
        let mut shared = Vec::new();
        let mut own: BTreeMap<DeviceId, Vec<T>> = BTreeMap::new();
        for entry in entries {
            let (device, bytes) = of(&entry);
            match self.shares(device, bytes) {
                true => shared.push(entry),
                false => own.entry(device).or_default().push(entry),
            }
        }
        let mut records: Vec<Vec<T>> = Vec::new();
        for group in std::iter::once(shared).chain(own.into_values()) {
            let (mut record, mut held): (Vec<T>, usize) = (Vec::new(), 0);
            for entry in group {
                let bytes = of(&entry).1;
                let full = held + bytes > most || record.len() >= MAX_ENTRIES_A_RECORD;
                if full && !record.is_empty() {
                    records.push(std::mem::take(&mut record));
                    held = 0;
                }
                held += bytes;
                record.push(entry);
            }
            if !record.is_empty() {
                records.push(record);
            }
        }
        records
    }

    /// Whether an entry may share a record with others'.
    fn shares(&mut self, device: DeviceId, bytes: usize) -> bool {
        let hour = self.now_ms / HOUR_MS;
        let so_far = self.mem.in_shared.entry(device).or_default();
        if so_far.hour != hour {
            *so_far = InShared { hour, bytes: 0 };
        }
        so_far.bytes = so_far.bytes.saturating_add(bytes as u64);
        so_far.bytes <= SHARED_AN_HOUR
    }
}
