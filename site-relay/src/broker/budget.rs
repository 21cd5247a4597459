//! What the messages of devices may take of the relay's memory until they are
//! stored: a share a device, and a total.
//!
//! A session whose messages would exceed either is not read until some of them
//! are stored; its device waits, nobody else does.

use super::metrics::Metrics;
use crate::config::BrokerLimits;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit.
const UNIT: usize = 1024;
/// Long messages that are read at a time, over all devices.
const LONG_READS: usize = 2;

/// The memory of all sessions.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    all: Arc<Semaphore>,
    total: u32,
    long_reads: Arc<Semaphore>,
    metrics: Metrics,
}

/// The share of one session.
#[derive(Debug, Clone)]
pub(super) struct Share {
    memory: Memory,
    own: Arc<Semaphore>,
    most: u32,
}

/// Memory that a message holds; given back when dropped.
#[derive(Debug, Default)]
pub struct Held {
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    metrics: Option<(Metrics, i64)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.permits.take());
        if let Some((metrics, bytes)) = self.metrics.take() {
            metrics.held_bytes.sub(bytes);
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Memory {
    pub(super) fn new(limits: &BrokerLimits, metrics: Metrics) -> Self {
        let total = units(limits.memory_bytes).min(u32::MAX >> 4);
        Self {
            all: Arc::new(Semaphore::new(total as usize)),
            total,
            long_reads: Arc::new(Semaphore::new(LONG_READS)),
            metrics,
        }
    }

    /// A session's share.
    pub(super) fn share(&self, limits: &BrokerLimits) -> Share {
        let most = units(limits.device_memory_bytes).min(self.total);
        Share { memory: self.clone(), own: Arc::new(Semaphore::new(most as usize)), most }
    }
}

impl Share {
    fn wanted(&self, bytes: usize) -> u32 {
        units(bytes).clamp(1, self.most)
    }

    fn held(&self, own: OwnedSemaphorePermit, all: OwnedSemaphorePermit, bytes: usize) -> Held {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory.metrics.held_bytes.add(bytes);
        Held { permits: Some((own, all)), metrics: Some((self.memory.metrics.clone(), bytes)) }
    }

    /// Room for a message, if there is some at this moment. A message larger than
    /// the share takes the whole share.
    pub(super) fn try_hold(&self, bytes: usize) -> Option<Held> {
        let wanted = self.wanted(bytes);
        let own = Arc::clone(&self.own).try_acquire_many_owned(wanted).ok()?;
        let all = Arc::clone(&self.memory.all).try_acquire_many_owned(wanted).ok()?;
        Some(self.held(own, all, bytes))
    }

    /// Waits for room; `None` when the relay stops.
    pub(super) async fn hold(&self, bytes: usize) -> Option<Held> {
        let wanted = self.wanted(bytes);
        let own = Arc::clone(&self.own).acquire_many_owned(wanted).await.ok()?;
        let all = Arc::clone(&self.memory.all).acquire_many_owned(wanted).await.ok()?;
        Some(self.held(own, all, bytes))
    }

    /// Runs a long read on a thread of its own, few at a time.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R> {
        let _turn = Arc::clone(&self.memory.long_reads).acquire_owned().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn memory(total: usize, share: usize) -> (Memory, BrokerLimits) {
        let limits = BrokerLimits {
            memory_bytes: total * UNIT,
            device_memory_bytes: share * UNIT,
            ..BrokerLimits::default()
        };
        (Memory::new(&limits, Metrics::new(&crate::telemetry::Telemetry::new())), limits)
    }

    #[test]
    fn one_device_cannot_take_what_others_need() {
        let (memory, limits) = memory(10, 6);
        let (greedy, other) = (memory.share(&limits), memory.share(&limits));
        let first = greedy.try_hold(4 * UNIT).unwrap();
        assert!(greedy.try_hold(4 * UNIT).is_none(), "its share is used up");
        let second = other.try_hold(4 * UNIT).unwrap();
        drop(first);
        let whole = greedy.try_hold(usize::MAX >> 1).unwrap();
        assert!(other.try_hold(1).is_none(), "all is used up");
        drop((second, whole));
        assert!(other.try_hold(6 * UNIT).is_some());
    }
}
