//! Presence as the cloud was told, so that nothing is told twice.

use crate::store::{
    StoreError, StoreHandle,
    part::{Part, tables},
    rows as stored,
    tables::{device_key, device_of},
    txn::{Txn, get, put},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    link::{Presence, UpRecord},
};

tables! { presence:
    /// Device → [`PresenceRecord`], as last told to the cloud.
    presence: u128 => &'static [u8], PRESENCE = "presence";
}

/// Bytes of one record of presence, about.
const RECORD_BYTES: usize = 128 * 1024;
/// Bytes that an entry takes besides its texts.
const ENTRY_BYTES: usize = 256;

/// What was told, as a part of the store.
pub(crate) struct Told;

/// Presence as the cloud was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceRecord {
    /// Whether it is connected.
    pub online: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// IP address on the LAN.
    pub address: String,
    /// Version of the agent.
    pub version: String,
}

/// A change of presence to be told to the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The device.
    pub device: DeviceId,
    /// Whether it is connected.
    pub online: bool,
    /// Since when, Unix milliseconds.
    pub at_ms: u64,
    /// IP address on the LAN; empty keeps the last one.
    pub address: String,
}

impl Part for Told {
    type Tables<'t> = Tables<'t>;
    type Memory = ();
    /// Changes; all of one commit travel together.
    type Gathered = Vec<Presence>;
    type Shared = ();

    fn heal(txn: &mut Txn<'_>, lost: &mut Vec<Option<DeviceId>>) -> Result<(), StoreError> {
        for key in stored::damaged::<PresenceRecord>("presence", txn.presence()?)? {
            txn.presence()?.remove(key)?;
            lost.push(Some(device_of(key)));
        }
        Ok(())
    }

    fn finish(txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let presence = std::mem::take(&mut txn.gathered.presence);
        let texts = |p: &Presence| p.agent_version.len() + p.address.len();
        let of = |p: &Presence| (p.device, ENTRY_BYTES + texts(p));
        for some in txn.packed(presence, RECORD_BYTES, of) {
            txn.append(Lane::Urgent, &UpRecord::Presence(some))?;
        }
        Ok(())
    }
}

impl StoreHandle {
    /// Presence of all devices as the cloud was last told.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn all_presence(&self) -> Result<BTreeMap<DeviceId, PresenceRecord>, StoreError> {
        self.read(|tx| stored::by_device("presence", &tx.open_table(PRESENCE)?)).await
    }
}

impl Txn<'_> {
    /// Tells the cloud who came and went. What it was told already is not told
    /// again.
    pub(crate) fn present(&mut self, change: &PresenceChange) -> Result<(), StoreError> {
        let Some(record) = self.device(change.device)? else { return Ok(()) };
        let told = self.told(change.device)?;
        let address = match change.address.as_str() {
            "" => told.address.clone(),
            new => new.to_owned(),
        };
        let same = (told.online, &told.address, &told.version)
            == (change.online, &address, &record.version);
        if same && told.since_ms != 0 {
            return Ok(());
        }
        let now = PresenceRecord {
            online: change.online,
            since_ms: change.at_ms,
            address: address.clone(),
            version: record.version.clone(),
        };
        self.put_told(change.device, &now)?;
        self.gathered.presence.push(Presence {
            device: change.device,
            online: change.online,
            at_ms: change.at_ms,
            agent_version: record.version,
            address,
        });
        Ok(())
    }

    /// Presence as the cloud was told.
    pub(crate) fn told(&mut self, device: DeviceId) -> Result<PresenceRecord, StoreError> {
        Ok(get("presence", self.presence()?, device_key(device))?.unwrap_or_default())
    }

    fn put_told(&mut self, device: DeviceId, record: &PresenceRecord) -> Result<(), StoreError> {
        put(self.presence()?, device_key(device), record)
    }
}
