//! The tables of the store, typed, and the records kept in them.
//!
//! Ids are 128-bit keys, so that a device's or a command's rows lie together.
//! Records are CBOR with named fields, read like messages: a field that a later
//! version adds is ignored, a missing one defaulted.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unifyit_protocol::{
    compare::KnownDevice,
    ids::{DeviceId, TokenId},
    inventory::Section,
    lane::Lane,
    outcome::Status,
};
use uuid::Uuid;

/// Device → [`DeviceRecord`].
pub(crate) const DEVICES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("devices");
/// Machine identity → device that it had.
pub(crate) const MACHINES: TableDefinition<'_, &str, u128> = TableDefinition::new("machines");
/// Token → [`TokenRecord`].
pub(crate) const TOKENS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("tokens");
/// (device, lane) → (epoch, sequence number) of its last durable report.
pub(crate) const CURSORS: TableDefinition<'_, (u128, u8), (u64, u64)> =
    TableDefinition::new("cursors");
/// (lane, position) → eight bytes of Unix milliseconds, then the record.
pub(crate) const OUTBOX: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("outbox");
/// (lane, position) → whose record it is, its bytes, and whether it stays while
/// others go. Only records that are one device's own have a row.
pub(crate) const OWNERS: TableDefinition<'_, (u8, u64), (u128, u32, bool)> =
    TableDefinition::new("outbox_owners");
/// Lane → [`LaneState`](super::outbox::LaneState).
pub(crate) const LANES: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("lanes");
/// Command → [`CommandRecord`].
pub(crate) const COMMANDS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("commands");
/// (command, device) → (status, Unix milliseconds of its last change; with [`GUESSED`]).
pub(crate) const DELIVERIES: TableDefinition<'_, (u128, u128), (u8, u64)> =
    TableDefinition::new("deliveries");
/// Beside the moment of a delivery's last change: nobody heard the device say so, the
/// cloud guessed it. Versions that do not know this bit do not read the moment.
pub(crate) const GUESSED: u64 = 1 << 63;
/// (device, table hash) → series table.
pub(crate) const SERIES: TableDefinition<'_, (u128, u32), &[u8]> = TableDefinition::new("series");
/// (minute, device, Unix milliseconds, tag) → the sample's report as it came.
/// By minute first: what is written together and rolled up together lies together.
pub(crate) const RAW: TableDefinition<'_, (u64, u128, u64, u64), &[u8]> =
    TableDefinition::new("raw");
/// (minute, device) whose samples are not in a rollup yet. A row is written with
/// the minute's first sample and removed by the transaction that appends the
/// rollup, so a crash at any point leaves the minute either due or done.
pub(crate) const DIRTY: TableDefinition<'_, (u64, u128), ()> = TableDefinition::new("dirty");
/// Device → [`PresenceRecord`], as last told to the cloud.
pub(crate) const PRESENCE: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("presence");
/// Device → [`Facts`].
pub(crate) const FACTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("facts");
/// Single values by name.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// (epoch, sequence number) in the cloud's lane → a record that this version cannot read,
/// kept for a later one.
pub(crate) const UNREAD: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("unread");
/// Rising number → audit entry, the newest few kept for the local UI.
pub(crate) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

/// `META` key: position in the cloud's lane, two 64-bit numbers.
pub(crate) const META_DOWN: &str = "down";
/// `META` key: the site's settings.
pub(crate) const META_SITE: &str = "site";
/// `META` key: the moment of the last commit, Unix milliseconds.
pub(crate) const META_WRITTEN: &str = "written";
/// `META` key: layout of the tables.
pub(crate) const META_LAYOUT: &str = "layout";
/// Layout that this build writes.
pub(crate) const LAYOUT: u8 = 1;

/// A device as enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Its id.
    pub device: DeviceId,
    /// Host name, as last told.
    pub hostname: String,
    /// Version of the agent, as last told.
    pub version: String,
    /// Whether it is out.
    pub revoked: bool,
    /// First enrolment, Unix milliseconds.
    #[serde(default)]
    pub enrolled_ms: u64,
    /// Stable machine identity that it enrolled with; empty when it had none.
    #[serde(default)]
    pub machine: String,
    /// The key in use, once one was used.
    #[serde(default)]
    pub key: Option<Key>,
    /// SHA-256 of keys that were certified and not used yet.
    #[serde(default)]
    pub offered: Vec<[u8; 32]>,
    /// Until when its computer may enrol again, Unix milliseconds.
    #[serde(default)]
    pub reenrol_until_ms: u64,
    /// The computers that use this identity, when there are more than one.
    #[serde(default)]
    pub sharing: Option<Sharing>,
    /// Which computer it was, as long as its own key was not used yet.
    #[serde(default)]
    pub split: Option<Split>,
}

