//! SQL of measurements.

use super::model::GapBody;
use crate::{
    db::{DbError, TenantTx},
    features::devices::store::DeviceRef,
    link::RelayIdentity,
};
use std::collections::HashMap;
use time::OffsetDateTime;
use unifyit_protocol::{codec, ids::DeviceId, telemetry::SeriesTable};
use uuid::Uuid;

/// Rollups of a device as they lie in a table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct StoredBlock {
    pub(super) series_hash: i64,
    pub(super) block: Vec<u8>,
    /// Whether it is a long packed block, or a rollup as it came.
    pub(super) packed: bool,
}

/// Keeps a device's table of columns.
pub(super) async fn keep_series(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    device: DeviceId,
    hash: u32,
    table: &[u8],
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO series_tables (device_id, hash, partner_id, organization_id, site_id, series) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(device.0)
    .bind(i64::from(hash))
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(table)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Tables of columns by device and hash.
pub(super) async fn tables(
    tx: &mut TenantTx,
    wanted: &[(DeviceId, u32)],
) -> Result<HashMap<(DeviceId, u32), SeriesTable>, DbError> {
    let rows: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT s.device_id, s.hash, s.series FROM series_tables s \
         JOIN unnest($1::uuid[], $2::int8[]) AS w (device, hash) ON s.device_id = w.device AND s.hash = w.hash",
    )
    .bind(wanted.iter().map(|(device, _)| device.0).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, hash)| i64::from(*hash)).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(device, hash, bytes)| {
            let table = codec::decode(&bytes).ok()?;
            Some(((DeviceId(device), u32::try_from(hash).ok()?), table))
        })
        .collect())
}

/// A block of rollups to be kept as it came.
pub(super) struct NewBlock {
    pub(super) device: DeviceId,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) table: u32,
    pub(super) columns: Vec<u8>,
}

/// Keeps blocks, all in one statement.
pub(super) async fn keep_blocks(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    blocks: Vec<NewBlock>,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO metric_recent (device_id, first_minute, last_minute, series_hash, block, \
             partner_id, organization_id, site_id) \
         SELECT b.device, b.first, b.last, b.hash, b.block, $1, $2, $3 \
         FROM unnest($4::uuid[], $5::int8[], $6::int8[], $7::int8[], $8::bytea[]) \
             WITH ORDINALITY AS b (device, first, last, hash, block, n) ORDER BY n",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(blocks.iter().map(|b| b.device.0).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| minute(b.first)).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| minute(b.last)).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| i64::from(b.table)).collect::<Vec<_>>())
    .bind(blocks.into_iter().map(|b| b.columns).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Newest values of a device.
pub(super) struct Newest {
    pub(super) device: DeviceId,
    pub(super) at: OffsetDateTime,
    pub(super) readings: serde_json::Value,
    pub(super) cpu: Option<f32>,
    pub(super) memory: Option<f32>,
    pub(super) disk: Option<f32>,
}

/// Keeps newest values, unless newer ones are there.
pub(super) async fn keep_newest(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    newest: &[Newest],
) -> Result<(), DbError> {
    let devices: Vec<Uuid> = newest.iter().map(|n| n.device.0).collect();
    let at: Vec<OffsetDateTime> = newest.iter().map(|n| n.at).collect();
    sqlx::query(
        "INSERT INTO metric_latest (device_id, at, readings, partner_id, organization_id, site_id) \
         SELECT n.device, n.at, n.readings, $1, $2, $3 \
         FROM unnest($4::uuid[], $5::timestamptz[], $6::jsonb[]) AS n (device, at, readings) \
         ON CONFLICT (device_id) DO UPDATE SET at = excluded.at, readings = excluded.readings \
         WHERE metric_latest.at <= excluded.at OR metric_latest.at > now() + interval '1 minute'",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(&devices)
    .bind(&at)
    .bind(newest.iter().map(|n| n.readings.clone()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE devices d SET cpu_pct = n.cpu, memory_pct = n.memory, disk_pct = n.disk, \
             metrics_at = n.at, last_seen = greatest(least(d.last_seen, now()), n.at) \
         FROM unnest($1::uuid[], $2::timestamptz[], $3::float4[], $4::float4[], $5::float4[]) \
             AS n (device, at, cpu, memory, disk) \
         WHERE d.id = n.device AND (d.metrics_at IS NULL OR d.metrics_at <= n.at \
             OR d.metrics_at > now() + interval '1 minute')",
    )
    .bind(&devices)
    .bind(&at)
    .bind(newest.iter().map(|n| n.cpu).collect::<Vec<_>>())
    .bind(newest.iter().map(|n| n.memory).collect::<Vec<_>>())
    .bind(newest.iter().map(|n| n.disk).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Rollups of a device that touch a range of minutes: packed blocks, oldest first,
/// then those that are as they came, in the order of their arrival.
pub(super) async fn blocks(
    tx: &mut TenantTx,
    device: &DeviceRef,
    first: u64,
    end: u64,
) -> Result<Vec<StoredBlock>, DbError> {
    Ok(sqlx::query_as(
        "SELECT series_hash, block, packed FROM ( \
             SELECT series_hash, block, true AS packed, first_minute AS place FROM metric_blocks \
             WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3 \
             UNION ALL \
             SELECT series_hash, block, false, arrived FROM metric_recent \
             WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3) b \
         ORDER BY packed DESC, place",
    )
    .bind(device.id)
    .bind(minute(first))
    .bind(minute(end))
    .fetch_all(&mut **tx)
    .await?)
}

/// What was dropped of a device's measurements, or of its whole site's.
pub(super) async fn gaps(
    tx: &mut TenantTx,
    device: &DeviceRef,
    from: OffsetDateTime,
    to: OffsetDateTime,
) -> Result<Vec<GapBody>, DbError> {
    Ok(sqlx::query_as(
        "SELECT from_at, to_at, reason FROM gaps \
         WHERE lane = 'metrics' AND to_at >= $2 AND from_at < $3 \
             AND (device_id = $1 OR (device_id IS NULL AND site_id = $4)) \
         ORDER BY from_at LIMIT 1000",
    )
    .bind(device.id)
    .bind(from)
    .bind(to)
    .bind(device.site().0)
    .fetch_all(&mut **tx)
    .await?)
}

/// A minute as the database counts it.
pub(super) fn minute(minute: u64) -> i64 {
    i64::try_from(minute).unwrap_or(i64::MAX)
}
