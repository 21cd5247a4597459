//! What is kept of a device and of a token.

use serde::{Deserialize, Serialize};
use unifyit_protocol::{compare::KnownDevice, ids::DeviceId};
use uuid::Uuid;

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

    /// A device of which only the cloud remembers that it joined.
    pub(crate) fn known(known: &KnownDevice) -> Self {
        Self {
            hostname: known.hostname.clone(),
            version: known.version.clone(),
            ..Self::new(known.device, known.enrolled_ms)
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

/// What is known about an install token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TokenRecord {
    /// Devices that joined with it.
    pub(crate) used: u32,
    /// Whether it is out.
    pub(crate) revoked: bool,
}
