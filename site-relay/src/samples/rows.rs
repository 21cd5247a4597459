//! Rows of samples: raw ones, the tables that name their columns, and minutes that are
//! due.

use super::{Mark, RawKey, Samples, share::Brought};
use crate::store::{
    StoreError,
    part::{Gauge, Look, Part, tables},
    tables::device_of,
    txn::Txn,
};
use redb::ReadTransaction;
use std::collections::{BTreeMap, HashMap, VecDeque};
use unifyit_protocol::ids::DeviceId;

tables! { samples:
    /// (device, table hash) → series table.
    pub(super) series: (u128, u32) => &'static [u8], SERIES = "series";
    /// (minute, device, Unix milliseconds, tag) → the sample's report as it came.
    /// By minute first: what is written together and rolled up together lies together.
    pub(super) raw: (u64, u128, u64, u64) => &'static [u8], RAW = "raw";
    /// (minute, device) whose samples are not in a rollup yet. A row is written with
    /// the minute's first sample and removed by the transaction that appends the
    /// rollup, so a crash at any point leaves the minute either due or done.
    pub(super) dirty: (u64, u128) => (), DIRTY = "dirty";
}

/// Raw samples that are kept even when the disk is nearly full, in minutes.
const RAW_FLOOR_MIN: u64 = 15;

/// What is remembered of samples.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Minutes not in a rollup yet.
    pub(super) dirty: BTreeMap<(u64, DeviceId), Mark>,
    /// Whether so many minutes are open that none waits for its block.
    pub(super) packs_early: bool,
    /// Minute of each device's latest sample.
    pub(super) minute_of: HashMap<DeviceId, u64>,
    /// When each device last sent samples of minutes long over.
    pub(super) late: HashMap<DeviceId, u64>,
    /// Series tables known of each device, so that a repeated one costs nothing.
    pub(super) series: HashMap<DeviceId, VecDeque<u32>>,
    /// Samples that each device brought of late.
    pub(super) brought: HashMap<DeviceId, Brought>,
    /// From here on raw samples are looked at next, to be pruned.
    pub(super) prune_from: RawKey,
}

impl Part for Samples {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    type Gathered = ();
    type Shared = ();

    const GAUGES: &'static [Gauge<Memory>] = &[Gauge {
        name: "minutes_open",
        help: "Minutes of devices that are not summed up yet.",
        read: |memory| memory.dirty.len(),
    }];

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        let mut memory = Memory::default();
        for row in tx.open_table(DIRTY)?.range::<(u64, u128)>(..)? {
            let (minute, device) = row?.0.value();
            memory.dirty.insert((minute, device_of(device)), Mark::default());
        }
        for row in tx.open_table(SERIES)?.range::<(u128, u32)>(..)? {
            let (device, table) = row?.0.value();
            memory.series.entry(device_of(device)).or_default().push_back(table);
        }
        Ok(memory)
    }

    fn forget(txn: &mut Txn<'_>, look: &Look) -> Result<bool, StoreError> {
        let kept_min = if look.crowded { RAW_FLOOR_MIN } else { look.quotas.raw_min };
        let now_min = txn.now_ms / super::MINUTE_MS;
        let (pruned, all_looked_at) = txn.prune_raw(now_min.saturating_sub(kept_min))?;
        Ok(pruned > 0 || !all_looked_at)
    }
}