impl DeviceRecord {
    /// A device of which nothing but its id is known.
    #[must_use]
    pub fn new(device: DeviceId, enrolled_ms: u64) -> Self {
        Self {
            device,
            hostname: String::new(),
            version: String::new(),
            revoked: false,
            enrolled_ms,
            machine: String::new(),
            key: None,
            offered: Vec::new(),
            reenrol_until_ms: 0,
            sharing: None,
            split: None,
        }
    }
}

/// A device's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: [u8; 32],
    /// Since when it is certified, Unix seconds.
    pub since_s: i64,
}

/// A computer that got an identity of its own and has not used it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The device whose identity it shared.
    pub device: DeviceId,
    /// Which of its computers it was.
    pub instance: Uuid,
}

/// Computers that use one identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sharing {
    /// The one that had it first; it goes on.
    pub first: Computer,
    /// The others; they are not let in.
    pub others: Vec<Computer>,
    /// The one that is to get an identity of its own.
    pub replace: Option<Uuid>,
}

/// A computer, as far as it can be told from another with the same identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Computer {
    /// What it called itself when it was let in last.
    pub instance: Uuid,
    /// What it calls itself since its last start; nil when that is the same.
    pub now: Uuid,
    /// Host name.
    pub hostname: String,
    /// IP address on the LAN.
    pub address: String,
    /// When it was last heard, Unix milliseconds.
    pub last_ms: u64,
    /// The identity of its own that it was given and has not used yet.
    pub own: Option<DeviceId>,
}

impl DeviceRecord {
    /// A device of which only the cloud remembers that it joined.
    pub(crate) fn known(known: &KnownDevice) -> Self {
        Self {
            hostname: known.hostname.clone(),
            version: known.version.clone(),
            ..Self::new(known.device, known.enrolled_ms)
        }
    }
}

/// What is known about an install token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TokenRecord {
    /// Devices that joined with it.
    pub(crate) used: u32,
    /// Whether it is out.
    pub(crate) revoked: bool,
}

/// A command in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    /// Not to be delivered from then on.
    pub(crate) expires_ms: u64,
    /// When it came.
    pub(crate) received_ms: u64,
    /// What devices get: an encoded `Deliver`. Empty once all is done; the row
    /// stays until expiry so that a repeat is recognised.
    #[serde(with = "serde_bytes")]
    pub(crate) payload: Vec<u8>,
    /// When the last device was final, 0 before.
    #[serde(default)]
    pub(crate) done_ms: u64,
}

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

/// Lane as a key. Never renumber.
pub(crate) fn lane_key(lane: Lane) -> u8 {
    match lane {
        Lane::Urgent => 0,
        Lane::State => 1,
        Lane::Output => 2,
        Lane::Metrics => 3,
    }
}

/// Status as a byte.
pub(crate) fn status_byte(status: Status) -> u8 {
    match status {
        Status::Pending => 0,
        Status::Sent => 1,
        Status::Running => 2,
        Status::Succeeded => 3,
        Status::Failed => 4,
        Status::TimedOut => 5,
        Status::Cancelled => 6,
        Status::Expired => 7,
        Status::Refused => 8,
        Status::Indeterminate => 9,
    }
}

/// The status that a byte stands for; an unknown one counts as lost track of.
pub(crate) fn status_of(byte: u8) -> Status {
    match byte {
        0 => Status::Pending,
        1 => Status::Sent,
        2 => Status::Running,
        3 => Status::Succeeded,
        4 => Status::Failed,
        5 => Status::TimedOut,
        6 => Status::Cancelled,
        7 => Status::Expired,
        8 => Status::Refused,
        _ => Status::Indeterminate,
    }
}

/// Id as a key.
pub(crate) fn device_key(device: DeviceId) -> u128 {
    device.0.as_u128()
}

/// Id as a key.
pub(crate) fn token_key(token: TokenId) -> u128 {
    token.0.as_u128()
}

/// The device of a key.
pub(crate) fn device_of(key: u128) -> DeviceId {
    DeviceId(uuid::Uuid::from_u128(key))
}
