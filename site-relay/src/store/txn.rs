//! One group commit in the making: the open tables, the state that mirrors them
//! in memory, and what is to happen once the commit is durable.
//!
//! Every job of a commit works on the same [`Txn`]. A job that fails spoils the
//! whole commit (nothing of it becomes durable, every job of it is told), so
//! jobs fail only when the file does; a refusal is a value, and a damaged row
//! counts as missing. [`Mem`] is loaded again from the file after a failed commit.
//!
//! What features keep stands in their own folders, see [`super::part`]: their
//! operations are methods of [`Txn`] there.

use super::{
    error::StoreError,
    fairness::Waiting,
    opened::Opened,
    outbox::{LaneState, Lanes},
    records::InShared,
    rows,
    tables::{self, META_WRITTEN},
};
use crate::parts;
use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _, Table, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use unifyit_protocol::{codec, ids::DeviceId, lane::Lane};

/// What the writer remembers of the tables between commits.
#[derive(Default)]
pub(crate) struct Mem {
    /// Outbox lanes.
    pub(crate) lanes: Lanes,
    /// What each device has waiting for the cloud, by lane.
    pub(crate) waiting: HashMap<(u8, DeviceId), Waiting>,
    /// What each device had of late in records that it shares with others.
    pub(super) in_shared: HashMap<DeviceId, InShared>,
    /// Whether the last look for a device's records found none yet and goes on.
    pub(super) looking: bool,
    /// Up to here only records that stay are left of a lane.
    pub(super) swept: [u64; 4],
    /// Where the store stood when it was opened.
    pub(crate) opened: Opened,
    /// What the parts remember.
    pub(crate) parts: parts::Memory,
}

impl Mem {
    /// Reads the state from the file.
    pub(super) fn load(db: &redb::Database) -> Result<Self, StoreError> {
        let tx = db.begin_read()?;
        let mut mem =
            Self { lanes: Lanes::load(&tx)?, parts: parts::Memory::load(&tx)?, ..Self::default() };
        for row in tx.open_table(tables::OWNERS)?.range::<(u8, u64)>(..)? {
            let (key, row) = row?;
            let (device, bytes, kept) = row.value();
            let waiting =
                mem.waiting.entry((key.value().0, tables::device_of(device))).or_default();
            waiting.bytes += u64::from(bytes);
            waiting.kept += if kept { u64::from(bytes) } else { 0 };
        }
        Ok(mem)
    }
}

/// Reads a single value of a file.
pub(crate) fn read_meta<T: DeserializeOwned>(
    tx: &ReadTransaction,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    let value = tx.open_table(tables::META)?.get(name)?;
    Ok(value.and_then(|value| rows::read("meta", value.value())))
}

/// A group commit in the making.
pub(crate) struct Txn<'t> {
    tx: &'t WriteTransaction,
    open: parts::Tables<'t>,
    /// State between commits.
    pub(crate) mem: &'t mut Mem,
    /// Clock at the start of the commit, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// What the commit gathers for the parts.
    pub(crate) gathered: parts::Gathered,
    lanes_out: [bool; 4],
}

impl<'t> Txn<'t> {
    pub(super) fn new(tx: &'t WriteTransaction, mem: &'t mut Mem, now_ms: u64) -> Self {
        let (open, gathered) = (parts::Tables::default(), parts::Gathered::default());
        Self { tx, open, mem, now_ms, gathered, lanes_out: [false; 4] }
    }

    /// The transaction and the tables that are open: for `tables!` alone.
    pub(crate) fn open(&mut self) -> (&'t WriteTransaction, &mut parts::Tables<'t>) {
        (self.tx, &mut self.open)
    }

    /// The state of a lane, to be changed: it is written at the commit.
    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut LaneState {
        self.lanes_out[lane.index()] = true;
        &mut self.mem.lanes.states[lane.index()]
    }

    /// Writes what was collected. The tables close when this returns. The flag says
    /// whether any was opened: if none was, there is nothing to sync.
    pub(super) fn finish(mut self) -> Result<(parts::Gathered, bool), StoreError> {
        parts::finish(&mut self)?;
        for lane in Lane::ALL {
            if self.lanes_out[lane.index()] {
                let state = &mut self.mem.lanes.states[lane.index()];
                state.counted = Some((state.bytes, state.records));
                let row = codec::encode(state)?;
                self.lanes()?.insert(tables::lane_key(lane), row.as_slice())?;
            }
        }
        let any = self.open.any();
        if any {
            let now_ms = self.now_ms;
            self.put_meta(META_WRITTEN, &now_ms)?;
        }
        Ok((self.gathered, any))
    }

    /// Stores a single value.
    pub(crate) fn put_meta<T: Serialize>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(value)?;
        self.meta()?.insert(name, bytes.as_slice())?;
        Ok(())
    }

    /// Reads a single value.
    pub(crate) fn get_meta<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, StoreError> {
        match self.meta()?.get(name)? {
            Some(bytes) => Ok(rows::read("meta", bytes.value())),
            None => Ok(None),
        }
    }
}

/// A row of a table whose rows are records, by its id; `name` is the table's.
pub(crate) fn get<T: DeserializeOwned>(
    name: &'static str,
    table: &Table<'_, u128, &'static [u8]>,
    key: u128,
) -> Result<Option<T>, StoreError> {
    match table.get(key)? {
        Some(bytes) => Ok(rows::read(name, bytes.value())),
        None => Ok(None),
    }
}

/// Writes a record under its id.
pub(crate) fn put<T: Serialize>(
    table: &mut Table<'_, u128, &'static [u8]>,
    key: u128,
    record: &T,
) -> Result<(), StoreError> {
    table.insert(key, codec::encode(record)?.as_slice())?;
    Ok(())
}
