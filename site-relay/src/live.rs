//! Live copies for the cloud: only while the uplink is up, never waiting.
//!
//! Samples of watched devices and output as it appears go into one bounded
//! queue that the uplink's session drains. When it is full, copies are dropped
//! and counted: what must last travels by lane.

use crate::telemetry::Telemetry;
use prometheus::IntCounter;
use std::{
    collections::HashSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;
use unifyit_protocol::{ids::DeviceId, link::Ephemeral, outcome::OutputChunk, telemetry::Sample};

/// Copies that may wait.
const QUEUE: usize = 1024;
/// Watched devices at most.
const MAX_WATCHED: usize = 64;

/// Takes live copies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LiveHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    up: AtomicBool,
    watched: RwLock<HashSet<DeviceId>>,
    queue: mpsc::Sender<Ephemeral>,
    dropped: IntCounter,
}

impl LiveHub {
    /// A hub, and the queue that the uplink drains.
    pub(crate) fn new(telemetry: &Telemetry) -> (Self, mpsc::Receiver<Ephemeral>) {
        let (queue, drain) = mpsc::channel(QUEUE);
        let dropped = telemetry.counter("live_dropped", "Live copies dropped at a full queue.");
        let (up, watched) = (AtomicBool::new(false), RwLock::default());
        (Self(Arc::new(Hub { up, watched, queue, dropped })), drain)
    }

    /// Whether the uplink is up. Nobody watches when it is not.
    pub(crate) fn set_up(&self, up: bool) {
        self.0.up.store(up, Ordering::Relaxed);
        if !up {
            self.watch(&[]);
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
        if self.0.up.load(Ordering::Relaxed) && self.0.queue.try_send(copy).is_err() {
            self.0.dropped.inc();
        }
    }
}
