//! The way to the cloud: one connection, one lane stream, tunnels beside it.
//!
//! The node dials the cloud's pinned peer id, QUIC first and TCP where UDP does
//! not pass, and opens `/unifyit/lane/1` ([`session`]). When the connection or
//! the session ends it dials again after a pause that doubles with each failure,
//! up to half a minute, with jitter, so that thousands of relays do not return
//! in step. A line that is silent ([`line`]) is left for a second connection that
//! answers first ([`beside`]). Nothing depends on the state of a connection: lanes
//! go on from the positions that both sides keep (G2).

mod asking;
mod beside;
pub(crate) mod framing;
mod greeting;
mod line;
mod metrics;
mod node;
pub(crate) mod session;
mod start;

#[cfg(test)]
mod tests;

use crate::{blobs::Blobs, resolver::Names, telemetry::Telemetry, tunnel::Tunnels};
use beside::Found;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{Fuse, FusedFuture as _},
};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    identity::Keypair,
    ping,
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use metrics::UplinkMetrics;
use node::{Behaviour, BehaviourEvent, Cloud, Node};
use session::{Ended, SessionParts};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::link;

pub(crate) use metrics::CLOCK_APART;
pub use node::NodeError;

/// How long one tier of addresses may take.
const DIAL: Duration = Duration::from_secs(6);
/// Pause between attempts: first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A connection of this length counts as a success: the next pause is short
/// again. Shorter ones may be the work of a cloud that cannot bear its relays.
const GOOD: Duration = Duration::from_secs(5);
/// How long the cloud has to take a farewell and close.
const FAREWELL: Duration = Duration::from_millis(300);
/// Longest wait for the connection to close.
const CLOSING: Duration = Duration::from_secs(2);

/// Whether the cloud is reached, for the local UI and the site's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkState {
    /// Whether a session runs.
    pub up: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why not, when not.
    pub reason: String,
}

/// What the uplink works with.
pub(crate) struct Uplink {
    pub(crate) keypair: Keypair,
    pub(crate) names: Names,
    pub(crate) cloud_peer: String,
    pub(crate) cloud_addresses: Vec<String>,
    pub(crate) session: SessionParts,
    pub(crate) tunnels: Tunnels,
    pub(crate) blobs: Blobs,
    pub(crate) state: watch::Sender<UplinkState>,
    pub(crate) cancel: CancellationToken,
}

impl Uplink {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// [`NodeError`] when the node cannot be set up at all.
    pub(crate) async fn run(self, telemetry: &Telemetry) -> Result<(), NodeError> {
        let cloud = Cloud::parse(&self.cloud_peer, &self.cloud_addresses)?;
        let metrics = Arc::new(UplinkMetrics::register(telemetry));
        let mut node = self.node(&cloud)?;
        self.blobs.attach(node.control.clone(), cloud.peer);
        let mut pause = PAUSE.0;
        let mut connected = None;
        while !self.cancel.is_cancelled() {
            let replaced = connected.is_some();
            let reached = match connected.take() {
                Some(transport) => Ok(transport),
                None => self.connect(&mut node.swarm, &cloud).await,
            };
            let (end, lasted) = match reached {
                Ok(transport) => {
                    metrics.connected_by(Some(transport));
                    metrics.pulse.begin(replaced);
                    let began = Instant::now();
                    let end = self.serve(&mut node, &cloud, &metrics).await;
                    (end, began.elapsed())
                }
                Err(reason) => (End::Over(Ended::Lost(reason)), Duration::ZERO),
            };
            self.session.live.set_up(false);
            self.session.travel.part();
            metrics.up.set(0);
            metrics.connected_by(None);
            if self.cancel.is_cancelled() {
                break;
            }
            let ended = match end {
                End::Replaced(other, transport) => {
                    self.blobs.attach(other.control.clone(), cloud.peer);
                    node = *other;
                    connected = Some(transport);
                    continue;
                }
                End::Over(ended) => ended,
                End::Broken => return Ok(()),
            };
            self.down(&ended);
            metrics.attempts.inc();
            pause = next_pause(pause, &ended, lasted);
            let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
            tokio::select! {
                () = self.cancel.cancelled() => break,
                () = idle(&mut node.swarm) => {}
                () = tokio::time::sleep(jittered) => {}
            }
        }
        Ok(())
    }

    fn node(&self, cloud: &Cloud) -> Result<Node, NodeError> {
        let how = (self.keypair.clone(), self.names.clone());
        Node::open(how, cloud.peer, self.tunnels.clone(), &self.cancel)
    }

    fn down(&self, ended: &Ended) {
        let reason = ended.to_string();
        let was = self.state.borrow().clone();
        if was.up || was.reason != reason {
            match ended {
                Ended::Refused(_) => {
                    tracing::error!(reason, "the cloud does not accept this relay")
                }
                _ => tracing::warn!(reason, "no connection to the cloud; trying again"),
            }
        }
        let now_ms = self.session.store.now_ms();
        let since_ms = if was.up { now_ms } else { was.since_ms };
        self.state.send_replace(UplinkState { up: false, since_ms, reason });
    }

