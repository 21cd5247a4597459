//! When the minutes of a device travel to the cloud.
//!
//! Samples lie in the store until their minute is over; the cloud is told the newest
//! loads beside them ([`crate::newest`]). Minutes wait there for each other and travel
//! as one block, whose columns lean on each other: a block of an hour takes two
//! fifths of the bytes of sixty. They do not wait while somebody looks at the device
//! (the cloud says so), when the cloud is of a version that takes no newest loads,
//! and when the store is short of room. Blocks of all devices of a site end at one
//! moment, so that they share a frame; those of different sites at different ones.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;
use unifyit_protocol::ids::DeviceId;

/// Minutes of a block unless set.
pub(crate) const BLOCK_MINUTES: u32 = 60;
/// Longest block: what is lost with a disk grows with it.
pub(crate) const MOST_MINUTES: u32 = 1440;
/// Devices that are looked at, at most.
const MOST_WANTED: usize = 64;
/// How long after its last minute a block is made: that one has settled by then.
const AFTER_MS: u64 = 15_000;
const MINUTE_MS: u64 = crate::samples::MINUTE_MS;

/// Decides. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Travel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    block: u64,
    offset: u64,
    each_minute: AtomicBool,
    mirrored: AtomicBool,
    wanted: Mutex<HashSet<DeviceId>>,
    changed: Notify,
}

/// What may travel at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ripe {
    /// Minutes before this one, of every device.
    pub(crate) before: u64,
    /// Devices of which each minute may.
    pub(crate) wanted: HashSet<DeviceId>,
}

impl Ripe {
    /// All that is over.
    pub(crate) fn all() -> Self {
        Self { before: u64::MAX, wanted: HashSet::new() }
    }
}

impl Travel {
    /// Blocks of so many minutes; `site` spreads the moments at which they end.
    pub(crate) fn new(block_minutes: u32, site: &[u8]) -> Self {
        let block = u64::from(block_minutes.clamp(1, MOST_MINUTES));
        let hash = blake3::hash(site);
        let number = hash.as_bytes().first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        Self(Arc::new(Inner {
            block,
            offset: number % block,
            each_minute: AtomicBool::new(false),
            mirrored: AtomicBool::new(false),
            wanted: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// A session begins with a cloud that takes newest loads, or with one that has
    /// nothing of a minute but its block.
    pub(crate) fn meet(&self, takes_newest: bool) {
        self.0.each_minute.store(!takes_newest, Ordering::Relaxed);
        self.0.mirrored.store(takes_newest, Ordering::Relaxed);
        self.0.changed.notify_one();
    }

    /// The session is over: nobody waits for anything.
    pub(crate) fn part(&self) {
        self.0.each_minute.store(false, Ordering::Relaxed);
        self.want(&[]);
    }

    /// Somebody looks at these devices, and at no others.
    pub(crate) fn want(&self, devices: &[DeviceId]) {
        let mut wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = devices.iter().take(MOST_WANTED).copied().collect();
        drop(wanted);
        self.0.changed.notify_one();
    }

    /// Whether the cloud that was met last reads blocks with mirrored columns; before
    /// one was met, it is not known.
    pub(crate) fn mirrored(&self) -> bool {
        self.0.mirrored.load(Ordering::Relaxed)
    }

    /// What a cloud lacks that last took measurements at a moment may be as much older
    /// as a block is long.
    pub(crate) fn since_ms(&self, taken_ms: u64) -> u64 {
        taken_ms.saturating_sub(if taken_ms == 0 { 0 } else { self.0.block * MINUTE_MS })
    }

    /// Resolves when more may travel than before.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// What may travel; all, when the store wants `room`.
    pub(crate) fn ripe(&self, now_ms: u64, room: bool) -> Ripe {
        let Inner { block, offset, .. } = *self.0;
        if room || block == 1 || self.0.each_minute.load(Ordering::Relaxed) {
            return Ripe::all();
        }
        let minute = now_ms.saturating_sub(AFTER_MS) / MINUTE_MS;
        let before = ((minute + offset) / block * block).saturating_sub(offset);
        let wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ripe { before, wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_where_the_site_has_them_and_not_before_their_last_minute_settled() {
        let travel = Travel::new(60, b"a site");
        let Inner { offset, .. } = *travel.0;
        let first = 600_000 - offset;
        let ripe = |minute: u64, ms: u64| travel.ripe(minute * MINUTE_MS + ms, false).before;
        assert_eq!(ripe(first, AFTER_MS), first);
        assert_eq!(ripe(first, AFTER_MS - 1), first - 60);
        assert_eq!(ripe(first + 59, 59_999), first);
        assert!((0..60).contains(&offset));
        let others: HashSet<u64> = (0..50u8)
            .map(|n| Travel::new(60, &[n]).ripe(600_000 * MINUTE_MS, false).before)
            .collect();
        assert!(others.len() > 10, "sites differ: {}", others.len());
    }

    #[test]
    fn what_is_looked_at_and_what_an_old_cloud_gets_does_not_wait() {
        let (travel, device) = (Travel::new(60, b"a site"), DeviceId::generate());
        let now = 600_000 * MINUTE_MS;
        assert!(travel.ripe(now, false).wanted.is_empty());
        travel.want(&[device]);
        assert!(travel.ripe(now, false).wanted.contains(&device));
        travel.meet(false);
        assert!(!travel.mirrored());
        assert_eq!(travel.ripe(now, false), Ripe::all());
        travel.part();
        assert!(travel.ripe(now, false).wanted.is_empty());
        assert!(travel.ripe(now, false).before < u64::MAX);
        assert_eq!(travel.ripe(now, true), Ripe::all(), "room is wanted");
        assert_eq!(Travel::new(1, b"a site").ripe(now, false), Ripe::all());
    }
}
