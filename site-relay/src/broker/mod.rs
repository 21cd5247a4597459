//! The MQTT front: the only door for agents' messages.
//!
//! Connections come in over mutual TLS; the certificate names the device, and
//! nothing that a client says about itself is believed. What a device publishes
//! leaves here as a [`BrokerEvent`] on one bounded channel; what is meant for a
//! device goes in through [`BrokerHandle::send`]. There is no topic tree, no
//! retained message and no stored session: durability is the store's, and the
//! topics are few and fixed.
//!
//! What it keeps true: one live session a device, presence from the life of the
//! connection alone, and every queue bounded with a metric at its bound (G10).

use bytes::Bytes;
use std::net::IpAddr;
use unifyit_protocol::{ids::DeviceId, topics};

mod handle;

pub use handle::{BrokerHandle, NotDelivered};

/// What happens at the front, in order per session.
#[derive(Debug)]
pub enum BrokerEvent {
    /// A device completed TLS and MQTT; an earlier session of it is over.
    Connected {
        /// Which device.
        device: DeviceId,
        /// Identity of the session; rises with each connection.
        session: u64,
        /// Where it connects from.
        address: IpAddr,
    },
    /// The device subscribed to its `down` topics: it hears from now on.
    Subscribed {
        /// Which device.
        device: DeviceId,
        /// Which session.
        session: u64,
    },
    /// The session is over. Sent once for each `Connected`.
    Disconnected {
        /// Which device.
        device: DeviceId,
        /// Which session.
        session: u64,
        /// Why, in words for a log.
        reason: String,
    },
    /// The device published.
    Message {
        /// Which device.
        device: DeviceId,
        /// Which session.
        session: u64,
        /// To which of its topics.
        kind: topics::Up,
        /// What: hostile until decoded.
        payload: Bytes,
    },
}

/// Who may connect, asked once a connection after TLS has proven the certificate.
pub trait Admission: Send + Sync {
    /// Whether a device with this certificate (SHA-256 of its DER) is let in.
    fn admit(&self, device: DeviceId, certificate_sha256: &[u8; 32]) -> bool;
}
