//! The interface by which the rest of the relay reaches connected devices.

use bytes::Bytes;
use std::sync::Arc;
use unifyit_protocol::{ids::DeviceId, topics};

/// Why a message did not go into a device's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// The device has no session, or has not subscribed yet.
    #[error("the device is not connected")]
    Offline,
    /// The device does not read; its queue is full and it is being disconnected.
    #[error("the device does not keep up with its messages and is being disconnected")]
    Overflow,
}

/// Reaches connected devices. Cheap to clone; never blocks.
#[derive(Debug, Clone, Default)]
pub struct BrokerHandle {
    _shared: Arc<()>,
}

impl BrokerHandle {
    /// Queues a message for a device, at QoS 0.
    ///
    /// # Errors
    /// [`NotDelivered`] when it has no session or its queue is full; a device
    /// with a full queue is disconnected.
    pub fn send(
        &self,
        _device: DeviceId,
        _kind: topics::Down,
        _payload: Bytes,
    ) -> Result<(), NotDelivered> {
        Err(NotDelivered::Offline)
    }

    /// Ends the session of a device, if it has one.
    pub fn disconnect(&self, _device: DeviceId, _reason: &'static str) {}

    /// Devices with a session.
    #[must_use]
    pub fn online(&self) -> Vec<DeviceId> {
        Vec::new()
    }

    /// Whether a device has a session.
    #[must_use]
    pub fn is_online(&self, _device: DeviceId) -> bool {
        false
    }
}
