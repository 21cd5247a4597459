//! What the messages of devices may take of the relay's memory until they are
//! stored: a share a device, and a total.
//!
//! A message is read only once there is room for the most that it may unfold to;
//! what it did not need is given back at once. A session whose messages would
//! exceed either bound is not read until some of them are stored; its device
//! waits, nobody else does.

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
    own: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
    metrics: Option<(Metrics, i64)>,
}

impl Held {
    /// Gives back what is held beyond so many bytes.
    fn keep(&mut self, bytes: usize) {
        for permits in [&mut self.own, &mut self.all].into_iter().flatten() {
            let spare = permits.num_permits().saturating_sub(units(bytes).max(1) as usize);
            drop(permits.split(spare));
        }
        if let Some((metrics, held)) = &mut self.metrics {
            let kept = i64::try_from(bytes).unwrap_or(i64::MAX).min(*held);
            metrics.held_bytes.sub(*held - kept);
            *held = kept;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop((self.own.take(), self.all.take()));
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
    /// Permits of the share and of the total for so many bytes. More than there can
    /// be take all of them.
    fn wanted(&self, bytes: usize) -> (u32, u32) {
        let wanted = units(bytes).max(1);
        (wanted.min(self.most), wanted.min(self.memory.total))
    }

    fn held(&self, own: OwnedSemaphorePermit, all: OwnedSemaphorePermit, bytes: usize) -> Held {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory.metrics.held_bytes.add(bytes);
        let metrics = Some((self.memory.metrics.clone(), bytes));
        Held { own: Some(own), all: Some(all), metrics }
    }

    /// Reads a message that takes `most` bytes at most, if there is room for them at
    /// this moment. `work` also tells how many it takes.
    pub(super) fn try_read<R>(
        &self,
        most: usize,
        work: impl FnOnce() -> (R, usize),
    ) -> Option<(R, Held)> {
        let (own, all) = self.wanted(most);
        let own = Arc::clone(&self.own).try_acquire_many_owned(own).ok()?;
        let all = Arc::clone(&self.memory.all).try_acquire_many_owned(all).ok()?;
        Some(done(work, self.held(own, all, most)))
    }

    /// The same, once there is room; `None` when the relay stops.
    pub(super) async fn read<R>(
        &self,
        most: usize,
        work: impl FnOnce() -> (R, usize),
    ) -> Option<(R, Held)> {
        let (own, all) = self.wanted(most);
        let own = Arc::clone(&self.own).acquire_many_owned(own).await.ok()?;
        let all = Arc::clone(&self.memory.all).acquire_many_owned(all).await.ok()?;
        Some(done(work, self.held(own, all, most)))
    }

    /// The same on a thread of its own, few at a time. What it holds and its turn
    /// last as long as the thread, also when the session is over before.
    pub(super) async fn read_apart<R: Send + 'static>(
        &self,
        most: usize,
        work: impl FnOnce() -> (R, usize) + Send + 'static,
    ) -> Option<(R, Held)> {
        let (own, all) = self.wanted(most);
        // Who waits for its own messages takes no turn from others; who has a turn
        // waits only for what is on its way to the disk.
        let own = Arc::clone(&self.own).acquire_many_owned(own).await.ok()?;
        let turn = Arc::clone(&self.memory.long_reads).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.memory.all).acquire_many_owned(all).await.ok()?;
        let held = self.held(own, all, most);
        let work = move || {
            let read = done(work, held);
            drop(turn);
            read
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

fn done<R>(work: impl FnOnce() -> (R, usize), mut held: Held) -> (R, Held) {
    let (read, bytes) = work();
    held.keep(bytes);
    (read, held)
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

    /// Reads a message that unfolds to so many units.
    fn unfold(share: &Share, size: usize) -> Option<Held> {
        share.try_read(size * UNIT, || ((), size * UNIT)).map(|(_, held)| held)
    }

    #[test]
    fn one_device_cannot_take_what_others_need() {
        let (memory, limits) = memory(10, 6);
        let (greedy, other) = (memory.share(&limits), memory.share(&limits));
        let first = unfold(&greedy, 4).unwrap();
        assert!(unfold(&greedy, 4).is_none(), "its share is used up");
        let second = unfold(&other, 4).unwrap();
        drop(first);
        let whole = unfold(&greedy, 6).unwrap();
        assert!(unfold(&other, 1).is_none(), "all is used up");
        drop((second, whole));
        assert!(unfold(&other, 6).is_some());
    }

    #[test]
    fn a_message_beyond_its_devices_share_counts_in_full_against_the_total() {
        let (memory, limits) = memory(10, 4);
        let (greedy, other) = (memory.share(&limits), memory.share(&limits));
        let large = unfold(&greedy, 9).unwrap();
        assert!(unfold(&other, 2).is_none(), "nine of ten are taken, not four");
        assert!(unfold(&other, 1).is_some());
        drop(large);
        assert_eq!(memory.metrics.held_bytes.get(), 0);
    }

    #[tokio::test]
    async fn nothing_is_unfolded_before_there_is_room_for_the_most_that_it_may_be() {
        let (memory, limits) = memory(10, 8);
        let (busy, eager) = (memory.share(&limits), memory.share(&limits));
        let taken = unfold(&busy, 6).unwrap();
        let begun = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = Arc::clone(&begun);
        let mut read = std::pin::pin!(eager.read_apart(5 * UNIT, move || {
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
            ((), UNIT)
        }));
        assert!(futures::poll!(read.as_mut()).is_pending());
        let done = || begun.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!done() && eager.try_read(5 * UNIT, || ((), 0)).is_none(), "no room for five");
        drop(taken);
        let (_, held) = read.await.unwrap();
        assert!(done());
        assert_eq!(memory.all.available_permits(), 9, "four of five are given back");
        drop(held);
        assert_eq!(memory.all.available_permits(), 10);
    }
}