    /// Dials tier by tier until connected; returns the transport's name.
    async fn connect(
        &self,
        swarm: &mut Swarm<Behaviour>,
        cloud: &Cloud,
    ) -> Result<&'static str, String> {
        let mut reason = String::new();
        for (transport, addresses) in cloud.named_tiers() {
            let outcome = tokio::select! {
                () = self.cancel.cancelled() => return Err("the relay is stopping".into()),
                outcome = timeout(DIAL, dial(swarm, cloud.peer, addresses)) => outcome,
            };
            match outcome {
                Ok(Ok(())) => return Ok(transport),
                Ok(Err(error)) => reason = error,
                Err(_) => reason = "the cloud does not answer".into(),
            }
        }
        Err(reason)
    }

    /// Runs a session over the connection while driving the node, and looks for
    /// another one when the line is silent.
    async fn serve(&self, node: &mut Node, cloud: &Cloud, metrics: &Arc<UplinkMetrics>) -> End {
        let peer = cloud.peer;
        let mut control = node.control.clone();
        let parts = self.session.clone();
        let (state, shared) = (self.state.clone(), Arc::clone(metrics));
        let stop = self.cancel.child_token();
        let stopped = stop.clone();
        let mut session = tokio::spawn(async move {
            let name = node::protocol(link::PROTOCOL);
            match control.open_stream(peer, name).await {
                Ok(stream) => session::run(parts, stream, &shared, &state, stopped).await,
                Err(error) => Ended::Lost(error.to_string()),
            }
        });
        let pulse = &metrics.pulse;
        let control = node.control.clone();
        let (swarm, tunnels) = (&mut node.swarm, &mut node.tunnels);
        let mut looking = pin!(Fuse::terminated());
        let ended = loop {
            tokio::select! {
                ended = &mut session => {
                    break ended.unwrap_or_else(|e| Ended::Lost(format!("a task failed: {e}")));
                }
                event = swarm.select_next_some() => match event {
                    SwarmEvent::ConnectionClosed { num_established: 0, cause, .. } => {
                        let cause = cause.map_or_else(
                            || "the cloud closed the connection".to_owned(),
                            |error| error.to_string(),
                        );
                        stop.cancel();
                        break match timeout(CLOSING, &mut session).await {
                            Ok(Ok(ended @ Ended::Refused(_))) => ended,
                            _ => Ended::Lost(cause),
                        };
                    }
                    SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result: Ok(_), .. })) => {
                        pulse.heard();
                    }
                    _ => {}
                },
                () = tunnels.ended(), if !tunnels.is_over() => {
                    if !self.cancel.is_cancelled() {
                        session.abort();
                        return End::Broken;
                    }
                }
                () = pulse.suspicious(), if looking.is_terminated() => {
                    let open = || self.node(cloud).ok();
                    looking.set(beside::look(pulse, control.clone(), cloud, open).fuse());
                }
                found = &mut looking, if !looking.is_terminated() => match found {
                    Found::Answered => {
                        pulse.heard();
                        metrics.silent.with_label_values(&["answered"]).inc();
                    }
                    Found::Other(other, transport) => {
                        metrics.silent.with_label_values(&["replaced"]).inc();
                        tracing::warn!(transport, "the line to the cloud was silent and another connection answered: it takes its place");
                        session.abort();
                        // Its hold on what sessions share ends with it.
                        drop(session.await);
                        return End::Replaced(other, transport);
                    }
                    Found::Nothing => {
                        metrics.silent.with_label_values(&["lost"]).inc();
                        break Ended::Lost("the cloud does not answer".into());
                    }
                },
            }
        };
        session.abort();
        if !matches!(ended, Ended::Lost(_)) {
            // Closing a QUIC connection throws away what is on its way: the
            // farewell gets a moment.
            drop(timeout(FAREWELL, closed(swarm)).await);
        }
        if swarm.disconnect_peer_id(peer).is_ok() {
            drop(timeout(CLOSING, closed(swarm)).await);
        }
        End::Over(ended)
    }
}

/// How the use of a connection ended.
enum End {
    /// With nothing in its place.
    Over(Ended),
    /// Another connection answered while this one was silent.
    Replaced(Box<Node>, &'static str),
    /// Tunnels are served no more, and nobody said so: the uplink ends, and is missed.
    Broken,
}

/// The pause after a connection that `lasted` so long; none is of no length.
fn next_pause(last: Duration, ended: &Ended, lasted: Duration) -> Duration {
    match ended {
        Ended::Refused(_) => PAUSE.1,
        _ if lasted >= GOOD => PAUSE.0,
        _ => (last * 2).min(PAUSE.1),
    }
}

/// Dials addresses of a peer until one is connected.
async fn dial(
    swarm: &mut Swarm<Behaviour>,
    peer: PeerId,
    addresses: &[Multiaddr],
) -> Result<(), String> {
    let options = DialOpts::peer_id(peer)
        .condition(PeerCondition::Always)
        .addresses(addresses.to_vec())
        .build();
    let attempt = options.connection_id();
    swarm.dial(options).map_err(|error| error.to_string())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer => return Ok(()),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. }
                if connection_id == attempt =>
            {
                return Err(error.to_string());
            }
            _ => {}
        }
    }
}

async fn closed(swarm: &mut Swarm<Behaviour>) {
    while swarm.network_info().num_peers() > 0 {
        swarm.select_next_some().await;
    }
}

/// Drives the node while nothing is wanted of it. Never returns.
async fn idle(swarm: &mut Swarm<Behaviour>) {
    loop {
        swarm.select_next_some().await;
    }
}
