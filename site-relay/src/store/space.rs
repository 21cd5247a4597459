//! Space: a quota a class of data, and what happens when the disk fills (G6).
//!
//! Files that can be fetched again go before anything of the store, which is done
//! elsewhere. Then classes go in the order of what is least missed: raw
//! samples beyond the last minutes, then waiting metrics, output, inventory, and outcomes and alerts
//! last of all. What is dropped leaves a gap record; raw samples do not, because
//! their rollups are kept.

use super::{StoreHandle, error::StoreError, metrics::lane_name, part::Look};
use crate::parts;
use std::sync::atomic::Ordering;
use unifyit_protocol::lane::Lane;

/// Waiting records are dropped in this order.
const DROP_ORDER: [Lane; 4] = [Lane::Metrics, Lane::Output, Lane::State, Lane::Urgent];
/// Freed at least by one step under disk pressure, in bytes.
const STEP: u64 = 1024 * 1024;
/// Why, in a gap record.
const OVER_QUOTA: &str = "The relay's space for records waiting for the cloud was used up.";
const DISK_FULL: &str = "The relay's disk was nearly full.";

/// Bounds of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes that may wait, by lane in the order of [`Lane::ALL`].
    pub lanes: [u64; 4],
    /// Bytes of the disk that are left alone.
    pub keep_free: u64,
    /// Minutes that raw samples are kept.
    pub raw_min: u64,
    /// Bytes of the file beyond which only the latest raw samples are kept.
    pub file: u64,
}

impl Quotas {
    /// Splits a total: half for metrics, a fifth for what is urgent, the rest
    /// for state and output.
    #[must_use]
    pub fn of_total(total: u64, keep_free: u64, raw_min: u64) -> Self {
        Self {
            lanes: [total / 5, total / 20 * 3, total / 20 * 3, total / 2],
            keep_free,
            raw_min,
            file: total,
        }
    }
}

/// What the store takes and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes of the file.
    pub file: u64,
    /// Bytes free on its disk.
    pub free: u64,
    /// Whether the disk is nearly full.
    pub pressure: bool,
}

impl StoreHandle {
    /// Measures the file and its disk.
    #[must_use]
    pub fn space(&self, quotas: &Quotas) -> Space {
        let core = &self.inner.core;
        let free = nix::sys::statvfs::statvfs(core.folder())
            .map_or(u64::MAX, |s| s.blocks_available().saturating_mul(s.fragment_size()));
        Space { file: core.file_bytes(), free, pressure: free < quotas.keep_free }
    }

    /// Resolves when a commit failed for want of space.
    pub async fn wants_space(&self) {
        self.inner.core.wants_space.notified().await;
    }

    /// Whether a commit failed for want of space since something was dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.inner.core.full.load(Ordering::Relaxed)
    }

    /// Commits that failed since the start. What they would have changed may be in the
    /// file all the same.
    pub(crate) fn failed_commits(&self) -> u64 {
        self.inner.core.failed.load(Ordering::Relaxed)
    }

    /// Whether the disk is nearly full.
    pub(crate) fn is_short(&self) -> bool {
        self.inner.core.pressure.load(Ordering::Relaxed)
    }

    /// Tells when the disk begins or ends to take no writes.
    pub(crate) fn read_only(&self) -> tokio::sync::watch::Receiver<Option<StoreError>> {
        self.inner.core.frozen()
    }

    /// Whether the disk takes no writes: what is read is what was stored last.
    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.core.is_frozen()
    }

    /// Whether raw samples should make room: their minutes are packed at once, and
    /// take a tenth of it.
    pub(crate) fn is_crowded(&self) -> bool {
        self.inner.core.crowded.load(Ordering::Relaxed) || self.is_full()
    }

    /// Holds the quotas and prunes what is old; a bounded amount of work, to be
    /// called every few seconds. `spared`: others made room on the disk, so that
    /// nothing need be dropped for want of it.
    ///
    /// # Errors
    /// [`StoreError`] when the commit failed.
    pub async fn maintain(&self, quotas: Quotas, spared: bool) -> Result<Space, StoreError> {
        let space = self.space(&quotas);
        let core = &self.inner.core;
        let was = core.pressure.swap(space.pressure, Ordering::Relaxed);
        if space.pressure && !was {
            tracing::warn!(free = space.free, "the disk is nearly full: dropping by class");
        }
        if !space.pressure {
            core.fill_ballast();
        }
        let crowded = space.pressure || space.file > quotas.file;
        core.crowded.store(crowded, Ordering::Relaxed);
        // What is dropped makes room within the file, which keeps its size. So
        // under pressure more goes only when the file grew or a commit failed.
        let stood = core.stood.swap(space.file, Ordering::Relaxed);
        let failed = core.full.swap(false, Ordering::Relaxed);
        let squeeze = !spared && (failed || (space.pressure && was && space.file > stood));
        let (dropped, measured) = self
            .write(move |txn| {
                let made_room = parts::forget(txn, &Look { quotas, crowded })?;
                let mut dropped = Vec::new();
                for lane in DROP_ORDER {
                    let waiting = txn.mem.lanes.of(lane).bytes;
                    let quota = quotas.lanes[lane.index()];
                    if waiting > quota {
                        let excess = waiting - quota + quota / 20;
                        dropped.push((lane, txn.drop_oldest(lane, excess, OVER_QUOTA)?));
                    }
                }
                if squeeze && !made_room && dropped.is_empty() {
                    for lane in DROP_ORDER {
                        let step = (txn.mem.lanes.of(lane).bytes / 8).max(STEP);
                        let lost = txn.drop_oldest(lane, step, DISK_FULL)?;
                        if lost > 0 {
                            dropped.push((lane, lost));
                        }
                        if lost > 0 || std::mem::take(&mut txn.mem.looking) {
                            break;
                        }
                    }
                }
                Ok((dropped, txn.mem.parts.measured()))
            })
            .await?;
        for (lane, records) in dropped.into_iter().filter(|(_, records)| *records > 0) {
            tracing::warn!(
                lane = lane_name(lane),
                records,
                "records waiting for the cloud were dropped for want of space"
            );
            if let Some(metrics) = core.metrics.get() {
                metrics.dropped(lane, records);
            }
        }
        if let Some(metrics) = core.metrics.get() {
            metrics.state(&core.lanes.borrow(), &space);
            metrics.parts(&measured);
        }
        Ok(space)
    }

    /// Asks the writer to give unused space back when that pays.
    pub async fn compact(&self) {
        drop(self.inner.writer.send(super::actor::Message::Compact).await);
    }
}
