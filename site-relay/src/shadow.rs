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

impl Shadow {
    /// Takes a sample, unless the one that is had is newer and not dated beyond a moment.
    pub(crate) fn measured(&mut self, sample: &Sample, latest_ms: u64) {
        let newer = |n: &Sample| (sample.at_ms..=latest_ms).contains(&n.at_ms);
        if !self.newest.as_ref().is_some_and(newer) {
            self.newest = Some(sample.clone());
        }
    }
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

    /// Drops samples that are dated beyond a moment.
    pub(crate) fn forget_ahead(&self, latest_ms: u64) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for shadow in all.values_mut() {
            shadow.newest.take_if(|n| n.at_ms > latest_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_a_time_that_was_taken_back_gives_way() {
        let (shadows, device) = (Shadows::default(), DeviceId::generate());
        let take = |at_ms, latest_ms| {
            let sample = Sample { at_ms, table: 1, values: Vec::new() };
            shadows.change(device, |s| s.measured(&sample, latest_ms));
            shadows.of(device).and_then(|s| s.newest).map(|n| n.at_ms)
        };
        assert_eq!(take(9_000, 9_100), Some(9_000));
        assert_eq!(take(8_000, 9_100), Some(9_000), "it is older");
        assert_eq!(take(2_000, 2_100), Some(2_000), "the time was set back");
        shadows.forget_ahead(2_000);
        assert_eq!(shadows.of(device).and_then(|s| s.newest).map(|n| n.at_ms), Some(2_000));
        shadows.forget_ahead(1_999);
        assert_eq!(shadows.of(device).map(|s| s.newest), Some(None));
    }
}
