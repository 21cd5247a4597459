//! SQL of computers.

use super::{
    DeviceItem, Facets, Latest,
    model::DevicePage,
    query::{Checked, JOIN_RELAY, STATE},
};
use crate::{
    db::{DbError, Place, TenantTx},
    http::Problem,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use std::collections::HashMap;
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    ids::{DeviceId, OrganizationId, PartnerId, SiteId},
    telemetry::SeriesTable,
};
use uuid::Uuid;

/// Most values told of one facet.
const MAX_VALUES: usize = 1000;

fn select() -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT d.id, CASE WHEN d.name = '' THEN d.hostname ELSE d.name END AS name, d.hostname, \
         d.organization_id, o.name AS organization_name, d.site_id, s.name AS site_name, ",
    );
    query.push(STATE).push(
        " AS state, CASE WHEN d.revoked_at IS NOT NULL THEN d.revoked_at \
             WHEN r.online IS NOT TRUE THEN coalesce(r.state_since, d.online_since) \
             ELSE d.online_since END AS state_since, \
         nullif(l.seen, '-infinity') AS last_seen, d.os_name, d.os_family, d.arch, \
         d.agent_version, d.address, d.tags, nullif(l.cpu_pct, -1) AS cpu_pct, \
         nullif(l.memory_pct, -1) AS memory_pct, nullif(l.disk_pct, -1) AS disk_pct, \
         nullif(l.metrics_at, '-infinity') AS metrics_at, d.clock_ahead_ms \
         FROM devices d JOIN device_loads l ON l.id = d.id JOIN sites s ON s.id = d.site_id \
         JOIN organizations o ON o.id = d.organization_id",
    );
    query.push(JOIN_RELAY).push(" WHERE d.id = ANY(");
    query
}

/// The list items of devices, in the order of `ids`; what is not visible is
/// left out. Also the payload of `device.changed`.
///
/// # Errors
/// [`DbError`].
pub async fn items(tx: &mut TenantTx, ids: &[DeviceId]) -> Result<Vec<DeviceItem>, DbError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut query = select();
    query.push_bind(ids.clone()).push(")");
    let rows: Vec<DeviceItem> = query.build_query_as().fetch_all(&mut **tx).await?;
    let mut by_id: HashMap<Uuid, DeviceItem> = rows.into_iter().map(|d| (d.id, d)).collect();
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
}

/// A page of the list.
pub(super) async fn list(tx: &mut TenantTx, query: &Checked) -> Result<DevicePage, Problem> {
    tx.plan_for_values().await?;
    let (mut keys, total) = super::found::found(tx, query).await?;
    let limit = usize::try_from(query.limit).unwrap_or_default();
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next_cursor = keys.last().filter(|_| more).map(|(id, key)| query.cursor(key, *id, total));
    let ids: Vec<DeviceId> = keys.iter().map(|(id, _)| DeviceId(*id)).collect();
    Ok(DevicePage { items: items(tx, &ids).await?, next_cursor, total })
}

/// Counts by what a filter could ask.
pub(super) async fn facets(tx: &mut TenantTx, query: &Checked) -> Result<Facets, DbError> {
    tx.plan_for_values().await?;
    let scope = tx.scope().copied();
    let rows: Vec<(String, String, Option<i64>)> =
        tx.composed(query.facets(scope.as_ref())).await?;
    let mut facets = Facets::default();
    // Largest first: where there are too many values, the smallest are left out.
    for (facet, value, count) in rows {
        let Some(count) = count.filter(|n| *n > 0) else { continue };
        let values = match facet.as_str() {
            "state" => &mut facets.state,
            "os" => &mut facets.os,
            _ => &mut facets.site,
        };
        if values.len() < MAX_VALUES {
            values.insert(value, count);
        }
    }
    Ok(facets)
}

/// Where a device stands and what it is called; the proof that it is visible.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeviceRef {
    partner_id: Uuid,
    organization_id: Uuid,
    site_id: Uuid,
    /// Identity.
    pub id: Uuid,
    /// As shown.
    pub name: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it joined.
    pub enrolled_at: OffsetDateTime,
}

impl DeviceRef {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::site(
            PartnerId(self.partner_id),
            OrganizationId(self.organization_id),
            SiteId(self.site_id),
        )
    }

    /// Its site.
    #[must_use]
    pub fn site(&self) -> SiteId {
        SiteId(self.site_id)
    }
}

