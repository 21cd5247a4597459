//! SQL of measurements.

use super::model::GapBody;
use crate::{
    db::{DbError, TenantTx},
    features::devices::store::DeviceRef,
    link::{RelayIdentity, gaps::last_stored},
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
    /// Minutes a row of a packed block; none for rollups as they came.
    pub(super) step: Option<i32>,
}

/// What a range of a device's measurements would take to read.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Weight {
    pub(super) blocks: i64,
    pub(super) bytes: i64,
    /// Minutes a row of the coarsest block.
    pub(super) step: i32,
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
#[derive(Debug)]
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

/// Newest load of a device, in percent.
pub(super) struct LoadRow {
    pub(super) device: DeviceId,
    pub(super) at: OffsetDateTime,
    pub(super) cpu: Option<f32>,
    pub(super) memory: Option<f32>,
    pub(super) disk: Option<f32>,
}

/// Newest values of a device.
pub(super) struct Newest {
    pub(super) load: LoadRow,
    /// Its table of columns.
    pub(super) table: u32,
    /// A scaled integer a column, encoded.
    pub(super) values: Vec<u8>,
}

/// Keeps newest values, unless newer ones are there.
pub(super) async fn keep_newest(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    newest: Vec<Newest>,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO metric_latest (device_id, at, series_hash, vals, partner_id, organization_id, site_id) \
         SELECT n.device, n.at, n.hash, n.vals, $1, $2, $3 \
         FROM unnest($4::uuid[], $5::timestamptz[], $6::int8[], $7::bytea[]) AS n (device, at, hash, vals) \
         ON CONFLICT (device_id) DO UPDATE SET at = excluded.at, series_hash = excluded.series_hash, \
             vals = excluded.vals, readings = '[]' \
         WHERE metric_latest.at <= excluded.at OR metric_latest.at > now() + interval '1 minute'",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(newest.iter().map(|n| n.load.device.0).collect::<Vec<_>>())
    .bind(newest.iter().map(|n| n.load.at).collect::<Vec<_>>())
    .bind(newest.iter().map(|n| i64::from(n.table)).collect::<Vec<_>>())
    .bind(newest.iter().map(|n| n.values.as_slice()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    let loads: Vec<LoadRow> = newest.into_iter().map(|n| n.load).collect();
    keep_loads(tx, &loads).await
}

/// Keeps newest loads, as lists show them, unless newer ones are there.
pub(super) async fn keep_loads(tx: &mut TenantTx, loads: &[LoadRow]) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE device_loads l SET cpu_pct = coalesce(n.cpu, -1), \
             memory_pct = coalesce(n.memory, -1), disk_pct = coalesce(n.disk, -1), \
             metrics_at = n.at, seen = greatest(least(l.seen, now()), n.at) \
         FROM unnest($1::uuid[], $2::timestamptz[], $3::float4[], $4::float4[], $5::float4[]) \
             AS n (device, at, cpu, memory, disk) \
         WHERE l.id = n.device AND (l.metrics_at <= n.at \
             OR l.metrics_at > now() + interval '1 minute')",
    )
    .bind(loads.iter().map(|n| n.device.0).collect::<Vec<_>>())
    .bind(loads.iter().map(|n| n.at).collect::<Vec<_>>())
    .bind(loads.iter().map(|n| n.cpu).collect::<Vec<_>>())
    .bind(loads.iter().map(|n| n.memory).collect::<Vec<_>>())
    .bind(loads.iter().map(|n| n.disk).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Up to where a device has told values and up to where they are stored, and the
/// relay that may have those between.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Stand {
    pub(super) relay: Uuid,
    pub(super) told_at: Option<OffsetDateTime>,
    pub(super) stored: Option<i64>,
}

/// Where a device stands; nothing, when no relay serves it.
pub(super) async fn stand(tx: &mut TenantTx, device: &DeviceRef) -> Result<Option<Stand>, DbError> {
    Ok(sqlx::query_as(concat!(
        "SELECT r.id AS relay, nullif(l.metrics_at, '-infinity') AS told_at, ",
        last_stored!("$1"),
        " AS stored \
         FROM device_loads l JOIN relays r ON r.site_id = l.site_id AND r.revoked_at IS NULL \
         WHERE l.id = $1 AND NOT l.revoked",
    ))
    .bind(device.id)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Weighs the blocks that touch a range of minutes without reading them, up to
/// `most` and one; statements that follow have ten seconds each.
pub(super) async fn weigh(
    tx: &mut TenantTx,
    device: &DeviceRef,
    (first, end): (u64, u64),
    most: i64,
) -> Result<Weight, DbError> {
    Ok(sqlx::query_as(
        "SELECT count(*) AS blocks, coalesce(sum(bytes), 0)::int8 AS bytes, \
             coalesce(max(step), 1)::int4 AS step, set_config('statement_timeout', '10s', true) \
         FROM ((SELECT octet_length(block) AS bytes, step FROM metric_blocks \
                WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3 LIMIT $4) \
            UNION ALL \
               (SELECT octet_length(block), 1 FROM metric_recent \
                WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3 LIMIT $4)) b",
    )
    .bind(device.id)
    .bind(minute(first))
    .bind(minute(end))
    .bind(most + 1)
    .fetch_one(&mut **tx)
    .await?)
}

/// Rollups of a device that touch a range of minutes, newest first: those that
/// are as they came, the latest to arrive before all others, then packed blocks.
pub(super) async fn blocks(
    tx: &mut TenantTx,
    device: &DeviceRef,
    (first, end): (u64, u64),
    most: i64,
) -> Result<Vec<StoredBlock>, DbError> {
    Ok(sqlx::query_as(
        "SELECT series_hash, block, step FROM ( \
             SELECT series_hash, block, step::int4, first_minute AS place FROM metric_blocks \
             WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3 \
             UNION ALL \
             SELECT series_hash, block, NULL, arrived FROM metric_recent \
             WHERE device_id = $1 AND last_minute >= $2 AND first_minute < $3) b \
         ORDER BY step IS NULL DESC, place DESC LIMIT $4",
    )
    .bind(device.id)
    .bind(minute(first))
    .bind(minute(end))
    .bind(most)
    .fetch_all(&mut **tx)
    .await?)
}

/// Tables of columns of a device, in the order wanted, until they are too many
/// bytes.
pub(super) async fn tables_of(
    tx: &mut TenantTx,
    device: &DeviceRef,
    hashes: &[i64],
    most_bytes: i64,
) -> Result<HashMap<i64, SeriesTable>, DbError> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT hash, series FROM ( \
             SELECT s.hash, s.series, sum(octet_length(s.series)) OVER (ORDER BY w.n) AS bytes \
             FROM unnest($2::int8[]) WITH ORDINALITY AS w (hash, n) \
             JOIN series_tables s ON s.device_id = $1 AND s.hash = w.hash) t WHERE bytes <= $3",
    )
    .bind(device.id)
    .bind(hashes)
    .bind(most_bytes)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(hash, bytes)| Some((hash, codec::decode(&bytes).ok()?)))
        .collect())
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

/// How many columns each of a device's tables has.
pub(super) async fn widths(
    tx: &mut TenantTx,
    device: Uuid,
    hashes: &[i64],
) -> Result<HashMap<i64, usize>, DbError> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT hash, series FROM series_tables WHERE device_id = $1 AND hash = ANY($2)",
    )
    .bind(device)
    .bind(hashes)
    .fetch_all(&mut **tx)
    .await?;
    let width = |bytes: &[u8]| codec::decode(bytes).map(|table: SeriesTable| table.series.len());
    Ok(rows.into_iter().filter_map(|(hash, bytes)| Some((hash, width(&bytes).ok()?))).collect())
}

/// A minute as the database counts it.
pub(super) fn minute(minute: u64) -> i64 {
    i64::try_from(minute).unwrap_or(i64::MAX)
}
