//! Rows of devices, machines and tokens, and what of them is looked up without the file.

use super::{DeviceRecord, Devices, record::TokenRecord};
use crate::store::{
    StoreError, StoreHandle,
    part::{Part, tables},
    rows as stored,
    tables::{device_key, device_of},
    txn::{Txn, get, put},
};
use redb::{ReadTransaction, ReadableTable as _};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError, RwLock},
};
use unifyit_protocol::ids::{DeviceId, TokenId};
use uuid::Uuid;

tables! { devices:
    /// Device → [`DeviceRecord`].
    pub(super) devices: u128 => &'static [u8], DEVICES = "devices";
    /// Machine identity → device that it had.
    pub(super) machines: &'static str => u128, MACHINES = "machines";
    /// Token → [`TokenRecord`].
    pub(super) tokens: u128 => &'static [u8], TOKENS = "tokens";
}

/// What is looked up, as of the last commit.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Devices as enrolled.
    pub(super) all: RwLock<HashMap<DeviceId, DeviceRecord>>,
    /// Tokens that are out.
    revoked_tokens: RwLock<HashSet<TokenId>>,
    /// When it was last written down that a replaced key of a device was refused.
    pub(super) refusals: Mutex<HashMap<DeviceId, u64>>,
}

/// What a commit changes of that.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Devices that joined or changed.
    devices: Vec<DeviceRecord>,
    /// Tokens that are out.
    revoked: Vec<TokenId>,
}

impl Part for Devices {
    type Tables<'t> = Tables<'t>;
    type Memory = ();
    type Gathered = Changes;
    type Shared = Shared;

    fn fill(tx: &ReadTransaction, shared: &Shared) -> Result<(), StoreError> {
        let mut devices = shared.all.write().unwrap_or_else(PoisonError::into_inner);
        for row in tx.open_table(DEVICES)?.range::<u128>(..)? {
            if let Some(record) = stored::read::<DeviceRecord>("devices", row?.1.value()) {
                devices.insert(record.device, record);
            }
        }
        let mut out = shared.revoked_tokens.write().unwrap_or_else(PoisonError::into_inner);
        for row in tx.open_table(TOKENS)?.range::<u128>(..)? {
            let (key, value) = row?;
            // A record that cannot be read is one that nobody may use.
            let record = stored::read::<TokenRecord>("tokens", value.value());
            if record.is_none_or(|r| r.revoked) {
                out.insert(token_of(key.value()));
            }
        }
        Ok(())
    }

    fn heal(txn: &mut Txn<'_>, lost: &mut Vec<Option<DeviceId>>) -> Result<(), StoreError> {
        for key in stored::damaged::<DeviceRecord>("devices", txn.devices()?)? {
            txn.devices()?.remove(key)?;
            lost.push(Some(device_of(key)));
        }
        for key in stored::damaged::<TokenRecord>("tokens", txn.tokens()?)? {
            // Whether it was out is not known any more, so it is.
            txn.revoke_token(token_of(key))?;
            lost.push(None);
        }
        Ok(())
    }

    fn publish(changes: Changes, shared: &Shared) {
        if !changes.devices.is_empty() {
            let mut devices = shared.all.write().unwrap_or_else(PoisonError::into_inner);
            devices.extend(changes.devices.into_iter().map(|record| (record.device, record)));
        }
        if !changes.revoked.is_empty() {
            let mut out = shared.revoked_tokens.write().unwrap_or_else(PoisonError::into_inner);
            out.extend(changes.revoked);
        }
    }
}

impl StoreHandle {
    /// A device as enrolled.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<DeviceRecord> {
        let devices = self.parts().devices.all.read().unwrap_or_else(PoisonError::into_inner);
        devices.get(&device).cloned()
    }

    /// All devices that ever enrolled, the revoked ones too.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceRecord> {
        let devices = self.parts().devices.all.read().unwrap_or_else(PoisonError::into_inner);
        devices.values().cloned().collect()
    }

    /// Which computers are to get an identity of their own, by the device they share.
    pub(crate) fn separated(&self) -> HashSet<(DeviceId, Uuid)> {
        let devices = self.parts().devices.all.read().unwrap_or_else(PoisonError::into_inner);
        let chosen = |d: &DeviceRecord| Some((d.device, d.sharing.as_ref()?.replace?));
        devices.values().filter_map(chosen).collect()
    }

    /// Whether an agent token was revoked.
    #[must_use]
    pub fn token_revoked(&self, token: TokenId) -> bool {
        let out =
            self.parts().devices.revoked_tokens.read().unwrap_or_else(PoisonError::into_inner);
        out.contains(&token) || self.parts().settings.revokes(token)
    }
}

