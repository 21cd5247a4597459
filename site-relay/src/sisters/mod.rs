//! Relays of the same organization give each other files over `/unifyit/blob/1`.
//!
//! The cloud names a relay's sisters over the lane stream; the list is the whole
//! permission, both ways: a peer that is not on it is refused at the handshake
//! ([`node`]), asked for nothing and told nothing. Without a list there is no
//! sister. What a sister sends is believed only when the whole hashes to its name
//! ([`fetch`]); who lied is not asked for a while. What is served leaves within the
//! line's plan for fetching ahead ([`serve`]).
//!
//! The list lives in memory: after a restart without the cloud there are no
//! sisters until it is reached again.

mod fetch;
mod node;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use fetch::{Name, Trouble};
pub use node::NodeError;

use crate::{blobs::Blobs, cache::Cache, telemetry::Telemetry};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use libp2p_stream::Control;
use prometheus::{IntCounter, IntGauge};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::link::Sister;

/// Most sisters, and addresses of one.
const MAX_SISTERS: usize = 64;
const MAX_ADDRESSES: usize = 16;
/// How long a sister that lied is not asked, and one that broke off.
const LIED: Duration = Duration::from_secs(3600);
const BROKE_OFF: Duration = Duration::from_secs(30);

/// Peers and where they are.
type Known = HashMap<PeerId, Vec<Multiaddr>>;

/// The sisters. Cheap to clone.
#[derive(Clone)]
pub struct Sisters(Arc<Shared>);

impl std::fmt::Debug for Sisters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sisters").field("known", &self.0.known().len()).finish_non_exhaustive()
    }
}

struct Shared {
    known: Arc<RwLock<Known>>,
    connected: Mutex<HashSet<PeerId>>,
    /// Who is not asked, and until when.
    aside: Mutex<HashMap<PeerId, Instant>>,
    /// The list changed.
    changed: Notify,
    control: Control,
    metrics: Metrics,
}

struct Metrics {
    connected: IntGauge,
    refused: IntCounter,
    files: IntCounter,
    fetched: IntCounter,
    served: IntCounter,
    lies: IntCounter,
}

impl Metrics {
    fn register(telemetry: &Telemetry) -> Self {
        Self {
            connected: telemetry.gauge("sisters_connected", "Sister relays connected."),
            refused: telemetry.counter(
                "sister_refused",
                "Connections and requests of relays that are no sisters.",
            ),
            files: telemetry.counter("sister_files", "Files that came from a sister relay."),
            fetched: telemetry.counter("sister_fetched_bytes", "Bytes from sister relays."),
            served: telemetry.counter("sister_served_bytes", "Bytes to sister relays."),
            lies: telemetry.counter(
                "sister_mismatches",
                "Files of sister relays that were not what was asked for.",
            ),
        }
    }
}

impl Shared {
    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> MutexGuard<'_, HashSet<PeerId>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aside(&self) -> MutexGuard<'_, HashMap<PeerId, Instant>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node before it runs.
pub struct SistersNode(node::Node);

impl Sisters {
    /// Sets the node up. `listen` is where sisters reach it; that it cannot listen
    /// is told and no reason to go without asking others.
    ///
    /// # Errors
    /// [`NodeError`] when the node cannot be made at all.
    pub async fn open(
        keypair: Keypair,
        listen: SocketAddr,
        telemetry: &Telemetry,
    ) -> Result<(Self, SistersNode, Option<SocketAddr>), NodeError> {
        let known = Arc::default();
        let (node, control, at) = node::bind(keypair, listen, Arc::clone(&known)).await?;
        let shared = Shared {
            known,
            connected: Mutex::default(),
            aside: Mutex::default(),
            changed: Notify::new(),
            control,
            metrics: Metrics::register(telemetry),
        };
        Ok((Self(Arc::new(shared)), SistersNode(node), at))
    }

    /// Runs the node until cancelled, serving what `cache` and `blobs` hold.
    pub async fn run(
        self,
        node: SistersNode,
        cache: Arc<Cache>,
        blobs: Blobs,
        cancel: CancellationToken,
    ) {
        node::run(self, node.0, serve::Held { cache, blobs }, cancel).await;
    }

    /// Replaces the list.
    pub(crate) fn set(&self, list: &[Sister]) {
        let mut known = Known::new();
        for sister in list.iter().take(MAX_SISTERS) {
            let Ok(peer) = sister.peer.parse::<PeerId>() else { continue };
            let addresses = sister.addresses.iter().take(MAX_ADDRESSES);
            known.insert(peer, addresses.filter_map(|text| address(text)).collect());
        }
        tracing::debug!(sisters = known.len(), "the cloud named the sister relays");
        self.0.aside().retain(|peer, _| known.contains_key(peer));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        self.0.changed.notify_one();
    }

    /// Sisters that can be asked at once.
    pub(crate) fn ready(&self) -> Vec<PeerId> {
        let now = Instant::now();
        let aside = self.0.aside();
        let known = self.0.known();
        let may = |peer: &&PeerId| {
            known.contains_key(peer) && aside.get(peer).is_none_or(|until| *until <= now)
        };
        self.0.connected().iter().filter(may).copied().collect()
    }

    /// Does not ask a sister for a while.
    pub(crate) fn set_aside(&self, peer: PeerId, trouble: &Trouble) {
        let lied = matches!(trouble, Trouble::Lied);
        if lied {
            self.0.metrics.lies.inc();
            tracing::warn!(%peer, "a sister relay sent other bytes than were asked for");
        }
        let until = Instant::now() + if lied { LIED } else { BROKE_OFF };
        self.0.aside().insert(peer, until);
    }

    /// A file came whole and right from a sister.
    pub(crate) fn gave(&self) {
        self.0.metrics.files.inc();
    }

    pub(crate) fn control(&self) -> Control {
        self.0.control.clone()
    }

    pub(crate) fn fetched_bytes(&self) -> &IntCounter {
        &self.0.metrics.fetched
    }

    fn knows(&self, peer: &PeerId) -> bool {
        self.0.known().contains_key(peer)
    }
}

/// `host:port` as an address to dial.
fn address(text: &str) -> Option<Multiaddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => Protocol::Ip4(ip),
        Ok(IpAddr::V6(ip)) => Protocol::Ip6(ip),
        Err(_) => Protocol::Dns(host.to_owned().into()),
    };
    Some(Multiaddr::empty().with(host).with(Protocol::Tcp(port)))
}
