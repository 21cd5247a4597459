//! The libp2p node towards sisters: its own listener, and connections to and from
//! listed peers only. The way to the cloud is another node ([`crate::uplink`]).

use super::{Known, Sisters, serve};
use crate::resolver::{self, Names};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    multiaddr::Protocol,
    ping,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, ListenError, NetworkBehaviour, SwarmEvent,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dial_opts::DialOpts, dummy,
    },
};
use libp2p_stream::{Control, IncomingStreams};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::blob;

/// Connections in handshake, and established ones.
const PENDING: u32 = 16;
const CONNECTIONS: u32 = 128;
/// Requests served at a time.
const SERVING: usize = 8;
/// How often it is looked who is missing.
const LOOK: Duration = Duration::from_secs(5);
/// Pause between attempts to reach a sister: first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// A connection stays open for the next file.
const IDLE: Duration = Duration::from_secs(24 * 3600);
const LISTEN: Duration = Duration::from_secs(5);

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[error("the connections to sister relays cannot be set up: {0}")]
pub struct NodeError(String);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    guests: Guests,
    limits: connection_limits::Behaviour,
    ping: ping::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// Lets nobody in and dials nobody who is not on the list.
pub(super) struct Guests(Arc<RwLock<Known>>);

#[derive(Debug, thiserror::Error)]
#[error("it is no sister relay")]
struct NoSister;

impl Guests {
    fn check(&self, peer: &PeerId) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match known.contains_key(peer) {
            true => Ok(dummy::ConnectionHandler),
            false => Err(ConnectionDenied::new(NoSister)),
        }
    }
}

impl NetworkBehaviour for Guests {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// The node before it runs.
pub(super) struct Node {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) inbound: IncomingStreams,
}

/// Makes the node and listens.
pub(super) async fn bind(
    keypair: Keypair,
    listen: SocketAddr,
    known: Arc<RwLock<Known>>,
) -> Result<(Node, Control, Option<SocketAddr>), NodeError> {
    let failed = |e: &dyn std::fmt::Display| NodeError(e.to_string());
    let behaviour = Behaviour {
        guests: Guests(known),
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_pending_incoming(Some(PENDING))
                .with_max_pending_outgoing(Some(PENDING))
                .with_max_established(Some(CONNECTIONS))
                .with_max_established_per_peer(Some(4)),
        ),
        ping: ping::Behaviour::new(ping::Config::new()),
        streams: libp2p_stream::Behaviour::new(),
    };
    let transport = resolver::transport(&keypair, None, Names::of_machine());
    let transport = transport.map_err(|e| failed(&e))?;
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| transport)
        .map_err(|e| failed(&e))?
        .with_behaviour(|_| behaviour)
        .map_err(|e| failed(&e))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    let mut control = swarm.behaviour().streams.new_control();
    let inbound =
        control.accept(libp2p::StreamProtocol::new(blob::PROTOCOL)).map_err(|e| failed(&e))?;
    let at = match hear(&mut swarm, listen).await {
        Ok(at) => Some(at),
        Err(why) => {
            tracing::warn!(
                %listen, why,
                "sister relays cannot reach this one (listen.sisters); it asks them all the same"
            );
            None
        }
    };
    Ok((Node { swarm, inbound }, control, at))
}

async fn hear(swarm: &mut Swarm<Behaviour>, listen: SocketAddr) -> Result<SocketAddr, String> {
    let address = Multiaddr::from(listen.ip()).with(Protocol::Tcp(listen.port()));
    let listener = swarm.listen_on(address).map_err(|e| e.to_string())?;
    let first = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                    let port = address.iter().find_map(|part| match part {
                        Protocol::Tcp(port) => Some(port),
                        _ => None,
                    });
                    return Ok(SocketAddr::new(listen.ip(), port.unwrap_or(listen.port())));
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. }
                    if listener_id == listener =>
                {
                    return Err(reason.err().map_or_else(|| "closed".into(), |e| e.to_string()));
                }
                _ => {}
            }
        }
    };
    timeout(LISTEN, first).await.map_err(|_| "it takes too long".to_owned())?
}

/// Serves and dials until cancelled.
pub(super) async fn run(
    sisters: Sisters,
    node: Node,
    held: serve::Held,
    cancel: CancellationToken,
) {
    let Node { mut swarm, mut inbound } = node;
    let serving = Arc::new(Semaphore::new(SERVING));
    let mut tries: HashMap<PeerId, (Instant, Duration)> = HashMap::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            event = swarm.select_next_some() => on_event(&sisters, &event, &mut tries),
            Some((peer, stream)) = inbound.next() => {
                if !sisters.knows(&peer) {
                    sisters.0.metrics.refused.inc();
                    continue;
                }
                let Ok(permit) = Arc::clone(&serving).try_acquire_owned() else { continue };
                let (sisters, held, cancel) = (sisters.clone(), held.clone(), cancel.clone());
                tokio::spawn(async move {
                    let served = serve::serve(&held, stream, &sisters.0.metrics.served);
                    let ended = cancel.run_until_cancelled(served).await;
                    if let Some(Err(error)) = ended {
                        tracing::debug!(%peer, %error, "a sister's request ended early");
                    }
                    drop(permit);
                });
            }
            () = sisters.0.changed.notified() => {
                tries.clear();
                mind(&sisters, &mut swarm, &mut tries);
            }
            _ = look.tick() => mind(&sisters, &mut swarm, &mut tries),
        }
    }
}

fn on_event(
    sisters: &Sisters,
    event: &SwarmEvent<BehaviourEvent>,
    tries: &mut HashMap<PeerId, (Instant, Duration)>,
) {
    let shared = &sisters.0;
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => {
            shared.connected().insert(*peer_id);
            tries.remove(peer_id);
        }
        SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
            shared.connected().remove(peer_id);
        }
        SwarmEvent::IncomingConnectionError { error: ListenError::Denied { .. }, .. } => {
            shared.metrics.refused.inc();
        }
        _ => return,
    }
    let connected = shared.connected().len();
    shared.metrics.connected.set(i64::try_from(connected).unwrap_or(i64::MAX));
}

/// Dials who is missing, and closes to who is not on the list any more.
fn mind(
    sisters: &Sisters,
    swarm: &mut Swarm<Behaviour>,
    tries: &mut HashMap<PeerId, (Instant, Duration)>,
) {
    let now = Instant::now();
    let known = sisters.0.known().clone();
    let connected: Vec<PeerId> = swarm.connected_peers().copied().collect();
    for peer in connected.iter().filter(|peer| !known.contains_key(peer)) {
        // An error says that it is gone already.
        let _gone = swarm.disconnect_peer_id(*peer);
    }
    tries.retain(|peer, _| known.contains_key(peer));
    for (peer, addresses) in known {
        if addresses.is_empty() || connected.contains(&peer) {
            continue;
        }
        let (due, pause) = tries.get(&peer).copied().unwrap_or((now, PAUSE.0));
        if due > now {
            continue;
        }
        let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
        tries.insert(peer, (now + jittered, (pause * 2).min(PAUSE.1)));
        if let Err(error) = swarm.dial(DialOpts::peer_id(peer).addresses(addresses).build()) {
            tracing::debug!(%peer, %error, "a sister relay was not dialled");
        }
    }
}
