//! What one device may bring of samples and their tables, so that it cannot crowd
//! others out.
//!
//! Series tables of a device are bounded as they come. Of samples a device may
//! bring as much at once as an agent keeps during an outage; one that brings more is
//! slowed, not robbed: its samples stay with it until there is room for them.

use crate::store::{StoreError, tables, txn::Txn};
use std::collections::VecDeque;
use unifyit_protocol::ids::DeviceId;

/// Series tables remembered of a device.
const MAX_SERIES_TABLES: usize = 32;
/// Bytes of samples that a device may bring at once, what an agent keeps while its
/// relay is away, and in an hour for long.
const SAMPLES_AT_ONCE: u64 = 64 * 1024 * 1024;
const SAMPLES_AN_HOUR: u64 = 64 * 1024 * 1024;
/// What a sample takes beside its report.
const ROW_BYTES: u64 = 64;
const HOUR_MS: u64 = 3_600_000;

/// What a device brought of late: grows with what comes and shrinks with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Brought {
    bytes: u64,
    at_ms: u64,
    told_ms: u64,
}

impl Txn<'_> {
    /// Remembers a device's series table; whether it is not known yet. The oldest
    /// gives way when there are too many.
    pub(super) fn know_series(&mut self, device: DeviceId, hash: u32) -> Result<bool, StoreError> {
        let known: &mut VecDeque<u32> = self.mem.parts.samples.series.entry(device).or_default();
        if known.contains(&hash) {
            return Ok(false);
        }
        known.push_back(hash);
        let forgotten = if known.len() > MAX_SERIES_TABLES { known.pop_front() } else { None };
        if let Some(forgotten) = forgotten {
            self.series()?.remove((tables::device_key(device), forgotten))?;
        }
        Ok(true)
    }

    /// Whether a device may bring more samples at this moment.
    pub(crate) fn may_bring(&mut self, device: DeviceId) -> bool {
        let now_ms = self.now_ms;
        let brought = self.mem.parts.samples.brought.entry(device).or_default();
        let passed_ms = now_ms.saturating_sub(brought.at_ms);
        let gone = passed_ms.saturating_mul(SAMPLES_AN_HOUR) / HOUR_MS;
        brought.bytes = brought.bytes.saturating_sub(gone);
        brought.at_ms = now_ms;
        let may = brought.bytes < SAMPLES_AT_ONCE;
        if !may && brought.told_ms.abs_diff(now_ms) >= HOUR_MS {
            brought.told_ms = now_ms;
            tracing::warn!(%device, "a device brings more samples than its share of the disk takes; it is slowed down");
        }
        may
    }

    /// A device brought a sample whose report has so many bytes.
    pub(crate) fn bring(&mut self, device: DeviceId, bytes: usize) {
        self.mem.parts.samples.brought.entry(device).or_default().bytes += bytes as u64 + ROW_BYTES;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::tests::Rig;
    use redb::ReadableTable as _;
    use unifyit_protocol::{
        lane::Lane,
        link::{DeviceSeries, UpRecord},
        telemetry::{Series, SeriesTable},
    };

    #[tokio::test]
    async fn a_device_with_ever_new_series_tables_keeps_a_bounded_number() {
        let rig = Rig::new();
        let device = DeviceId::generate();
        let table = |n: u32| {
            let name = format!("s{n}");
            let series = Series { name, label: String::new(), unit: String::new(), scale: 0 };
            SeriesTable { series: vec![series] }
        };
        rig.store
            .write(move |txn| (0..100).try_for_each(|n| txn.take_series(device, table(n))))
            .await
            .unwrap();
        let rows = rig.store.write(move |txn| Ok(txn.series()?.range::<(u128, u32)>(..)?.count()));
        assert_eq!(rows.await.unwrap(), MAX_SERIES_TABLES);
        let told = rig.waiting(Lane::Metrics).await;
        let named = told.iter().filter(|r| matches!(r, UpRecord::Series(DeviceSeries { .. })));
        assert_eq!(named.count(), 100, "each was told before the samples that use it");
    }
}
