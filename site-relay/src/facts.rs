//! Facts of devices that the site itself shows, and whether the whole inventory of one
//! is wanted.

use crate::store::{
    StoreError, StoreHandle,
    part::{Part, tables},
    rows as stored,
    tables::{device_key, device_of},
    txn::{Txn, get, put},
};
use redb::ReadableTable as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unifyit_protocol::{ids::DeviceId, inventory::Section};

tables! { facts:
    /// Device → [`Facts`].
    pub(crate) facts: u128 => &'static [u8], FACTS = "facts";
}

/// Facts kept of a device, and bytes of a name and of a value.
const MAX_FACTS: usize = 64;
const MAX_FACT_NAME: usize = 64;
const MAX_FACT: usize = 1024;

/// Facts of devices, as a part of the store.
pub(crate) struct OfDevices;

/// Facts of a device that the site itself shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The `system` entry of the inventory.
    pub system: BTreeMap<String, String>,
    /// When it last told of its inventory, Unix milliseconds.
    pub inventory_ms: u64,
    /// Whether it is to tell its whole inventory.
    pub ask_inventory: bool,
    /// How often it told all of its packages since it was asked.
    pub whole_packages: u8,
}

impl Facts {
    /// Its whole inventory is wanted.
    pub(crate) fn ask(&mut self) {
        (self.ask_inventory, self.whole_packages) = (true, 0);
    }

    /// It told a section whole. Services come last. Where they cannot be read, packages
    /// are the last that comes; the agent may also have ended between the two, so they
    /// are waited for once more.
    pub(crate) fn told_whole(&mut self, section: Section) {
        match section {
            Section::Services => self.ask_inventory = false,
            Section::Packages if self.ask_inventory => {
                self.whole_packages += 1;
                self.ask_inventory = self.whole_packages < 2;
            }
            _ => {}
        }
    }
}

/// A device's facts, cut to what is kept of them.
pub(crate) fn kept(facts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = facts.iter().filter(|(name, _)| name.len() <= MAX_FACT_NAME);
    let clipped = |fact: &String| stored::clipped(fact, MAX_FACT);
    short.take(MAX_FACTS).map(|(name, fact)| (name.clone(), clipped(fact))).collect()
}

impl Part for OfDevices {
    type Tables<'t> = Tables<'t>;
    type Memory = ();
    type Gathered = ();
    type Shared = ();

    fn heal(txn: &mut Txn<'_>, lost: &mut Vec<Option<DeviceId>>) -> Result<(), StoreError> {
        for key in stored::damaged::<Facts>("facts", txn.facts()?)? {
            txn.facts()?.remove(key)?;
            lost.push(Some(device_of(key)));
        }
        let mut large = Vec::new();
        for row in txn.facts()?.range::<u128>(..)? {
            let (key, value) = row?;
            if let Some(facts) = stored::read::<Facts>("facts", value.value())
                && kept(&facts.system) != facts.system
            {
                let system = kept(&facts.system);
                large.push((device_of(key.value()), Facts { system, ..facts }));
            }
        }
        for (device, facts) in large {
            txn.put_facts(device, &facts)?;
        }
        Ok(())
    }
}

impl StoreHandle {
    /// Facts of all devices.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn all_facts(&self) -> Result<BTreeMap<DeviceId, Facts>, StoreError> {
        self.read(|tx| stored::by_device("facts", &tx.open_table(FACTS)?)).await
    }
}

impl Txn<'_> {
    /// Stores a device's facts.
    pub(crate) fn put_facts(&mut self, device: DeviceId, facts: &Facts) -> Result<(), StoreError> {
        put(self.facts()?, device_key(device), facts)
    }

    /// A device's facts.
    pub(crate) fn device_facts(&mut self, device: DeviceId) -> Result<Facts, StoreError> {
        Ok(get("facts", self.facts()?, device_key(device))?.unwrap_or_default())
    }
}
