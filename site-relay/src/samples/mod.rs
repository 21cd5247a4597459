//! Samples on their way into one-minute rollups, exactly once.
//!
//! A sample is kept raw in the commit that moves the device's cursor, and marks
//! its (minute, device) as due in the same commit. Closing a minute reads its
//! raw samples from a snapshot, makes the rollup outside the writer, and then, in
//! one commit, appends it to the outbox and removes the mark. So a crash leaves
//! the minute either due, and it is made again from raw, or done.
//!
//! When a minute travels is said by [`crate::travel`]; until then it lies here, due.
//!
//! A late sample (a device drains its spool after an outage) marks its old
//! minute as due again: the rollup made then covers all samples of that minute
//! and replaces the earlier one at the cloud, which keeps one rollup a device and
//! minute. Samples of a device come in order, so a minute is complete as soon as
//! the device's next sample belongs to another; many late minutes travel packed
//! in one block.

mod rows;
mod share;

use crate::{
    store::{StoreError, rows as stored, tables, txn::Txn},
    travel::Ripe,
};
use redb::{ReadTransaction, ReadableTable as _};
use rows::{RAW, SERIES};
use std::collections::BTreeMap;
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    ids::DeviceId,
    lane::Lane,
    link::{DeviceGap, DeviceMetrics, DeviceSeries, UpRecord},
    report::{Gap, Report},
    telemetry::{RollupBlock, Sample, SeriesTable},
};

/// Milliseconds of a minute.
pub(crate) const MINUTE_MS: u64 = 60_000;
/// How long after its end a minute is closed, and how long a minute must have
/// been quiet.
pub(crate) const SETTLE_MS: u64 = 5_000;
/// Raw samples of a device that was late this recently are not pruned: more of
/// the same minutes may come, and their rollup must cover all.
const LATE_KEPT_MS: u64 = 600_000;
/// Samples may be ahead of the site's time by less than this.
const AHEAD_MINUTES: u64 = 3;
/// Due minutes taken up in one go.
const MAX_DUE: usize = 8192;
/// Minutes of all devices that may wait for their blocks; beyond, none waits.
const MOST_OPEN: usize = 300_000;
/// Blocks are packed into records of about this many bytes.
const RECORD_BYTES: usize = 192 * 1024;
/// Bytes that a block takes beside its columns.
const BLOCK_BYTES: usize = 48;
/// Raw samples pruned in one commit at most, and looked at.
const MAX_PRUNED: usize = 8192;
const MAX_LOOKED_AT: usize = 131_072;

/// Samples, as a part of the store.
pub(crate) struct Samples;

/// What is remembered of a minute that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Samples seen by this process: moves when another one comes.
    pub(crate) count: u64,
    /// When the last of them came.
    pub(crate) touched_ms: u64,
}

/// (minute, device, Unix milliseconds, tag) of a raw sample.
pub(super) type RawKey = (u64, u128, u64, u64);

/// A minute to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Unix minute.
    pub(crate) minute: u64,
    /// Whose.
    pub(crate) device: DeviceId,
    /// Its mark when it was found due.
    pub(crate) count: u64,
}

/// Rollups of one device that are ready, with the minutes they close.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    /// Whose.
    pub(crate) device: DeviceId,
    /// A block a series table.
    pub(crate) blocks: Vec<RollupBlock>,
    /// Minutes closed by them.
    pub(crate) minutes: Vec<Due>,
}

