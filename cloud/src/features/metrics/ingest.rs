//! Rollups from relays into the tables: a few statements a batch, whatever the
//! number of devices, minutes and columns.

use super::{
    asked::Asked,
    live::LiveSamples,
    store::{self, LoadRow, NewBlock, Newest},
};
use crate::{
    db::{Db, TenantTx},
    events::Watches,
    link::{
        ApplyError, RelayIdentity, downlink, from_ms,
        gaps::{self, NewGap},
        now_ms,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    compare::{MAX_KNOWN, TellAgain},
    ids::{DeviceId, SiteId},
    lane::Lane,
    link::{DeviceMetrics, DeviceSeries, DownRecord},
    telemetry::{
        Rollup, Sample, SeriesTable,
        newest::{Load, LoadColumns},
    },
};

/// Minutes that a rollup may be ahead of our clock, by which relays go.
const AHEAD: u64 = 5;
/// Most cells of all blocks of a batch together: less than a second of one
/// processor. Blocks of constant values unfold a thousandfold.
const MAX_UNFOLDED: usize = if cfg!(test) { 1024 * 1024 } else { 32 * 1024 * 1024 };
/// Values younger than this many minutes are told to browsers.
const FRESH: u64 = 5;

/// The ingest of measurements.
pub(super) struct MetricsIngest {
    live: LiveSamples,
    asked: Arc<Asked>,
}

impl std::fmt::Debug for MetricsIngest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsIngest").finish_non_exhaustive()
    }
}

impl MetricsIngest {
    /// For this database and these watchers.
    #[must_use]
    pub(super) fn new(db: &Db, watches: &Watches) -> Self {
        Self { live: LiveSamples::new(db.clone(), watches.clone()), asked: Arc::default() }
    }

    /// The database is another than it was, as far as a site goes: what is remembered
    /// of it may not be true.
    pub(super) fn forget_site(&self, site: SiteId) {
        self.live.forget(site);
        self.asked.forget();
    }

