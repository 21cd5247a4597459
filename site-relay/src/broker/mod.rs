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

mod budget;
mod conduct;
mod dialog;
mod fault;
mod front;
mod guests;
mod handle;
mod limit;
mod metrics;
mod names;
mod session;
mod wire;

use crate::{
    config::Config,
    identity::{Identity, ca::Proof, server::ServerCertificate},
    ingest::message::Message,
    telemetry::Telemetry,
    tls::{
        ClientCertificate, Listener, TlsError,
        gate::{Gate, GateMetrics},
        server_config,
    },
};
use bytes::Bytes;
use handle::Table;
use metrics::Metrics;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{ProtocolError, ids::DeviceId, topics};
use uuid::Uuid;

pub use budget::Held;
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
        /// Whether the device had a session that seemed alive. Commands are then held
        /// back until [`BrokerHandle::release_commands`]: it may be another computer.
        took_over: bool,
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
        /// What, as it came: hostile.
        payload: Bytes,
        /// What it says.
        content: Box<Content>,
    },
}

/// A message as it was read in its session's task.
#[derive(Debug)]
pub struct Content {
    pub(crate) read: Result<Message, ProtocolError>,
    /// The memory that it takes of its device's share, until it is dropped.
    pub(crate) held: Held,
}

/// Who may connect, asked once a connection after TLS has proven the certificate.
pub trait Admission: Send + Sync {
    /// Whether a device with this certificate is let in.
    fn admit(&self, device: DeviceId, proof: &Proof) -> bool;

    /// A computer with this certificate was not let in. Told once a minute of a device.
    fn refused(&self, device: DeviceId, proof: &Proof, address: IpAddr) {
        let _ = (proof, address);
        tracing::info!(%device, "a device that is not enrolled here, or was removed, was refused");
    }

    /// Whether this computer is let in only to hear that it gets an identity of its own.
    fn is_guest(&self, device: DeviceId, computer: Named) -> bool {
        let _ = (device, computer);
        false
    }

    /// Whether this computer may use the device's identity: not where another one
    /// has it.
    fn may_use(&self, device: DeviceId, computer: Named, address: IpAddr) -> bool {
        let _ = (device, computer, address);
        true
    }
}

/// What a computer calls itself, where its client id says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Named {
    /// Since its start.
    pub instance: Option<Uuid>,
    /// When it was welcomed last, before that.
    pub before: Option<Uuid>,
}

/// The front, bound and not yet serving.
pub struct Broker {
    front: front::Front,
    listener: Listener,
}

impl Broker {
    /// Binds the listener. The receiver gets every event; when it does not keep
    /// up, sockets are no longer read.
    ///
    /// # Errors
    /// [`TlsError`] when the port or the certificates cannot be used.
    pub async fn bind(
        config: &Config,
        identity: &Identity,
        certificate: Arc<ServerCertificate>,
        admission: Arc<dyn Admission>,
        telemetry: &Telemetry,
    ) -> Result<(Self, mpsc::Receiver<BrokerEvent>), TlsError> {
        let limits = config.broker.clone();
        let refusals = GateMetrics::new(telemetry, "mqtt");
        let gate = Gate::new(limits.max_half_open, limits.max_half_open_per_ip, refusals.clone());
        let listener = Listener::bind("MQTT", config.listen.mqtt, gate).await?;
        let tls = server_config(
            &identity.keys.ca,
            certificate,
            ClientCertificate::Required,
            config.certificates.grace_days,
        )?;
        let (events, receiver) = mpsc::channel(limits.events);
        let table = Arc::new(Table::new(limits, Metrics::new(telemetry)));
        let front = front::Front { table, acceptor: tls.into(), admission, events, refusals };
        Ok((Self { front, listener }, receiver))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// The way to connected devices.
    #[must_use]
    pub fn handle(&self) -> BrokerHandle {
        BrokerHandle(Arc::clone(&self.front.table))
    }

    /// Serves until cancelled, then closes every session; each still gets its
    /// [`BrokerEvent::Disconnected`].
    pub async fn serve(self, cancel: CancellationToken) {
        front::serve(self.front, self.listener, cancel).await;
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("listener", &self.listener).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
