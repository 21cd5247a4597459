//! The way from a commit to every socket.
//!
//! In one process: a bounded broadcast. A socket that cannot keep up loses its
//! place and is told to refetch; it never slows the others. Several cloud nodes
//! put another implementation of [`Bus`] behind the same trait.
//!
//! Ids are numbered before the commit, so two events may be published in the
//! other order than their numbers. The memory of recent events is therefore in
//! order of publishing, and resuming from it misses and repeats nothing.

use super::Event;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::broadcast;

/// Events that a socket may be behind before it must refetch.
const BEHIND: usize = 8192;
/// Numbered events remembered for resuming.
const REMEMBERED: usize = 8192;

/// Receives published events.
pub type Subscription = broadcast::Receiver<Arc<Event>>;

/// What a bus remembers after an id.
#[derive(Debug)]
pub enum Replay {
    /// Everything published after it, in order.
    Complete(Vec<Arc<Event>>),
    /// The id is not remembered: ask the table.
    Unknown,
}

/// Carries committed events to all sockets.
pub trait Bus: Send + Sync + 'static {
    /// Sends to all that listen; never waits.
    fn publish(&self, event: Arc<Event>);
    /// Listens from now on.
    fn subscribe(&self) -> Subscription;
    /// Listens from now on, and returns what was published after `id` until now.
    fn resume(&self, id: i64) -> (Replay, Subscription);
}

/// The bus of a single process.
pub struct LocalBus {
    sender: broadcast::Sender<Arc<Event>>,
    recent: Mutex<VecDeque<Arc<Event>>>,
}

impl std::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBus").field("listeners", &self.sender.receiver_count()).finish()
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND).0, recent: Mutex::default() }
    }
}

impl Bus for LocalBus {
    fn publish(&self, event: Arc<Event>) {
        // Sending under the lock keeps memory and broadcast in the same order.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if event.id.is_some() {
            if recent.len() == REMEMBERED {
                recent.pop_front();
            }
            recent.push_back(event.clone());
        }
        // An error only says that nobody listens.
        let _ = self.sender.send(event);
    }

    fn subscribe(&self) -> Subscription {
        self.sender.subscribe()
    }

    fn resume(&self, id: i64) -> (Replay, Subscription) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let subscription = self.sender.subscribe();
        let replay = match recent.iter().position(|event| event.id == Some(id)) {
            Some(at) => Replay::Complete(recent.iter().skip(at + 1).cloned().collect()),
            None => Replay::Unknown,
        };
        (replay, subscription)
    }
}
