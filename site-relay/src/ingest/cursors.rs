//! How far each device's reports are stored, and which of them cannot go on.

use crate::store::{
    StoreError,
    part::{Part, tables},
    tables::{device_key, device_of},
    txn::Txn,
};
use redb::ReadTransaction;
use std::collections::{HashMap, HashSet};
use unifyit_protocol::ids::DeviceId;

tables! { ingest:
    /// (device, lane) → (epoch, sequence number) of its last durable report.
    cursors: (u128, u8) => (u64, u64), CURSORS = "cursors";
}

/// The cursors, as a part of the store.
pub(crate) struct Cursors;

/// What is remembered of devices' lanes.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Durable position of each device's lane.
    pub(super) cursors: HashMap<(DeviceId, u8), (u64, u64)>,
    /// Devices whose batch starts behind a hole.
    pub(super) stuck: HashMap<(DeviceId, u8), (u64, u64, u8)>,
}

impl Part for Cursors {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    /// Those that moved: each is written once a commit.
    type Gathered = HashSet<(DeviceId, u8)>;
    type Shared = ();

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        let mut memory = Memory::default();
        for row in tx.open_table(CURSORS)?.range::<(u128, u8)>(..)? {
            let (key, value) = row?;
            let (device, lane) = key.value();
            memory.cursors.insert((device_of(device), lane), value.value());
        }
        Ok(memory)
    }

    fn finish(txn: &mut Txn<'_>) -> Result<(), StoreError> {
        for (device, lane) in std::mem::take(&mut txn.gathered.ingest) {
            if let Some(position) = txn.cursor(device, lane) {
                txn.cursors()?.insert((device_key(device), lane), position)?;
            }
        }
        Ok(())
    }
}

impl Txn<'_> {
    /// Where a device's lane stands.
    pub(super) fn cursor(&self, device: DeviceId, lane: u8) -> Option<(u64, u64)> {
        self.mem.parts.ingest.cursors.get(&(device, lane)).copied()
    }

    /// Moves the cursor of a device's lane.
    pub(super) fn set_cursor(&mut self, device: DeviceId, lane: u8, position: (u64, u64)) {
        self.mem.parts.ingest.cursors.insert((device, lane), position);
        self.gathered.ingest.insert((device, lane));
    }
}
