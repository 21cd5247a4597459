//! Who looks at which devices and tasks.
//!
//! Raw samples and live output are worth their bytes only while somebody looks.
//! Sockets register here; the link reads the whole set and tells each relay
//! about its own devices. A registration ends with its guard.

use super::{Outputs, vain::Vain};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;
use unifyit_protocol::ids::{DeviceId, RelayId, TaskId};

/// Devices that somebody watches, by the relay that serves them.
pub type Watched = HashMap<RelayId, Vec<DeviceId>>;

/// Most devices that one relay is asked to watch.
pub const MAX_PER_RELAY: usize = 64;

#[derive(Default)]
struct Counts {
    devices: HashMap<(RelayId, DeviceId), usize>,
    tasks: HashMap<TaskId, usize>,
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Watches {
    counts: Arc<Mutex<Counts>>,
    changes: watch::Sender<Arc<Watched>>,
    vain: Arc<Vain>,
    outputs: Outputs,
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
            outputs: Outputs::default(),
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

    /// Whose live output is whose.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
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
}