/// Finds a device in the scope.
///
/// # Errors
/// [`DbError`].
pub async fn find(tx: &mut TenantTx, id: DeviceId) -> Result<Option<DeviceRef>, DbError> {
    Ok(sqlx::query_as(
        "SELECT id, partner_id, organization_id, site_id, enrolled_at, revoked_at IS NOT NULL AS revoked, \
         CASE WHEN name = '' THEN hostname ELSE name END AS name FROM devices WHERE id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?)
}

/// A newest value as an earlier version of the service stored it.
#[derive(serde::Deserialize)]
struct Reading {
    name: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    unit: String,
    value: f64,
}

/// What stands of a device's newest values: when they were told, numbers and their
/// table of columns, or readings.
type Newest = (OffsetDateTime, Option<Vec<u8>>, Option<Vec<u8>>, Json<Vec<Reading>>);

/// Newest values of a device, as its table of columns names them; of one that has
/// told none since its values are stored so, as they were stored before.
pub(super) async fn latest(tx: &mut TenantTx, id: DeviceId) -> Result<Vec<Latest>, DbError> {
    let row: Option<Newest> = sqlx::query_as(
        "SELECT l.at, l.vals, s.series, l.readings FROM metric_latest l \
         LEFT JOIN series_tables s ON s.device_id = l.device_id AND s.hash = l.series_hash \
         WHERE l.device_id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?;
    let Some((at, values, table, Json(readings))) = row else { return Ok(Vec::new()) };
    let (Some(values), Some(table)) = (values, table) else {
        let latest = readings.into_iter().map(|Reading { name, label, unit, value }| Latest {
            name,
            label,
            unit,
            value,
            at,
        });
        return Ok(latest.collect());
    };
    let (Ok(values), Ok(table)) =
        (codec::decode::<Vec<Option<i64>>>(&values), codec::decode::<SeriesTable>(&table))
    else {
        tracing::error!(device = %id, "The newest values of a device are damaged.");
        return Ok(Vec::new());
    };
    let latest = table.series.into_iter().zip(values).filter_map(|(series, value)| {
        let value = value? as f64 / 10f64.powi(i32::from(series.scale.min(18)));
        Some(Latest { name: series.name, label: series.label, unit: series.unit, value, at })
    });
    Ok(latest.collect())
}

/// Names and tags a device.
pub(super) async fn change(
    tx: &mut TenantTx,
    id: DeviceId,
    name: Option<&str>,
    tags: Option<&[String]>,
) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE devices SET name = coalesce($2, name), tags = coalesce($3, tags) WHERE id = $1",
    )
    .bind(id.0)
    .bind(name)
    .bind(tags)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Puts a device out.
pub(super) async fn revoke(tx: &mut TenantTx, id: DeviceId) -> Result<(), DbError> {
    sqlx::query("UPDATE devices SET revoked_at = now(), online = false WHERE id = $1 AND revoked_at IS NULL")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Devices whose clock is wrong, furthest off first.
///
/// # Errors
/// [`DbError`].
pub async fn wrong_clocks(tx: &mut TenantTx, most: usize) -> Result<Vec<DeviceItem>, DbError> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM devices WHERE clock_ahead_ms <> 0 AND revoked_at IS NULL \
         ORDER BY abs(clock_ahead_ms) DESC LIMIT $1",
    )
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let ids: Vec<DeviceId> = ids.into_iter().map(DeviceId).collect();
    items(tx, &ids).await
}

/// Puts devices out that are not.
pub(super) async fn revoke_all(tx: &mut TenantTx, ids: &[DeviceId]) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE devices SET revoked_at = now(), online = false WHERE id = ANY($1) AND revoked_at IS NULL",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Devices whose fullest disk is nearly full (the column says from where on),
/// fullest first.
///
/// # Errors
/// [`DbError`].
pub async fn fullest_disks(tx: &mut TenantTx, most: usize) -> Result<Vec<DeviceItem>, DbError> {
    // Row security decides what is seen; the partner's id lets it use an index.
    let partner = tx.scope().and_then(|scope| scope.place().partner);
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM device_loads WHERE disk_full AND NOT revoked \
             AND ($2::uuid IS NULL OR partner_id = $2) ORDER BY disk_pct DESC LIMIT $1",
    )
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .bind(partner)
    .fetch_all(&mut **tx)
    .await?;
    let ids: Vec<DeviceId> = ids.into_iter().map(DeviceId).collect();
    items(tx, &ids).await
}
