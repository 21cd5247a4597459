//! The relays that have a session at this moment, and the handle to them.
//!
//! A relay has one session at a time: a new stream of the same relay cancels the
//! old session and waits for its turn, so that no two transactions of one relay
//! are ever under way from here.

use super::{Tunnel, TunnelError, metrics::LinkMetrics, tunnel};
use crate::db::{DownRow, Nudge};
use libp2p::PeerId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{ids::RelayId, tunnel::TunnelOpen};

/// Downlink entries handed to a session that it has not taken. What does not fit
/// is read from the table.
const HANDED: usize = 64;

/// A session as others see it.
#[derive(Debug, Clone)]
struct Live {
    peer: PeerId,
    nudge: Arc<Notify>,
    handed: mpsc::Sender<DownRow>,
    cancel: CancellationToken,
    /// Held while the session runs.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Inner {
    peer: PeerId,
    announce: Vec<String>,
    sessions: Mutex<HashMap<RelayId, Live>>,
    control: libp2p_stream::Control,
    metrics: LinkMetrics,
}

/// The link, for the rest of the cloud. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

/// A session's own side of its entry.
pub(super) struct Slot {
    pub(super) nudge: Arc<Notify>,
    pub(super) handed: mpsc::Receiver<DownRow>,
    pub(super) cancel: CancellationToken,
    _turn: OwnedMutexGuard<()>,
}

impl Drop for Slot {
    /// Whatever ended the session's task, nobody may believe that it runs.
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Link {
    pub(super) fn new(
        peer: PeerId,
        announce: Vec<String>,
        control: libp2p_stream::Control,
        metrics: LinkMetrics,
    ) -> Self {
        Self(Arc::new(Inner { peer, announce, sessions: Mutex::default(), control, metrics }))
    }

    /// The cloud's peer id: what relay tokens pin.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.0.peer.to_base58()
    }

    /// Multiaddresses at which relays reach the cloud: what relay tokens name.
    #[must_use]
    pub fn announced(&self) -> &[String] {
        &self.0.announce
    }

    /// Whether a relay has a session.
    #[must_use]
    pub fn online(&self, relay: RelayId) -> bool {
        self.sessions().get(&relay).is_some_and(|s| !s.cancel.is_cancelled())
    }

    /// Hands a relay's session its new downlink entries, or makes it look at the
    /// table and at whether it may stay.
    pub(super) fn nudge(&self, nudge: &Nudge) {
        if let Some(session) = self.sessions().get(&nudge.relay) {
            let taken = |row: &DownRow| session.handed.try_send(row.clone()).is_ok();
            if nudge.rows.is_empty() || !nudge.rows.iter().all(taken) {
                session.nudge.notify_one();
            }
        }
    }

    /// As [`Self::nudge`], for all of them.
    pub(super) fn nudge_all(&self) {
        for session in self.sessions().values() {
            session.nudge.notify_one();
        }
    }

    /// Opens a tunnel through a relay. Resolves when the relay has passed the
    /// command on.
    ///
    /// # Errors
    /// [`TunnelError`] with a sentence for the technician.
    pub async fn open_tunnel(
        &self,
        relay: RelayId,
        open: TunnelOpen,
    ) -> Result<Tunnel, TunnelError> {
        let peer = {
            let sessions = self.sessions();
            let live = sessions.get(&relay).filter(|s| !s.cancel.is_cancelled());
            live.map(|s| s.peer).ok_or(TunnelError::RelayAway)?
        };
        tunnel::open(self.0.control.clone(), peer, open, self.0.metrics.tunnels.clone()).await
    }

    /// Registers a session and waits until the one before has ended.
    pub(super) async fn begin(&self, relay: RelayId, peer: PeerId) -> Slot {
        let (nudge, cancel) = (Arc::new(Notify::new()), CancellationToken::new());
        let (hand, handed) = mpsc::channel(HANDED);
        let turn = {
            let mut sessions = self.sessions();
            let turn = match sessions.get(&relay) {
                Some(before) => {
                    before.cancel.cancel();
                    before.turn.clone()
                }
                None => Arc::default(),
            };
            let live = Live {
                peer,
                nudge: nudge.clone(),
                handed: hand,
                cancel: cancel.clone(),
                turn: turn.clone(),
            };
            sessions.insert(relay, live);
            turn
        };
        let held = turn.lock_owned().await;
        self.0.metrics.relays.set(i64::try_from(self.sessions().len()).unwrap_or(i64::MAX));
        Slot { nudge, handed, cancel, _turn: held }
    }

    /// Whether a session is the relay's latest: another one may be waiting for its
    /// turn.
    pub(super) fn is_latest(&self, relay: RelayId, slot: &Slot) -> bool {
        self.sessions().get(&relay).is_some_and(|s| Arc::ptr_eq(&s.nudge, &slot.nudge))
    }

    /// Ends a session.
    pub(super) fn end(&self, relay: RelayId, slot: &Slot) {
        let mut sessions = self.sessions();
        if sessions.get(&relay).is_some_and(|s| Arc::ptr_eq(&s.nudge, &slot.nudge)) {
            sessions.remove(&relay);
        }
        self.0.metrics.relays.set(i64::try_from(sessions.len()).unwrap_or(i64::MAX));
    }

    /// Cancels every session, for a stop.
    pub(super) fn cancel_all(&self) {
        for session in self.sessions().values() {
            session.cancel.cancel();
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<RelayId, Live>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
