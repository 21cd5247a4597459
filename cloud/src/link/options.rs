//! What the link is started with, and listening.

use super::{LinkLimits, LinkMetrics, Records, behaviour::Behaviour};
use crate::{
    db::{Db, DbError},
    events::Watches,
    trust::{Trust, TrustError},
};
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, swarm::SwarmEvent};
use std::{path::PathBuf, sync::Arc};

/// Where and how the link listens.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses that relay tokens name; when empty, those listened on.
    pub announce: Vec<String>,
    /// The state folder: identity and blobs.
    pub state: PathBuf,
    /// Bounds.
    pub limits: LinkLimits,
}

/// What the link works with.
pub struct LinkDeps {
    /// The database.
    pub db: Db,
    /// The authorities.
    pub trust: Trust,
    /// Who watches what.
    pub watches: Watches,
    /// What records mean.
    pub records: Arc<dyn Records>,
    /// Figures.
    pub metrics: LinkMetrics,
}

impl std::fmt::Debug for LinkDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkDeps").finish_non_exhaustive()
    }
}

/// Why the link does not start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The identity cannot be had.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The database cannot say whether relays are enrolled.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An address is none.
    #[error("{0} is not a multiaddress such as /ip4/0.0.0.0/tcp/4001")]
    Address(String),
    /// An address cannot be listened on.
    #[error("cannot listen for relays on {0}: {1}; free the port or change link.listen")]
    Listen(String, String),
    /// The node cannot be set up.
    #[error("{0}")]
    Setup(String),
}

/// Listens on every address and waits until the actual ports are known.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    on: &[String],
) -> Result<Vec<Multiaddr>, LinkError> {
    let mut waiting = std::collections::HashMap::new();
    for text in on {
        let address: Multiaddr = text.parse().map_err(|_| LinkError::Address(text.clone()))?;
        let id =
            swarm.listen_on(address).map_err(|e| LinkError::Listen(text.clone(), e.to_string()))?;
        waiting.insert(id, text.clone());
    }
    let mut addresses = Vec::new();
    while !waiting.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                waiting.remove(&listener_id);
                addresses.push(address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(text) = waiting.remove(&listener_id) {
                    let why = reason.err().map_or_else(|| "closed".into(), |e| e.to_string());
                    return Err(LinkError::Listen(text, why));
                }
            }
            SwarmEvent::ListenerError { listener_id, error } => {
                if let Some(text) = waiting.remove(&listener_id) {
                    return Err(LinkError::Listen(text, error.to_string()));
                }
            }
            _ => {}
        }
    }
    Ok(addresses)
}
