//! Who looks at which devices and tasks.
//!
//! Raw samples and live output are worth their bytes only while somebody looks.
//! Sockets register here; the link reads the whole set and tells each relay
//! about its own devices. A registration ends with its guard, and so does the place
//! of a socket among those of its person.

use super::vain::Vain;
use crate::{authz::Sender, http::seldom::Seldom};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;
use unifyit_protocol::ids::{DeviceId, RelayId, TaskId};
use uuid::Uuid;

/// Devices that somebody watches, by the relay that serves them.
pub type Watched = HashMap<RelayId, Vec<DeviceId>>;

/// Most devices that one relay is asked to watch.
pub const MAX_PER_RELAY: usize = 64;
/// Event sockets of one person at once, by whichever sessions and keys.
pub(super) const MAX_SOCKETS: usize = 32;
/// Of them, by all keys of the person.
pub(super) const MAX_BY_KEYS: usize = MAX_SOCKETS / 2;

#[derive(Default)]
struct Counts {
    devices: HashMap<(RelayId, DeviceId), usize>,
    tasks: HashMap<TaskId, usize>,
    listeners: HashMap<Uuid, usize>,
    /// Of them, those by keys.
    by_keys: HashMap<Uuid, usize>,
    said: Seldom,
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Watches {
    counts: Arc<Mutex<Counts>>,
    changes: watch::Sender<Arc<Watched>>,
    vain: Arc<Vain>,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watches").finish_non_exhaustive()
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            counts: Arc::default(),
            changes: watch::channel(Arc::default()).0,
            vain: Arc::default(),
        }
    }
}

impl Watches {
    /// Registers a socket's wishes until the guard is dropped.
    #[must_use]
    pub fn register(&self, devices: Vec<(RelayId, DeviceId)>, tasks: Vec<TaskId>) -> WatchGuard {
        self.change(|counts| {
            for key in &devices {
                *counts.devices.entry(*key).or_default() += 1;
            }
            for key in &tasks {
                *counts.tasks.entry(*key).or_default() += 1;
            }
        });
        WatchGuard { watches: self.clone(), devices, tasks }
    }

    /// A place for one more socket of a person, until it is dropped; none when they
    /// or their keys have as many as they may have.
    #[must_use]
    pub(super) fn listen(&self, sender: Sender) -> Option<Listener> {
        let Sender { person, by_key } = sender;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let open = counts.listeners.get(&person).copied().unwrap_or_default();
        let keys = counts.by_keys.get(&person).copied().unwrap_or_default();
        if open >= MAX_SOCKETS || (by_key && keys >= MAX_BY_KEYS) {
            if let Some(times) = counts.said.due() {
                tracing::warn!(%person, open, keys, times, "Somebody has as many event sockets as one may have; another was refused.");
            }
            return None;
        }
        counts.listeners.insert(person, open + 1);
        if by_key {
            counts.by_keys.insert(person, keys + 1);
        }
        Some(Listener { watches: self.clone(), sender })
    }

    /// The watched devices, and a way to await their change.
    #[must_use]
    pub fn devices(&self) -> watch::Receiver<Arc<Watched>> {
        self.changes.subscribe()
    }

    /// Whether a relay is asked to watch a device: it is not asked for all, where more
    /// are watched than [`MAX_PER_RELAY`].
    #[must_use]
    pub fn asked(&self, relay: RelayId, device: DeviceId) -> bool {
        self.changes.borrow().get(&relay).is_some_and(|devices| devices.contains(&device))
    }

    /// Which devices were waited for in vain.
    #[must_use]
    pub fn vain(&self) -> &Vain {
        &self.vain
    }

    /// Whether somebody watches a task's output.
    #[must_use]
    pub fn task(&self, task: TaskId) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.tasks.contains_key(&task)
    }

    /// Whether somebody watches any task's output.
    #[must_use]
    pub fn any_task(&self) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        !counts.tasks.is_empty()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        let mut watched = Watched::new();
        for (relay, device) in counts.devices.keys() {
            watched.entry(*relay).or_default().push(*device);
        }
        for devices in watched.values_mut() {
            devices.sort_unstable();
            devices.truncate(MAX_PER_RELAY);
        }
        // Under the lock, so that two changes are published in their order.
        self.changes.send_if_modified(|present| {
            let changed = **present != watched;
            if changed {
                *present = Arc::new(watched);
            }
            changed
        });
    }
}

/// A socket's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    watches: Watches,
    sender: Sender,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut counts = self.watches.counts.lock().unwrap_or_else(PoisonError::into_inner);
        release(&mut counts.listeners, &self.sender.person);
        if self.sender.by_key {
            release(&mut counts.by_keys, &self.sender.person);
        }
    }
}

/// Keeps a registration alive.
#[derive(Debug)]
pub struct WatchGuard {
    watches: Watches,
    devices: Vec<(RelayId, DeviceId)>,
    tasks: Vec<TaskId>,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let (devices, tasks) = (std::mem::take(&mut self.devices), std::mem::take(&mut self.tasks));
        self.watches.change(|counts| {
            for key in &devices {
                release(&mut counts.devices, key);
            }
            for key in &tasks {
                release(&mut counts.tasks, key);
            }
        });
    }
}

fn release<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_device_beyond_the_most_is_not_asked_for() {
        let (watches, relay) = (Watches::default(), RelayId::generate());
        let mut all: Vec<DeviceId> = (0..=MAX_PER_RELAY).map(|_| DeviceId::generate()).collect();
        all.sort_unstable();
        let last = all.pop().unwrap();
        let others = watches.register(all.iter().map(|id| (relay, *id)).collect(), Vec::new());
        let _own = watches.register(vec![(relay, last)], Vec::new());
        assert!(watches.asked(relay, all[0]) && !watches.asked(relay, last));
        assert!(!watches.asked(RelayId::generate(), all[0]));
        drop(others);
        assert!(watches.asked(relay, last));
    }

    #[test]
    fn a_person_has_so_many_sockets_and_leaves_others_theirs() {
        let person = |by_key| Sender { person: Uuid::now_v7(), by_key };
        let (watches, busy) = (Watches::default(), person(false));
        let held: Vec<Listener> = (0..100).filter_map(|_| watches.listen(busy)).collect();
        assert_eq!(held.len(), MAX_SOCKETS);
        assert!(watches.listen(person(true)).is_some());
        drop(held);
        let key = Sender { by_key: true, ..busy };
        let held: Vec<Listener> = (0..100).filter_map(|_| watches.listen(key)).collect();
        assert_eq!(held.len(), MAX_BY_KEYS);
        assert!(watches.listen(busy).is_some(), "keys leave the console its half");
        drop(held);
        let counts = watches.counts.lock().unwrap();
        assert!(counts.listeners.is_empty() && counts.by_keys.is_empty(), "all is given back");
    }
}
