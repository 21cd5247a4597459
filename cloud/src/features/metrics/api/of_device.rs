//! `GET /devices/{id}/metrics`

use super::super::{
    model::MetricsBody,
    rules::{Downsampler, Latest, Range},
    store,
};
use crate::{
    authz::Can,
    context::Ctx,
    db::TenantTx,
    features::devices::{self, store::DeviceRef},
    http::{Path, Problem, Query},
    link::from_ms,
};
use axum::Json;
use serde::Deserialize;
use std::collections::{BTreeSet, HashSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use unifyit_protocol::{
    ids::DeviceId,
    telemetry::{Aggregate, RollupBlock, block::Block},
};
use utoipa::IntoParams;
use uuid::Uuid;

/// Range when none is asked for: an hour.
const DEFAULT_MS: u64 = 3600 * 1000;

/// Which measurements.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct MetricsQuery {
    /// Names, separated by commas; all when absent.
    pub(in super::super) names: Option<String>,
    /// Start: Unix milliseconds or RFC 3339; an hour before `to` when absent.
    pub(in super::super) from: Option<String>,
    /// End; now when absent.
    pub(in super::super) to: Option<String>,
    /// Seconds a step, in whole minutes; about 500 steps when absent.
    pub(in super::super) step: Option<u64>,
}

/// Measurements of a device over a range
#[utoipa::path(get, path = "/devices/{id}/metrics", tag = "devices",
    params(("id" = Uuid, Path), MetricsQuery),
    responses((status = 200, body = MetricsBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_device_metrics(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(query): Query<MetricsQuery>,
) -> Result<Json<MetricsBody>, Problem> {
    let mut tx = ctx.begin(Can::View).await?;
    let device =
        devices::store::find(&mut tx, DeviceId(id)).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(measured(&mut tx, &device, &query, ctx.state.clock.now_ms()).await?))
}

/// Reads, joins and downsamples.
pub(in super::super) async fn measured(
    tx: &mut TenantTx,
    device: &DeviceRef,
    query: &MetricsQuery,
    now_ms: u64,
) -> Result<MetricsBody, Problem> {
    let to = moment(query.to.as_deref())?.unwrap_or(now_ms);
    let from = moment(query.from.as_deref())?.unwrap_or(to.saturating_sub(DEFAULT_MS));
    let range = Range::new(from, to, query.step).map_err(Problem::invalid)?;
    let names: Option<HashSet<String>> =
        query.names.as_deref().map(|names| names.split(',').map(|n| n.trim().to_owned()).collect());
    let (packed, recent): (Vec<_>, Vec<_>) = store::blocks(tx, device, range.first, range.end())
        .await?
        .into_iter()
        .partition(|b| b.packed);
    let hashes: BTreeSet<i64> = packed.iter().chain(&recent).map(|b| b.series_hash).collect();
    let wanted: Vec<(DeviceId, u32)> = hashes
        .iter()
        .filter_map(|hash| Some((DeviceId(device.id), u32::try_from(*hash).ok()?)))
        .collect();
    let tables = store::tables(tx, &wanted).await?;
    let (from_at, to_at) = (from_ms(range.first * 60_000), from_ms(range.end() * 60_000));
    let gaps = store::gaps(tx, device, from_at, to_at).await?;
    let id = DeviceId(device.id);
    // Decoding is work for the processor alone: off the threads that serve others.
    let series = tokio::task::spawn_blocking(move || {
        let table = |hash: i64| u32::try_from(hash).ok().and_then(|h| tables.get(&(id, h)));
        let wants = |name: &str| names.as_ref().is_none_or(|names| names.contains(name));
        let mut latest = Latest::default();
        let old: Vec<_> =
            packed.iter().map(|b| (b.series_hash, Block::parse(&b.block).ok())).collect();
        let new: Vec<_> = recent
            .into_iter()
            .map(|b| {
                let table = u32::try_from(b.series_hash).unwrap_or_default();
                let block = RollupBlock { table, columns: b.block };
                (b.series_hash, block.decode().unwrap_or_default())
            })
            .collect();
        for (at, (hash, block)) in old.iter().enumerate() {
            if let Some(block) = block {
                latest.note(at, *hash, block.minutes());
            }
        }
        for (at, (hash, rollups)) in new.iter().enumerate() {
            let minutes: Vec<u64> = rollups.iter().map(|r| r.minute).collect();
            latest.note(old.len() + at, *hash, &minutes);
        }
        let mut steps = Downsampler::new(range);
        for (at, (hash, block)) in old.iter().enumerate() {
            let (Some(block), Some(table)) = (block, table(*hash)) else { continue };
            // Asked once a row and not once a cell.
            let held: Vec<bool> =
                block.minutes().iter().map(|m| latest.holds(at, *hash, *m)).collect();
            let holds = |row: usize| held.get(row).copied().unwrap_or_default();
            for (column, series) in table.series.iter().enumerate().filter(|(_, s)| wants(&s.name))
            {
                let Ok(cells) = block.column(column) else { continue };
                steps.add(series, block.minutes(), block.counts(), &cells, holds);
            }
        }
        for (at, (hash, rollups)) in new.iter().enumerate() {
            let Some(table) = table(*hash) else { continue };
            let minutes: Vec<u64> = rollups.iter().map(|r| r.minute).collect();
            let counts: Vec<u16> = rollups.iter().map(|r| r.count).collect();
            let holds = |row: usize| {
                minutes.get(row).is_some_and(|m| latest.holds(old.len() + at, *hash, *m))
            };
            for (column, series) in table.series.iter().enumerate().filter(|(_, s)| wants(&s.name))
            {
                let cells: Vec<Option<Aggregate>> =
                    rollups.iter().map(|r| r.values.get(column).copied().flatten()).collect();
                steps.add(series, &minutes, &counts, &cells, holds);
            }
        }
        steps.finish()
    })
    .await
    .map_err(|_| Problem::internal())?;
    Ok(MetricsBody {
        from: from_at,
        to: to_at,
        step_s: range.step * 60,
        times: range.times(),
        series,
        gaps,
    })
}

/// Reads Unix milliseconds or RFC 3339.
fn moment(text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(Some(ms));
    }
    // A plus sign of an offset arrives as a space when a client forgot to escape it.
    OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
        .ok()
        .and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::malformed("`from` and `to` are Unix milliseconds or RFC 3339 times.")
        })
}