    /// Keeps a device's table of columns.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(super) async fn series(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        series: DeviceSeries,
    ) -> Result<(), ApplyError> {
        let table = &series.table;
        table.check().map_err(|e| ApplyError::Malformed(e.to_string()))?;
        let bytes = codec::encode(table).map_err(|e| ApplyError::Malformed(e.to_string()))?;
        Ok(store::keep_series(tx, relay, series.device, table.hash(), &bytes).await?)
    }

    /// Keeps rollups and the newest values in them.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(super) async fn rollups(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        list: Vec<DeviceMetrics>,
        changed: &mut BTreeSet<DeviceId>,
    ) -> Result<(), ApplyError> {
        let this_minute = now_ms() / 60_000;
        let unfolded = tokio::task::spawn_blocking(move || unfold(list, this_minute));
        // Only a fault of the program ends that thread; the relay sends again.
        let Unfolded { blocks, latest, losses } =
            unfolded.await.map_err(|e| ApplyError::Db(sqlx::Error::decode(e).into()))?;
        let named: BTreeSet<(DeviceId, u32)> = blocks.iter().map(|b| (b.device, b.table)).collect();
        store::keep_blocks(tx, relay, blocks).await?;
        for (device, loss) in losses {
            lost(tx, relay, device, &loss).await?;
        }
        self.newest(tx, relay, named, latest, this_minute, changed).await
    }

    async fn newest(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        named: BTreeSet<(DeviceId, u32)>,
        latest: HashMap<DeviceId, (u32, Rollup)>,
        this_minute: u64,
        changed: &mut BTreeSet<DeviceId>,
    ) -> Result<(), ApplyError> {
        let wanted: Vec<(DeviceId, u32)> = named.into_iter().collect();
        let tables = self.live.tables(tx, &wanted).await?;
        let unnamed: Vec<_> = wanted.into_iter().filter(|key| !tables.contains_key(key)).collect();
        let mut newest = Vec::with_capacity(latest.len());
        for (device, (hash, rollup)) in latest {
            let Some(table) = tables.get(&(device, hash)) else { continue };
            if rollup.minute + FRESH >= this_minute {
                changed.insert(device);
            }
            newest.push(values(device, hash, table, &rollup));
        }
        self.ask_series(tx, relay, unnamed).await?;
        if !newest.is_empty() {
            // In one order everywhere, so that two transactions cannot lock up.
            newest.sort_unstable_by_key(|n| n.load.device);
            store::keep_newest(tx, relay, newest).await?;
        }
        Ok(())
    }

    /// Asks for tables of columns that the database does not have: a relay tells of
    /// each once, and a database may be an older copy.
    async fn ask_series(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        mut unnamed: Vec<(DeviceId, u32)>,
    ) -> Result<(), ApplyError> {
        let now = Instant::now();
        unnamed.retain(|(device, _)| self.asked.is_due(*device, now));
        for some in unnamed.chunks(MAX_KNOWN) {
            let (series, tables): (Vec<_>, Vec<_>) = some.iter().copied().unzip();
            tracing::warn!(relay = %relay.id, devices = series.len(),
                "Rollups came without the tables of their columns; the relay is asked for them.");
            let asked = self.asked.clone();
            let mut devices = series.clone();
            devices.dedup();
            let again = TellAgain { series, tables, ..TellAgain::default() };
            let record = DownRecord::TellAgain(again);
            downlink::tell(tx, relay.id, &record).await?;
            // A batch that is rolled back asks nobody.
            tx.after_commit(move || asked.note(&devices, now));
        }
        Ok(())
    }

    /// Keeps newest loads; whose are to be told to browsers.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(super) async fn loads(
        &self,
        tx: &mut TenantTx,
        mut loads: Vec<(DeviceId, Load)>,
    ) -> Result<BTreeSet<DeviceId>, ApplyError> {
        let now_s = now_ms() / 1000;
        loads.retain(|(_, load)| load.at_s <= now_s + AHEAD * 60);
        // In one order everywhere, so that two transactions cannot lock up.
        loads.sort_unstable_by_key(|(device, _)| *device);
        let percent = |tenths: Option<u16>| tenths.map(|tenths| f32::from(tenths) / 10.0);
        let rows: Vec<LoadRow> = loads
            .iter()
            .map(|(device, load)| LoadRow {
                device: *device,
                at: from_ms(load.at_s.min(now_s).saturating_mul(1000)),
                cpu: percent(load.cpu),
                memory: percent(load.memory),
                disk: percent(load.disk),
            })
            .collect();
        if !rows.is_empty() {
            store::keep_loads(tx, &rows).await?;
        }
        let fresh = |(device, load): &(DeviceId, Load)| {
            (load.at_s + FRESH * 60 >= now_s).then_some(*device)
        };
        Ok(loads.iter().filter_map(fresh).collect())
    }

    /// Passes a live sample on to who watches.
    pub(super) fn pass(&self, relay: &RelayIdentity, device: DeviceId, sample: Sample) {
        self.live.pass(relay, device, sample);
    }
}

/// A scaled integer as a number.
pub(super) fn scaled(raw: i64, scale: u8) -> f64 {
    raw as f64 / 10f64.powi(i32::from(scale.min(18)))
}

fn values(device: DeviceId, hash: u32, table: &SeriesTable, rollup: &Rollup) -> Newest {
    let columns = LoadColumns::of(table);
    let last: Vec<Option<i64>> = rollup.values.iter().map(|v| v.map(|v| v.last)).collect();
    // A percentage needs no more digits than a float has.
    let percent =
        |&(at, scale): &(usize, u8)| Some(scaled(last.get(at).copied().flatten()?, scale) as f32);
    let load = LoadRow {
        device,
        at: from_ms((rollup.minute + 1).saturating_mul(60_000).min(now_ms())),
        cpu: columns.cpu.as_ref().and_then(percent),
        memory: columns.memory.as_ref().and_then(percent),
        disk: columns.disks.iter().filter_map(percent).reduce(f32::max),
    };
    Newest { load, table: hash, values: codec::encode(&last).unwrap_or_default() }
}

/// What a batch comes to.
#[derive(Debug, Default)]
struct Unfolded {
    blocks: Vec<NewBlock>,
    latest: HashMap<DeviceId, (u32, Rollup)>,
    losses: BTreeMap<DeviceId, Loss>,
}

/// Why a device's blocks were not kept; the worst of a batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// So many minutes ahead of the cloud.
    Ahead(u64),
    /// Not readable.
    Damaged,
    /// More than a batch may unfold to.
    TooMuch,
}

