//! Rows of the store: what was written can be read back, and a row that cannot
//! harms nobody else.
//!
//! The bounds of the wire are checked when something is taken in; a row is read
//! without them, because refusing it later would lose what was acknowledged (G1).
//! A row that cannot be read all the same counts as missing, so that it never fails
//! the commit that others take part in. The next start removes it and leaves a gap
//! record (G6) where its bytes are no row at all. One whose bytes are whole may be
//! what a later version wrote, before this one was put back: it stays, for that
//! version to read.

use super::{error::StoreError, txn::Txn};
use crate::parts;
use redb::{ReadableTable, Table};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};
use unifyit_protocol::{codec, ids::DeviceId, lane::Lane};

/// Why, in a gap record.
const DAMAGED: &str = "A row of the relay's store was damaged and had to be removed.";

/// Rows that could not be read since the start of the program.
static UNREADABLE: AtomicU64 = AtomicU64::new(0);

/// Rows that could not be read since the start of the program.
pub(super) fn unreadable() -> u64 {
    UNREADABLE.load(Ordering::Relaxed)
}

/// Reads a stored row; a damaged one counts as missing.
pub(crate) fn read<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Option<T> {
    codec::decode_within(bytes, usize::MAX)
        .inspect_err(|error| {
            UNREADABLE.fetch_add(1, Ordering::Relaxed);
            tracing::error!(table, %error, "a stored row cannot be read and counts as missing");
        })
        .ok()
}

/// Whether bytes are a row, of whatever version: one map of named fields, and nothing
/// after it.
fn is_row(bytes: &[u8]) -> bool {
    let fields = codec::decode_within::<BTreeMap<String, IgnoredAny>>(bytes, usize::MAX);
    fields.is_ok_and(|fields| !fields.is_empty())
}

/// A text cut to so many bytes.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Txn<'_> {
    /// Removes rows that are damaged, at the start of the relay, and says so.
    pub(crate) fn heal(&mut self) -> Result<(), StoreError> {
        for device in parts::heal(self)? {
            self.gap(device, Lane::State, 1, DAMAGED)?;
        }
        Ok(())
    }
}

/// The keys of a table's damaged rows.
pub(crate) fn damaged<T: DeserializeOwned>(
    name: &'static str,
    table: &Table<'_, u128, &'static [u8]>,
) -> Result<Vec<u128>, StoreError> {
    let mut keys = Vec::new();
    for row in table.range::<u128>(..)? {
        let (key, value) = row?;
        if read::<T>(name, value.value()).is_some() {
            continue;
        }
        match is_row(value.value()) {
            true => tracing::warn!(table = name, "a row of a later version is left as it is"),
            false => keys.push(key.value()),
        }
    }
    Ok(keys)
}

/// All rows of a table whose rows are records, a device each.
pub(crate) fn by_device<T: DeserializeOwned>(
    name: &'static str,
    table: &impl ReadableTable<u128, &'static [u8]>,
) -> Result<BTreeMap<DeviceId, T>, StoreError> {
    let mut all = BTreeMap::new();
    for row in table.range::<u128>(..)? {
        let (key, value) = row?;
        if let Some(row) = read(name, value.value()) {
            all.insert(super::tables::device_of(key.value()), row);
        }
    }
    Ok(all)
}