/// The raw samples of a device's minute, in order of time.
pub(crate) fn raw(
    tx: &ReadTransaction,
    device: DeviceId,
    minute: u64,
) -> Result<Vec<Sample>, StoreError> {
    let key = tables::device_key(device);
    let range = (minute, key, 0, 0)..=(minute, key, u64::MAX, u64::MAX);
    let mut samples = Vec::new();
    for row in tx.open_table(RAW)?.range(range)? {
        if let Ok(Decoded::Known(Report::Sample(sample))) = Report::decode(row?.1.value()) {
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// A device's series table.
pub(crate) fn series(
    tx: &ReadTransaction,
    device: DeviceId,
    table: u32,
) -> Result<Option<SeriesTable>, StoreError> {
    let key = (tables::device_key(device), table);
    match tx.open_table(SERIES)?.get(key)? {
        Some(bytes) => Ok(stored::read("series", bytes.value())),
        None => Ok(None),
    }
}

impl Txn<'_> {
    /// Samples of a device's minute that this process saw and are not summed up.
    pub(crate) fn samples_open(&self, device: DeviceId, minute: u64) -> u64 {
        self.mem.parts.samples.dirty.get(&(minute, device)).map_or(0, |mark| mark.count)
    }

    /// Takes a series table; the cloud is told of each once.
    pub(crate) fn take_series(
        &mut self,
        device: DeviceId,
        table: SeriesTable,
    ) -> Result<(), StoreError> {
        let hash = table.hash();
        if !self.know_series(device, hash)? {
            return Ok(());
        }
        let bytes = codec::encode(&table)?;
        self.series()?.insert((tables::device_key(device), hash), bytes.as_slice())?;
        self.append(Lane::Metrics, &UpRecord::Series(DeviceSeries { device, table }))
    }

    /// Tells columns of a device anew; `told` counts their bytes. Whether no more than
    /// `most` were told, so that all were.
    pub(crate) fn tell_series(
        &mut self,
        device: DeviceId,
        wanted: Option<u32>,
        told: &mut usize,
        most: usize,
    ) -> Result<bool, StoreError> {
        let key = tables::device_key(device);
        let (first, last) = wanted.map_or((0, u32::MAX), |hash| (hash, hash));
        let mut known = Vec::new();
        for row in self.series()?.range((key, first)..=(key, last))? {
            let row = row?.1;
            if *told > most {
                break;
            }
            *told += row.value().len();
            known.extend(stored::read::<SeriesTable>("series", row.value()));
        }
        for table in known {
            let series = DeviceSeries { device, table };
            self.append(Lane::Metrics, &UpRecord::Series(series))?;
        }
        Ok(*told <= most)
    }

    /// Keeps a sample and marks its minute as due. `body` is its report as it
    /// came, `tag` tells samples of the same millisecond apart.
    pub(crate) fn take_sample(
        &mut self,
        device: DeviceId,
        at_ms: u64,
        tag: u64,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let minute = at_ms / MINUTE_MS;
        let key = tables::device_key(device);
        self.raw()?.insert((minute, key, at_ms, tag), body)?;
        let now_ms = self.now_ms;
        let mark = self.mem.parts.samples.dirty.entry((minute, device));
        let fresh = matches!(mark, std::collections::btree_map::Entry::Vacant(_));
        let mark = mark.or_default();
        mark.count += 1;
        mark.touched_ms = now_ms;
        if fresh {
            self.dirty()?.insert((minute, key), ())?;
        }
        self.mem.parts.samples.minute_of.insert(device, minute);
        if minute + 2 < now_ms / MINUTE_MS {
            self.mem.parts.samples.late.insert(device, now_ms);
        }
        Ok(())
    }

    /// Minutes that can be closed: ripe, and over and settled, or left behind by a
    /// device whose samples moved on. Those of a device stand together.
    pub(crate) fn due(&mut self, ripe: &Ripe) -> Vec<Due> {
        let now_ms = self.now_ms;
        // What was touched later than now was touched before the time was set back.
        let settled = |mark: &Mark| {
            mark.touched_ms.saturating_add(SETTLE_MS) <= now_ms || mark.touched_ms > now_ms
        };
        let full = self.mem.parts.samples.dirty.len() > MOST_OPEN;
        if full != std::mem::replace(&mut self.mem.parts.samples.packs_early, full) && full {
            tracing::warn!("more minutes wait for their blocks than are kept open: none waits");
        }
        let mem = &self.mem.parts.samples;
        let before = if full { u64::MAX } else { ripe.before };
        let last = now_ms / MINUTE_MS + AHEAD_MINUTES;
        let wanted = (before..=last)
            .flat_map(|minute| ripe.wanted.iter().map(move |device| (minute, *device)))
            .filter_map(|key| mem.dirty.get_key_value(&key));
        let edge = (before, DeviceId(uuid::Uuid::nil()));
        let due = mem.dirty.range(..edge).chain(wanted);
        let due = due.filter(|((minute, device), mark)| {
            let over = (minute + 1) * MINUTE_MS + SETTLE_MS <= now_ms;
            let left = mem.minute_of.get(device).is_some_and(|at| at != minute);
            if over { left || settled(mark) } else { left && settled(mark) }
        });
        let due = due.map(|((minute, device), mark)| Due {
            minute: *minute,
            device: *device,
            count: mark.count,
        });
        let mut due: Vec<Due> = due.take(MAX_LOOKED_AT).collect();
        due.sort_unstable_by_key(|due| (due.device, due.minute));
        if let Some(beyond) = due.get(MAX_DUE) {
            // A device's minutes are one block, so it is taken whole or later.
            let whole = due.partition_point(|due| due.device < beyond.device);
            due.truncate(if whole == 0 { MAX_DUE } else { whole });
        }
        due
    }

    /// Appends rollups and removes the marks of their minutes. A device of whom
    /// another sample came in between is left for the next time. Returns how many
    /// minutes were closed.
    pub(crate) fn close_minutes(&mut self, closed: Vec<Closed>) -> Result<usize, StoreError> {
        let mut entries = Vec::new();
        let mut count = 0;
        for Closed { device, blocks, minutes } in closed {
            let current = |due: &Due| {
                self.mem
                    .parts
                    .samples
                    .dirty
                    .get(&(due.minute, device))
                    .is_some_and(|m| m.count == due.count)
            };
            if !minutes.iter().all(current) {
                continue;
            }
            for due in &minutes {
                self.mem.parts.samples.dirty.remove(&(due.minute, device));
                self.dirty()?.remove((due.minute, tables::device_key(device)))?;
            }
            count += minutes.len();
            entries.extend(blocks.into_iter().map(|block| DeviceMetrics { device, block }));
        }
        let of = |one: &DeviceMetrics| (one.device, one.block.columns.len() + BLOCK_BYTES);
        for record in self.packed(entries, RECORD_BYTES, of) {
            self.append(Lane::Metrics, &UpRecord::Metrics(record))?;
        }
        Ok(count)
    }

    /// Removes raw samples of minutes before `minute`, a bounded number. Those
    /// still due stay, and those of devices that were late a moment ago. Whether all
    /// were looked at is told too; else the next call goes on.
    pub(crate) fn prune_raw(&mut self, minute: u64) -> Result<(usize, bool), StoreError> {
        let now_ms = self.now_ms;
        self.mem.parts.samples.late.retain(|_, at| at.abs_diff(now_ms) < LATE_KEPT_MS);
        let mut gone = Vec::new();
        let dirty = std::mem::take(&mut self.mem.parts.samples.dirty);
        let late = std::mem::take(&mut self.mem.parts.samples.late);
        let found = self.prunable(minute, &mut gone, |minute, device| {
            dirty.contains_key(&(minute, device)) || late.contains_key(&device)
        });
        self.mem.parts.samples.dirty = dirty;
        self.mem.parts.samples.late = late;
        let next = found?;
        self.mem.parts.samples.prune_from = next.unwrap_or_default();
        for key in &gone {
            self.raw()?.remove(key)?;
        }
        Ok((gone.len(), next.is_none()))
    }

    /// Drops samples of minutes that have not come: the site's time was set back, and
    /// they would be mixed with what will be measured then. They were taken just
    /// now, and the gap says so.
    pub(crate) fn forget_ahead(&mut self) -> Result<(), StoreError> {
        let first = self.now_ms / MINUTE_MS + AHEAD_MINUTES;
        let mut keys = Vec::new();
        for row in self.raw()?.range((first, 0, 0, 0)..)? {
            keys.push(row?.0.value());
        }
        let mut lost: BTreeMap<DeviceId, (u64, u64, u64)> = BTreeMap::new();
        for key in keys {
            self.raw()?.remove(key)?;
            self.dirty()?.remove((key.0, key.1))?;
            let device = tables::device_of(key.1);
            self.mem.parts.samples.dirty.remove(&(key.0, device));
            let (count, from, to) = lost.entry(device).or_insert((0, key.2, key.2));
            (*count, *from, *to) = (*count + 1, (*from).min(key.2), (*to).max(key.2));
        }
        for (device, (count, from, to)) in lost {
            let from_ms = self.now_ms.saturating_sub(to.saturating_sub(from));
            let reason = "The clock of the site was ahead when these were measured.".to_owned();
            let lane = Lane::Metrics;
            let gap = Gap { lane, count, from_ms, to_ms: self.now_ms, reason };
            self.append(Lane::Urgent, &UpRecord::Gap(DeviceGap { device: Some(device), gap }))?;
        }
        Ok(())
    }

    /// Finds what can go, a bounded number from where the last call ended. Gives where
    /// the next one goes on, unless all were looked at.
    fn prunable(
        &mut self,
        minute: u64,
        gone: &mut Vec<RawKey>,
        kept: impl Fn(u64, DeviceId) -> bool,
    ) -> Result<Option<RawKey>, StoreError> {
        let from = self.mem.parts.samples.prune_from.min((minute, 0, 0, 0));
        for (looked_at, row) in self.raw()?.range(from..(minute, 0, 0, 0))?.enumerate() {
            let key = row?.0.value();
            if gone.len() >= MAX_PRUNED || looked_at >= MAX_LOOKED_AT {
                return Ok(Some(key));
            }
            if !kept(key.0, tables::device_of(key.1)) {
                gone.push(key);
            }
        }
        Ok(None)
    }
}
