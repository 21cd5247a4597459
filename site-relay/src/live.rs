//! Live copies for the cloud: only while the uplink is up, never waiting.
//!
//! Samples of watched devices and output as it appears go into one queue that the
//! uplink's session drains. It is bounded in bytes, and so is each device's part
//! of it: one that writes without end loses its own copies, not another's. What is
//! dropped is counted: what must last travels by lane.

use crate::telemetry::Telemetry;
use prometheus::IntCounterVec;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;
use unifyit_protocol::{ids::DeviceId, link::Ephemeral, outcome::OutputChunk, telemetry::Sample};

/// Bytes of copies that may wait.
const QUEUE_BYTES: usize = 1024 * 1024;
/// Bytes of one device's copies that may wait.
const DEVICE_BYTES: usize = 256 * 1024;
/// Bytes that a copy takes besides its content.
const COPY_BYTES: usize = 96;
/// Watched devices at most.
const MAX_WATCHED: usize = 64;

/// Takes live copies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LiveHub(Arc<Hub>);

/// Gives live copies. One session at a time drains them.
#[derive(Debug)]
pub(crate) struct LiveCopies(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    up: AtomicBool,
    watched: RwLock<HashSet<DeviceId>>,
    queue: Mutex<Queue>,
    arrived: Notify,
    dropped: IntCounterVec,
}

#[derive(Debug, Default)]
struct Queue {
    copies: VecDeque<Ephemeral>,
    bytes: usize,
    by_device: HashMap<DeviceId, usize>,
}

impl LiveHub {
    /// A hub, and the copies that the uplink drains.
    pub(crate) fn new(telemetry: &Telemetry) -> (Self, LiveCopies) {
        let dropped = telemetry.counters(
            "live_dropped",
            "Live copies dropped, by the bound that they met.",
            "bound",
        );
        let hub = Arc::new(Hub {
            up: AtomicBool::new(false),
            watched: RwLock::default(),
            queue: Mutex::default(),
            arrived: Notify::new(),
            dropped,
        });
        (Self(Arc::clone(&hub)), LiveCopies(hub))
    }

    /// Whether the uplink is up. Nobody watches when it is not.
    pub(crate) fn set_up(&self, up: bool) {
        self.0.up.store(up, Ordering::Relaxed);
        if !up {
            self.watch(&[]);
            *self.0.queue() = Queue::default();
        }
    }

    /// Replaces the list of watched devices.
    pub(crate) fn watch(&self, devices: &[DeviceId]) {
        let mut watched = self.0.watched.write().unwrap_or_else(PoisonError::into_inner);
        *watched = devices.iter().take(MAX_WATCHED).copied().collect();
    }

    /// A sample came.
    pub(crate) fn sample(&self, device: DeviceId, sample: &Sample) {
        let watched = self.0.watched.read().unwrap_or_else(PoisonError::into_inner);
        if watched.contains(&device) {
            self.push(Ephemeral::Sample(device, sample.clone()));
        }
    }

    /// Output appeared.
    pub(crate) fn output(&self, device: DeviceId, chunk: OutputChunk) {
        self.push(Ephemeral::Output(device, chunk));
    }

    fn push(&self, copy: Ephemeral) {
        if !self.0.up.load(Ordering::Relaxed) {
            return;
        }
        let (device, bytes) = weight(&copy);
        let mut queue = self.0.queue();
        let own = queue.by_device.get(&device).copied().unwrap_or_default() + bytes;
        let bound = match () {
            () if own > DEVICE_BYTES => "device",
            () if queue.bytes + bytes > QUEUE_BYTES => "all",
            () => {
                queue.bytes += bytes;
                queue.by_device.insert(device, own);
                queue.copies.push_back(copy);
                drop(queue);
                self.0.arrived.notify_one();
                return;
            }
        };
        drop(queue);
        self.0.dropped.with_label_values(&[bound]).inc();
    }
}

impl LiveCopies {
    /// Waits for copies and takes the oldest, about `bytes` of them and at least
    /// one. Losing the future loses nothing.
    pub(crate) async fn some(&mut self, bytes: usize) -> Vec<Ephemeral> {
        loop {
            let taken = self.0.queue().take(bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.0.arrived.notified().await;
        }
    }
}

impl Hub {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, most: usize) -> Vec<Ephemeral> {
        let mut taken = Vec::new();
        let mut sum = 0;
        while let Some(copy) = self.copies.front() {
            let (device, bytes) = weight(copy);
            sum += bytes;
            if sum > most && !taken.is_empty() {
                break;
            }
            self.bytes = self.bytes.saturating_sub(bytes);
            if let Some(own) = self.by_device.get_mut(&device) {
                *own = own.saturating_sub(bytes);
                if *own == 0 {
                    self.by_device.remove(&device);
                }
            }
            taken.extend(self.copies.pop_front());
        }
        taken
    }
}

fn weight(copy: &Ephemeral) -> (DeviceId, usize) {
    match copy {
        Ephemeral::Output(device, chunk) => (*device, chunk.data.len() + COPY_BYTES),
        Ephemeral::Sample(device, sample) => (*device, sample.values.len() * 16 + COPY_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unifyit_protocol::{ids::CommandId, live::MAX_LIVE, outcome::Stream};

    fn chunk() -> OutputChunk {
        let command = CommandId::generate();
        OutputChunk { command, offset: 0, stream: Stream::Stdout, data: vec![1; MAX_LIVE] }
    }

    #[tokio::test]
    async fn one_device_without_end_leaves_room_for_others() {
        let (hub, mut copies) = LiveHub::new(&Telemetry::new());
        hub.set_up(true);
        let (loud, quiet) = (DeviceId::generate(), DeviceId::generate());
        (0..1000).for_each(|_| hub.output(loud, chunk()));
        hub.output(quiet, chunk());
        let all = hub.0.queue().bytes;
        assert!(all <= DEVICE_BYTES + 2 * MAX_LIVE, "{all} bytes wait");
        let mut seen = Vec::new();
        while !hub.0.queue().copies.is_empty() {
            let some = copies.some(64 * 1024).await;
            let bytes: usize = some.iter().map(|copy| weight(copy).1).sum();
            assert!(bytes <= 64 * 1024, "{bytes}");
            seen.extend(some.iter().map(|copy| weight(copy).0));
        }
        assert_eq!(seen.iter().filter(|d| **d == quiet).count(), 1);
        assert_eq!(hub.0.queue().by_device.len(), 0, "nothing is remembered of who is done");
        assert_eq!(hub.0.queue().bytes, 0);
    }
}
