//! Whose identity is whose, between relay and cloud: computers that share one
//! device's, and who may have it back.

use crate::ids::DeviceId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The computers that use one device's identity. Nothing is handed to any but the
/// first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedIdentity {
    /// The device.
    pub device: DeviceId,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// The one that had it first, then the others. None: it is one computer's again.
    #[serde(deserialize_with = "crate::codec::at_most::<8, _, _>")]
    pub computers: Vec<SharingComputer>,
}

/// One of the computers that share an identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SharingComputer {
    /// What it calls itself since its start, see [`Hello`](crate::lan::Hello).
    pub instance: Uuid,
    /// Host name.
    pub hostname: String,
    /// IP address on the LAN.
    pub address: String,
    /// When it was last heard, Unix milliseconds.
    pub last_ms: u64,
}

/// Lets a device's computer enrol again under the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowReenrolment {
    /// The device.
    pub device: DeviceId,
    /// Until when, Unix milliseconds; 0 takes the permission back.
    pub until_ms: u64,
}

/// Gives one of the computers that share an identity its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeparateIdentity {
    /// The device.
    pub device: DeviceId,
    /// Which computer, see [`SharingComputer::instance`].
    pub instance: Uuid,
}

/// One of the computers that shared an identity is gone: nobody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetComputer {
    /// The device.
    pub device: DeviceId,
    /// Which computer, see [`SharingComputer::instance`].
    pub instance: Uuid,
}
