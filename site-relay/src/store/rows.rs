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

use super::{
    error::StoreError,
    tables::{self, CommandRecord, DeviceRecord, Facts, PresenceRecord, TokenRecord},
    txn::Txn,
};
use redb::{ReadableTable, Table};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};
use unifyit_protocol::{codec, ids::DeviceId, lane::Lane};

/// Facts kept of a device, and bytes of a name and of a value.
const MAX_FACTS: usize = 64;
const MAX_FACT_NAME: usize = 64;
const MAX_FACT: usize = 1024;
/// Why, in a gap record.
const DAMAGED: &str = "A row of the relay's store was damaged and had to be removed.";

/// Rows that could not be read since the start of the program.
static UNREADABLE: AtomicU64 = AtomicU64::new(0);

/// Rows that could not be read since the start of the program.
pub(super) fn unreadable() -> u64 {
    UNREADABLE.load(Ordering::Relaxed)
}

/// Reads a stored row; a damaged one counts as missing.
pub(super) fn read<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Option<T> {
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

/// A device's facts, cut to what is kept of them.
pub(crate) fn kept(facts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = facts.iter().filter(|(name, _)| name.len() <= MAX_FACT_NAME);
    short.take(MAX_FACTS).map(|(name, fact)| (name.clone(), clipped(fact, MAX_FACT))).collect()
}

/// A text cut to so many bytes.
pub(super) fn clipped(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Txn<'_> {
    /// Removes rows that are damaged, at the start of the relay, and says so.
    pub(crate) fn heal(&mut self) -> Result<(), StoreError> {
        let mut lost: Vec<Option<DeviceId>> = Vec::new();
        for key in damaged::<DeviceRecord>("devices", self.devices()?)? {
            self.devices()?.remove(key)?;
            lost.push(Some(tables::device_of(key)));
        }
        for key in damaged::<Facts>("facts", self.facts()?)? {
            self.facts()?.remove(key)?;
            lost.push(Some(tables::device_of(key)));
        }
        for key in damaged::<PresenceRecord>("presence", self.presence()?)? {
            self.presence()?.remove(key)?;
            lost.push(Some(tables::device_of(key)));
        }
        for key in damaged::<CommandRecord>("commands", self.commands()?)? {
            self.commands()?.remove(key)?;
            self.deliveries()?.retain_in((key, 0)..=(key, u128::MAX), |_, _| false)?;
            lost.push(None);
        }
        for key in damaged::<TokenRecord>("tokens", self.tokens()?)? {
            // Whether it was out is not known any more, so it is.
            let token = unifyit_protocol::ids::TokenId(uuid::Uuid::from_u128(key));
            self.revoke_token(token)?;
            lost.push(None);
        }
        for device in lost {
            self.gap(device, Lane::State, 1, DAMAGED)?;
        }
        let mut large = Vec::new();
        for row in self.facts()?.range::<u128>(..)? {
            let (key, value) = row?;
            if let Some(facts) = read::<Facts>("facts", value.value())
                && kept(&facts.system) != facts.system
            {
                let system = kept(&facts.system);
                large.push((tables::device_of(key.value()), Facts { system, ..facts }));
            }
        }
        for (device, facts) in large {
            self.put_facts(device, &facts)?;
        }
        Ok(())
    }
}

fn damaged<T: DeserializeOwned>(
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::tests::Rig;
    use unifyit_protocol::{ids::TokenId, link::UpRecord};

    #[tokio::test]
    async fn a_row_of_a_later_version_is_left_for_it_and_gives_nothing_away() {
        let rig = Rig::new();
        let (device, token) = (rig.enrol().await, TokenId::generate());
        // A later version keeps something else under names that this one knows.
        let fields = |names: &[&str]| {
            let fields = names.iter().map(|name| (name.to_string(), vec![7u8, 8]));
            codec::encode(&fields.collect::<BTreeMap<_, _>>()).unwrap()
        };
        let rows = (fields(&["device", "hostname"]), fields(&["used", "revoked"]));
        let planted = rows.clone();
        rig.store
            .write(move |txn| {
                let (device, token) = (tables::device_key(device), tables::token_key(token));
                txn.devices()?.insert(device, planted.0.as_slice())?;
                txn.tokens()?.insert(token, planted.1.as_slice())?;
                // Cut off in the middle: damaged.
                txn.devices()?.insert(1, &planted.0[..planted.0.len() - 1])?;
                Ok(())
            })
            .await
            .unwrap();
        let rig = rig.crash();
        assert!(rig.store.device(device).is_none(), "not let in");
        let found = rig.store.write(move |txn| {
            let token = (tables::token_key(token), txn.token(token)?);
            let row = |row: Option<redb::AccessGuard<'_, &[u8]>>| row.map(|r| r.value().to_vec());
            let device = row(txn.devices()?.get(tables::device_key(device))?);
            let damaged = row(txn.devices()?.get(1)?);
            Ok((device, row(txn.tokens()?.get(token.0)?), damaged, token.1.revoked))
        });
        assert_eq!(found.await.unwrap(), (Some(rows.0), Some(rows.1), None, true));
        let urgent = rig.waiting(Lane::Urgent).await;
        let gaps: Vec<_> = urgent.iter().filter(|r| matches!(r, UpRecord::Gap(_))).collect();
        assert_eq!(gaps.len(), 1, "of the damaged one alone: {gaps:?}");
    }
}
