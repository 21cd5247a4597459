//! Where the cloud's lane stands, and what in it only a later version can read.

use crate::store::{
    StoreError,
    part::{Part, tables},
    txn::{Txn, read_meta},
};
use redb::ReadTransaction;

tables! { downlink:
    /// (epoch, sequence number) in the cloud's lane → a record that this version cannot
    /// read, kept for a later one.
    pub(super) unread: (u64, u64) => &'static [u8], UNREAD = "unread";
}

/// Name of the single value in the store: the position, two 64-bit numbers.
const DOWN: &str = "down";

/// The cloud's lane, as a part of the store.
pub(crate) struct Place;

/// What is remembered of it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Position in it.
    down: (u64, u64),
    /// When it was last said that orders are kept, lost, forgotten.
    pub(super) too_old: [u64; 3],
}

impl Part for Place {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    type Gathered = ();
    type Shared = ();

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        Ok(Memory { down: read_meta(tx, DOWN)?.unwrap_or_default(), ..Memory::default() })
    }
}

impl Txn<'_> {
    /// Epoch and number up to which the cloud's lane was applied.
    pub(crate) fn down(&self) -> (u64, u64) {
        self.mem.parts.downlink.down
    }

    /// Moves that position.
    pub(super) fn set_down(&mut self, to: (u64, u64)) -> Result<(), StoreError> {
        self.mem.parts.downlink.down = to;
        self.put_meta(DOWN, &to)
    }
}
