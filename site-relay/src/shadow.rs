//! What is known of each device at this moment: newest values, connection.
//!
//! Kept in memory for the local UI; facts and presence are in the store, and
//! the newest values come back with the next sample.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};
use unifyit_protocol::{ids::DeviceId, telemetry::Sample};

/// What is known of a device at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shadow {
    /// Whether it is connected.
    pub online: bool,
    /// Since when, Unix milliseconds; 0 when not seen since the relay started.
    pub since_ms: u64,
    /// IP address on the LAN.
    pub address: String,
    /// Its newest sample.
    pub newest: Option<Sample>,
    /// How far its clock is ahead of the relay's, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// The shadows of all devices. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shadows(Arc<RwLock<HashMap<DeviceId, Shadow>>>);

impl Shadows {
    /// The shadow of a device.
    #[must_use]
    pub fn of(&self, device: DeviceId) -> Option<Shadow> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&device).cloned()
    }

    /// All shadows.
    #[must_use]
    pub fn all(&self) -> HashMap<DeviceId, Shadow> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change(&self, device: DeviceId, change: impl FnOnce(&mut Shadow)) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(device).or_default());
    }
}
