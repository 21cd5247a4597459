//! What the cloud's libp2p node can do, and within which bounds.

use super::doorstep::Doorstep;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    memory_connection_limits, noise, ping,
    request_response::{self, ProtocolSupport, cbor},
    swarm::NetworkBehaviour,
    tcp, yamux,
};
use std::time::Duration;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RELAY_PROTOCOL},
    link::{QUIC_IDLE_MS, QUIC_KEEP_ALIVE_MS},
};

/// Longest enrolment request, in bytes: a token, names, a few addresses.
const MAX_ENROLMENT: u64 = 32 * 1024;
/// Who has not said by then who it is, makes room.
const HANDSHAKE: Duration = Duration::from_secs(6);
/// A peer that does not answer pings for about twice this long is gone. Relays ping
/// oftener, and QUIC notices a silent one by itself: this is for TCP.
const PING: Duration = Duration::from_secs(30);

/// Bounds of the node (G10).
#[derive(Debug, Clone, Copy)]
pub struct LinkLimits {
    /// Connections in handshake at a time.
    pub pending: u32,
    /// Those of one address (of IPv6, a /64).
    pub pending_an_address: u32,
    /// Connections of relays and newcomers together.
    pub connections: u32,
    /// Connections of peers that are not enrolled.
    pub strangers: usize,
    /// How long such a peer may stay.
    pub stranger_time: Duration,
    /// Enrolments a minute and address.
    pub enrolments_a_minute: u32,
    /// Share of the machine's memory from which on no connection is accepted.
    pub memory_share: f64,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            pending: 1024,
            pending_an_address: 64,
            connections: 20_000,
            strangers: 512,
            stranger_time: Duration::from_secs(15),
            enrolments_a_minute: 60,
            memory_share: 0.9,
        }
    }
}

/// The protocols of the node.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) doorstep: Doorstep,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) enroll: cbor::Behaviour<EnrollRelay, EnrollRelayAnswer>,
    pub(super) streams: libp2p_stream::Behaviour,
}

/// So many bytes are a share of this machine's memory.
///
/// Asked of the kernel by a call of its own: a unit that hides `/proc` would
/// otherwise seem to have no memory at all, and every relay would be refused.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a machine's memory, good to the megabyte"
)]
fn memory_limit(share: f64) -> usize {
    match nix::sys::sysinfo::sysinfo() {
        Ok(info) if info.ram_total() > 0 => (info.ram_total() as f64 * share) as usize,
        _ => {
            tracing::warn!("The machine's memory is not known: connections are not bound by it.");
            usize::MAX
        }
    }
}

/// Builds the node: TCP with Noise and Yamux, and QUIC.
///
/// # Errors
/// A sentence, when a transport cannot be set up.
pub(super) fn build(keypair: Keypair, limits: &LinkLimits) -> Result<Swarm<Behaviour>, String> {
    let behaviour = Behaviour {
        doorstep: Doorstep::new(limits.pending, limits.pending_an_address),
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_pending_incoming(Some(limits.pending))
                .with_max_established_incoming(Some(limits.connections))
                .with_max_established_per_peer(Some(4))
                .with_max_pending_outgoing(Some(0))
                .with_max_established_outgoing(Some(0)),
        ),
        memory: memory_connection_limits::Behaviour::with_max_bytes(memory_limit(
            limits.memory_share,
        )),
        identify: identify::Behaviour::new(
            identify::Config::new("/unifyit/1".into(), keypair.public())
                .with_agent_version(concat!("unifyit-cloud/", env!("CARGO_PKG_VERSION")).into())
                .with_push_listen_addr_updates(false),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING).with_timeout(PING)),
        enroll: cbor::Behaviour::with_codec(
            cbor::codec::Codec::default().set_request_size_maximum(MAX_ENROLMENT),
            [(StreamProtocol::new(RELAY_PROTOCOL), ProtocolSupport::Inbound)],
            request_response::Config::default()
                .with_request_timeout(limits.stranger_time)
                .with_max_concurrent_streams(4),
        ),
        streams: libp2p_stream::Behaviour::new(),
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|e| format!("the TCP transport cannot be set up: {e}"))?
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = 64;
            quic.max_stream_data = 2 * 1024 * 1024;
            quic.max_connection_data = 4 * 1024 * 1024;
            quic.max_idle_timeout = QUIC_IDLE_MS;
            quic.keep_alive_interval = Duration::from_millis(QUIC_KEEP_ALIVE_MS);
            quic
        })
        .with_behaviour(|_| behaviour)
        .map_err(|e| format!("the protocols cannot be set up: {e}"))?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
        .with_connection_timeout(HANDSHAKE)
        .build();
    Ok(swarm)
}

#[cfg(test)]
mod tests {
    use super::memory_limit;

    #[test]
    fn a_share_of_the_memory_is_some_of_it() {
        let half = memory_limit(0.5);
        assert!(half > 64 << 20, "{half}");
        assert!(half < memory_limit(0.9));
        assert!(memory_limit(0.9) < usize::MAX, "the kernel tells");
    }
}