/// Takes blocks apart, for their span and their newest values.
fn unfold(list: Vec<DeviceMetrics>, this_minute: u64) -> Unfolded {
    let mut all = Unfolded::default();
    let mut cells = 0;
    for DeviceMetrics { device, block } in list {
        let mut lose = |loss: Loss| {
            let worst = all.losses.entry(device).or_insert_with(|| loss.clone());
            *worst = loss.max(worst.clone());
        };
        let Some((rows, width)) = block.dimensions() else {
            lose(Loss::Damaged);
            continue;
        };
        cells += rows * width;
        if cells > MAX_UNFOLDED {
            lose(Loss::TooMuch);
            continue;
        }
        let Ok(rollups) = block.decode() else {
            lose(Loss::Damaged);
            continue;
        };
        let (Some(first), Some(last)) = (rollups.first(), rollups.last()) else { continue };
        let (first, last_minute) = (first.minute, last.minute);
        if last_minute > this_minute + AHEAD {
            lose(Loss::Ahead(last_minute - this_minute));
            continue;
        }
        let newest = all.latest.get(&device).is_none_or(|(_, had)| had.minute <= last_minute);
        if newest && let Some(last) = rollups.into_iter().next_back() {
            all.latest.insert(device, (block.table, last));
        }
        let columns = block.columns;
        all.blocks.push(NewBlock { device, first, last: last_minute, table: block.table, columns });
    }
    all
}

/// Writes down that a device's measurements were not kept: what is missing lies
/// between its last values and now.
async fn lost(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    device: DeviceId,
    loss: &Loss,
) -> Result<(), ApplyError> {
    tracing::warn!(relay = %relay.id, %device, ?loss, "Rollups were not kept.");
    let reason = match loss {
        Loss::Ahead(minutes) => ahead(*minutes),
        Loss::Damaged => "Measurements of the device could not be read and were skipped.".into(),
        Loss::TooMuch => "The relay sent more measurements at once than the cloud takes.".into(),
    };
    let to = OffsetDateTime::now_utc();
    let from = gaps::stored_until(tx, device).await?.unwrap_or(to);
    let gap =
        NewGap { device: Some(device), lane: Lane::Metrics, records: 1, from, to, reason: &reason };
    Ok(gaps::note(tx, relay, &gap).await?)
}

/// Says how far ahead a clock was.
fn ahead(minutes: u64) -> String {
    let by = match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    };
    format!(
        "Measurements were dated {by} ahead of the time by a clock that was wrong, and were left out."
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use unifyit_protocol::telemetry::{Aggregate, RollupBlock};

    fn block(device: DeviceId, minute: u64, rows: u64) -> DeviceMetrics {
        let cell = Some(Aggregate { min: 1, max: 1, avg: 1, last: 1 });
        let rollups: Vec<Rollup> = (0..rows)
            .map(|n| Rollup { minute: minute + n, count: 1, values: vec![cell; 64] })
            .collect();
        DeviceMetrics { device, block: RollupBlock::encode(1, &rollups).unwrap() }
    }

    #[test]
    fn values_of_the_future_are_said_to_be_of_the_future() {
        let (fast, broken) = (DeviceId::generate(), DeviceId::generate());
        let mut damaged = block(broken, 1000, 1);
        damaged.block.columns.truncate(3);
        let all = unfold(vec![block(fast, 1123, 1), damaged], 1000);
        assert_eq!(all.losses[&fast], Loss::Ahead(123));
        assert_eq!(all.losses[&broken], Loss::Damaged);
        assert!(ahead(123).contains("2 h 3 min ahead"), "{}", ahead(123));
        assert!(ahead(3 * 1440 + 61).contains("3 d 1 h ahead of the time"));
    }

    #[test]
    fn a_batch_that_unfolds_without_end_is_cut() {
        let device = DeviceId::generate();
        let one = block(device, 0, 2048);
        assert!(one.block.columns.len() < 4096, "constant values take next to nothing");
        let many = MAX_UNFOLDED / (2048 * 64) + 2;
        let all = unfold(vec![one; many], 4000);
        assert_eq!(all.blocks.len(), many - 2);
        assert_eq!(all.losses[&device], Loss::TooMuch);
    }
}
