//! Rollups from relays into the tables: a few statements a batch, whatever the
//! number of devices, minutes and columns.

use super::{
    live::LiveSamples,
    store::{self, NewBlock, Newest},
};
use crate::{
    db::{Db, TenantTx},
    events::Watches,
    features::relays::line,
    link::{ApplyError, RelayIdentity, from_ms, now_ms},
};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use unifyit_protocol::{
    codec,
    ids::DeviceId,
    link::{DeviceMetrics, DeviceSeries},
    telemetry::{MAX_SERIES, Rollup, Sample, Series, SeriesTable},
};

/// Minutes that a rollup may be ahead of our clock, by which relays go.
const AHEAD: u64 = 5;
const DAMAGED: &str = "Measurements of the device could not be read and were skipped.";
const DATED_AHEAD: &str = "Measurements were dated ahead of the time by a clock that was wrong, and \
    were left out.";
/// Values younger than this many minutes are told to browsers.
const FRESH: u64 = 5;

/// The ingest of measurements.
pub struct MetricsIngest {
    live: LiveSamples,
}

impl std::fmt::Debug for MetricsIngest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsIngest").finish_non_exhaustive()
    }
}

impl MetricsIngest {
    /// For this database and these watchers.
    #[must_use]
    pub fn new(db: &Db, watches: &Watches) -> Self {
        Self { live: LiveSamples::new(db.clone(), watches.clone()) }
    }

    /// Keeps a device's table of columns.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(in crate::features) async fn series(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        series: DeviceSeries,
    ) -> Result<(), ApplyError> {
        let table = &series.table;
        let malformed = |why: &str| Err(ApplyError::Malformed(why.to_owned()));
        if table.series.len() > MAX_SERIES {
            return malformed("a table has too many columns");
        }
        let long = |s: &Series| s.name.len() > 128 || s.label.len() > 1024 || s.unit.len() > 64;
        if table.series.iter().any(|s| long(s) || s.scale > 18) {
            return malformed("a column has a name too long or a scale too large");
        }
        let bytes = codec::encode(table).map_err(|e| ApplyError::Malformed(e.to_string()))?;
        Ok(store::keep_series(tx, relay, series.device, table.hash(), &bytes).await?)
    }

    /// Keeps rollups and the newest values in them.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(in crate::features) async fn rollups(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        list: Vec<DeviceMetrics>,
        changed: &mut BTreeSet<DeviceId>,
    ) -> Result<(), ApplyError> {
        let this_minute = now_ms() / 60_000;
        let mut blocks = Vec::with_capacity(list.len());
        let mut latest: HashMap<DeviceId, (u32, Rollup)> = HashMap::new();
        let mut damaged = Vec::new();
        for DeviceMetrics { device, block } in list {
            let rollups = match block.decode() {
                Ok(rollups) => rollups,
                Err(_) => {
                    damaged.push((device, 1, DAMAGED));
                    continue;
                }
            };
            let (Some(first), Some(last)) = (rollups.first(), rollups.last()) else { continue };
            let (first, last_minute) = (first.minute, last.minute);
            if last_minute > this_minute + AHEAD {
                let count = i64::try_from(rollups.len()).unwrap_or(i64::MAX);
                damaged.push((device, count, DATED_AHEAD));
                continue;
            }
            let newest = latest.get(&device).is_none_or(|(_, had)| had.minute <= last_minute);
            if newest && let Some(last) = rollups.into_iter().next_back() {
                latest.insert(device, (block.table, last));
            }
            let columns = block.columns;
            blocks.push(NewBlock { device, first, last: last_minute, table: block.table, columns });
        }
        store::keep_blocks(tx, relay, blocks).await?;
        for (device, count, why) in damaged {
            gap(tx, relay, device, count, why).await?;
        }
        self.newest(tx, relay, latest, this_minute, changed).await
    }

    async fn newest(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        latest: HashMap<DeviceId, (u32, Rollup)>,
        this_minute: u64,
        changed: &mut BTreeSet<DeviceId>,
    ) -> Result<(), ApplyError> {
        let wanted: Vec<(DeviceId, u32)> =
            latest.iter().map(|(device, (table, _))| (*device, *table)).collect();
        let tables = self.live.tables(tx, &wanted).await?;
        let mut newest = Vec::with_capacity(latest.len());
        for (device, (hash, rollup)) in latest {
            let Some(table) = tables.get(&(device, hash)) else {
                tracing::warn!(%device, "Rollups came without the table of their columns.");
                continue;
            };
            if rollup.minute + FRESH >= this_minute {
                changed.insert(device);
            }
            newest.push(values(device, table, &rollup));
        }
        if !newest.is_empty() {
            // In one order everywhere, so that two transactions cannot lock up.
            newest.sort_unstable_by_key(|n| n.device);
            store::keep_newest(tx, relay, &newest).await?;
        }
        Ok(())
    }

    /// Passes a live sample on to who watches.
    pub(in crate::features) fn live(
        &self,
        relay: &RelayIdentity,
        device: DeviceId,
        sample: Sample,
    ) {
        self.live.pass(relay, device, sample);
    }
}

/// A scaled integer as a number.
pub(super) fn scaled(raw: i64, scale: u8) -> f64 {
    raw as f64 / 10f64.powi(i32::from(scale.min(18)))
}

fn values(device: DeviceId, table: &SeriesTable, rollup: &Rollup) -> Newest {
    let (mut cpu, mut memory, mut disk) = (None, None, None::<f32>);
    let mut readings = Vec::with_capacity(table.series.len());
    for (series, value) in table.series.iter().zip(&rollup.values) {
        let Some(value) = value else { continue };
        let value = scaled(value.last, series.scale);
        // A percentage needs no more digits than a float has.
        let percent = value as f32;
        match series.name.as_str() {
            "cpu.busy" => cpu = Some(percent),
            "memory.used_pct" => memory = Some(percent),
            "disk.used_pct" => disk = Some(disk.map_or(percent, |had| had.max(percent))),
            _ => {}
        }
        readings.push(json!({
            "name": line(&series.name, 64),
            "label": line(&series.label, 256),
            "unit": line(&series.unit, 32),
            "value": value,
        }));
    }
    let at = from_ms((rollup.minute + 1).saturating_mul(60_000).min(now_ms()));
    Newest { device, at, readings: Value::Array(readings), cpu, memory, disk }
}

async fn gap(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    device: DeviceId,
    count: i64,
    why: &str,
) -> Result<(), ApplyError> {
    tracing::warn!(relay = %relay.id, %device, why, "A block of rollups was skipped.");
    sqlx::query(
        "INSERT INTO gaps (partner_id, organization_id, site_id, device_id, lane, records, from_at, to_at, reason) \
         VALUES ($1, $2, $3, $4, 'metrics', $5, now(), now(), $6)",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(device.0)
    .bind(count)
    .bind(why)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
