//! Whose output is whose: a command at a site is a task's share for a device.
//!
//! Learned from whoever dispatches, and from what relays report, so that output which
//! comes a moment later is shown without a look into the database.

use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use unifyit_protocol::ids::{CommandId, DeviceId, SiteId, TaskId};

/// Devices of commands remembered with their tasks.
const REMEMBERED: usize = 100_000;

/// Of whom a site may tell live output: a command's own devices.
type Known = LruCache<(SiteId, CommandId, DeviceId), TaskId>;

/// The memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outputs(Arc<Mutex<Known>>);

impl Default for Outputs {
    fn default() -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self(Arc::new(Mutex::new(LruCache::new(size))))
    }
}

impl Outputs {
    /// A command at a site is a task's share for a device. To be said of what is
    /// committed, or about to be.
    pub fn learn(&self, site: SiteId, command: CommandId, device: DeviceId, task: TaskId) {
        self.known().put((site, command, device), task);
    }

    /// The task of a command on a device, if a site may tell of it and it is remembered.
    #[must_use]
    pub fn task(&self, site: SiteId, command: CommandId, device: DeviceId) -> Option<TaskId> {
        self.known().get(&(site, command, device)).copied()
    }

    /// The database is another: tasks that are remembered may be gone from it.
    pub fn forget(&self, site: SiteId) {
        let mut known = self.known();
        let gone: Vec<_> =
            known.iter().filter(|((of, _, _), _)| *of == site).map(|(key, _)| *key).collect();
        for key in gone {
            known.pop(&key);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
