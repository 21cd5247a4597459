//! The relay's libp2p node: dials the cloud, listens nowhere.

use crate::{
    lifecycle::Beside,
    resolver::{self, Names},
    tunnel::Tunnels,
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    ping, quic,
    swarm::NetworkBehaviour,
};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use unifyit_protocol::{
    link::{PING_MS, QUIC_IDLE_MS, QUIC_KEEP_ALIVE_MS},
    tunnel,
};

/// A cloud that does not answer pings for about twice this long is gone.
const PING: Duration = Duration::from_millis(PING_MS);

/// A node, and what it serves to the cloud. Dropping it ends its connections and
/// all that runs over them.
pub(super) struct Node {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) control: libp2p_stream::Control,
    /// Serves the cloud's tunnels.
    pub(super) tunnels: Beside,
    _tunnels: DropGuard,
}

impl Node {
    /// Sets up a node whose tunnels from the cloud are served.
    pub(super) fn open(
        (keypair, names): (Keypair, Names),
        cloud: PeerId,
        tunnels: Tunnels,
        cancel: &CancellationToken,
    ) -> Result<Self, NodeError> {
        let swarm = build(keypair, names)?;
        let mut control = swarm.behaviour().streams.new_control();
        let inbound = control
            .accept(protocol(tunnel::PROTOCOL))
            .map_err(|e| NodeError::new(&e.to_string()))?;
        let serving = cancel.child_token();
        let tunnels = Beside::spawn(tunnels.serve(inbound, cloud, serving.clone()));
        Ok(Self { swarm, control, tunnels, _tunnels: serving.drop_guard() })
    }
}

/// The protocols of the node.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: libp2p_stream::Behaviour,
}

/// What can be set up only once.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the cloud cannot be set up: {0}")]
pub struct NodeError(String);

impl NodeError {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

/// Builds the node: QUIC, and TCP with Noise and Yamux.
fn build(keypair: Keypair, names: Names) -> Result<Swarm<Behaviour>, NodeError> {
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_pending_incoming(Some(0))
                .with_max_established_incoming(Some(0))
                .with_max_established_per_peer(Some(2)),
        ),
        identify: identify::Behaviour::new(
            identify::Config::new("/unifyit/1".into(), keypair.public())
                .with_agent_version(concat!("unifyit-relay/", env!("CARGO_PKG_VERSION")).into())
                .with_push_listen_addr_updates(false),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING).with_timeout(PING)),
        streams: libp2p_stream::Behaviour::new(),
    };
    let failed = |e: &dyn std::fmt::Display| NodeError(e.to_string());
    let mut quic = quic::Config::new(&keypair);
    quic.max_concurrent_stream_limit = 64;
    quic.max_stream_data = 2 * 1024 * 1024;
    quic.max_connection_data = 4 * 1024 * 1024;
    quic.max_idle_timeout = QUIC_IDLE_MS;
    quic.keep_alive_interval = Duration::from_millis(QUIC_KEEP_ALIVE_MS);
    let transport = resolver::transport(&keypair, Some(quic), names).map_err(|e| failed(&e))?;
    Ok(SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| transport)
        .map_err(|e| failed(&e))?
        .with_behaviour(|_| behaviour)
        .map_err(|e| failed(&e))?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
        .build())
}

/// The cloud: whom to accept, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Cloud {
    pub(super) peer: PeerId,
    /// QUIC first: one round trip less, no head-of-line blocking between
    /// terminals and bulk. TCP where UDP is blocked.
    tiers: Vec<Vec<Multiaddr>>,
}

impl Cloud {
    /// Reads the enrolment's texts.
    pub(super) fn parse(peer: &str, addresses: &[String]) -> Result<Self, NodeError> {
        let wrong = |what: &str| NodeError(format!("{what} in the enrolment is damaged"));
        let peer: PeerId = peer.parse().map_err(|_| wrong("the cloud's peer id"))?;
        let mut quic = Vec::new();
        let mut other = Vec::new();
        for address in addresses {
            let address: Multiaddr = address.parse().map_err(|_| wrong("a cloud address"))?;
            match transport(&address) {
                "quic" => quic.push(address),
                _ => other.push(address),
            }
        }
        let tiers: Vec<_> = [quic, other].into_iter().filter(|t| !t.is_empty()).collect();
        if tiers.is_empty() {
            return Err(wrong("the list of cloud addresses"));
        }
        Ok(Self { peer, tiers })
    }

    /// The tiers with the transport of each.
    pub(super) fn named_tiers(&self) -> impl Iterator<Item = (&'static str, &[Multiaddr])> {
        let named = |tier: &'_ Vec<Multiaddr>| tier.first().map_or("tcp", transport);
        self.tiers.iter().map(move |tier| (named(tier), tier.as_slice()))
    }
}

/// Name of the transport of an address.
fn transport(address: &Multiaddr) -> &'static str {
    match address.iter().any(|part| matches!(part, Protocol::QuicV1)) {
        true => "quic",
        false => "tcp",
    }
}

/// A protocol name of the protocol crate.
pub(super) fn protocol(name: &'static str) -> StreamProtocol {
    StreamProtocol::new(name)
}
