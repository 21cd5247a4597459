//! Keeps a fetch going for a client that comes for the next part soon.
//!
//! BITS and Delivery Optimization take a file in many small requests and pause in
//! between. A fetch that nobody waits for is given up; between two such requests
//! nobody does, and each would begin the file anew. So a request for a part
//! leaves somebody waiting for a while, once a file.

use super::{Cache, flight::Phase, policy::Resource};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long the next part may take to be asked for.
const FOR: Duration = Duration::from_secs(60);
/// Files that are kept going at a time; others are given up as without this.
const MOST: usize = 256;

/// Until when each file is waited for.
pub(super) type Lingering = Mutex<HashMap<Resource, Instant>>;

impl Cache {
    /// Waits on for a fetch of which a client just took a part.
    pub(super) fn linger(self: &Arc<Self>, resource: &Resource, rx: watch::Receiver<Phase>) {
        let until = Instant::now() + FOR;
        {
            let mut all = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
            let many = all.len() >= MOST;
            match all.entry(resource.clone()) {
                Entry::Occupied(mut entry) => {
                    entry.insert(until);
                    return;
                }
                Entry::Vacant(_) if many => return,
                Entry::Vacant(entry) => drop(entry.insert(until)),
            }
        }
        let (cache, resource) = (Arc::clone(self), resource.clone());
        tokio::spawn(async move { cache.wait_on(&resource, rx).await });
    }

    async fn wait_on(&self, resource: &Resource, mut rx: watch::Receiver<Phase>) {
        let until = || {
            let all = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(resource).copied().filter(|until| *until > Instant::now())
        };
        while let Some(until) = until() {
            if tokio::time::timeout_at(until, rx.wait_for(Phase::is_over)).await.is_ok() {
                break;
            }
        }
        let mut all = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(resource);
    }
}