impl Txn<'_> {
    /// A device as enrolled, this commit's changes included.
    pub(crate) fn device(&mut self, device: DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        get("devices", self.devices()?, device_key(device))
    }

    /// All devices as enrolled, the revoked ones too. Whole records of a whole site: seldom.
    pub(crate) fn all_devices(&mut self) -> Result<Vec<DeviceRecord>, StoreError> {
        let mut all = Vec::new();
        for row in self.devices()?.range::<u128>(..)? {
            all.extend(stored::read::<DeviceRecord>("devices", row?.1.value()));
        }
        Ok(all)
    }

    /// The devices that are not revoked.
    pub(crate) fn enrolled(&mut self) -> Result<Vec<DeviceId>, StoreError> {
        let mut enrolled = Vec::new();
        for row in self.devices()?.range::<u128>(..)? {
            let record = stored::read::<DeviceRecord>("devices", row?.1.value());
            enrolled.extend(record.filter(|record| !record.revoked).map(|record| record.device));
        }
        Ok(enrolled)
    }

    /// Stores a device.
    pub(crate) fn put_device(&mut self, record: DeviceRecord) -> Result<(), StoreError> {
        put(self.devices()?, device_key(record.device), &record)?;
        self.gathered.devices.devices.push(record);
        Ok(())
    }

    /// Keeps a device out from now on.
    pub(crate) fn revoke_device(&mut self, device: DeviceId) -> Result<(), StoreError> {
        let known = self.device(device)?;
        let known = known.unwrap_or_else(|| DeviceRecord::new(device, self.now_ms));
        self.put_device(DeviceRecord { revoked: true, ..known })
    }

    /// What is known about a token. One whose row cannot be read is out.
    pub(crate) fn token(&mut self, token: TokenId) -> Result<TokenRecord, StoreError> {
        match self.tokens()?.get(token_key(token))? {
            Some(bytes) => Ok(read_token(bytes.value())),
            None => Ok(TokenRecord::default()),
        }
    }

    /// The newest tokens, at most so many: those that may still be valid.
    pub(crate) fn newest_tokens(
        &mut self,
        most: usize,
    ) -> Result<Vec<(TokenId, TokenRecord)>, StoreError> {
        let mut newest = Vec::new();
        for row in self.tokens()?.range::<u128>(..)?.rev().take(most) {
            let (key, value) = row?;
            newest.push((token_of(key.value()), read_token(value.value())));
        }
        Ok(newest)
    }

    /// Stores what is known about a token.
    pub(crate) fn put_token(
        &mut self,
        token: TokenId,
        record: TokenRecord,
    ) -> Result<(), StoreError> {
        put(self.tokens()?, token_key(token), &record)
    }

    /// Honours a token no longer.
    pub(crate) fn revoke_token(&mut self, token: TokenId) -> Result<(), StoreError> {
        let record = self.token(token)?;
        self.put_token(token, TokenRecord { revoked: true, ..record })?;
        self.gathered.devices.revoked.push(token);
        Ok(())
    }
}

fn read_token(bytes: &[u8]) -> TokenRecord {
    stored::read("tokens", bytes).unwrap_or(TokenRecord { used: 0, revoked: true })
}

fn token_key(token: TokenId) -> u128 {
    token.0.as_u128()
}

fn token_of(key: u128) -> TokenId {
    TokenId(Uuid::from_u128(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::tests::Rig;
    use std::collections::BTreeMap;
    use unifyit_protocol::{codec, lane::Lane, link::UpRecord};

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
                let (device, token) = (device_key(device), token_key(token));
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
            let token = (token_key(token), txn.token(token)?);
            let row = |row: Option<redb::AccessGuard<'_, &[u8]>>| row.map(|r| r.value().to_vec());
            let device = row(txn.devices()?.get(device_key(device))?);
            let damaged = row(txn.devices()?.get(1)?);
            Ok((device, row(txn.tokens()?.get(token.0)?), damaged, token.1.revoked))
        });
        assert_eq!(found.await.unwrap(), (Some(rows.0), Some(rows.1), None, true));
        let urgent = rig.waiting(Lane::Urgent).await;
        let gaps: Vec<_> = urgent.iter().filter(|r| matches!(r, UpRecord::Gap(_))).collect();
        assert_eq!(gaps.len(), 1, "of the damaged one alone: {gaps:?}");
    }
}
