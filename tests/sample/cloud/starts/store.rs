//! SQL of starts.

use crate::{
    db::{DbError, TenantTx},
    link::RelayIdentity,
    timeline::{OfDevice, Part, TimelineRow},
};
use futures::future::BoxFuture;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a timeline says of one.
pub(super) const TITLE: &str = "Agent started";

/// A start of an agent.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(super) struct Start {
    /// Of which device.
    pub(super) device_id: Uuid,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    /// Version of the agent.
    pub(super) version: String,
}

/// Adds one, if it is new.
pub(super) async fn add(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    start: &Start,
) -> Result<bool, DbError> {
    let added = sqlx::query(
        "INSERT INTO starts (partner_id, organization_id, site_id, device_id, at, version) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(start.device_id)
    .bind(start.at)
    .bind(&start.version)
    .execute(&mut **tx)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// The latest of a device.
pub(super) async fn of_device(tx: &mut TenantTx, device: Uuid) -> Result<Vec<Start>, DbError> {
    let rows = sqlx::query_as(
        "SELECT device_id, at, version FROM starts WHERE device_id = $1 ORDER BY at DESC LIMIT 100",
    )
    .bind(device)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Those of a device, for its timeline.
pub(super) fn in_timeline<'a>(
    tx: &'a mut TenantTx,
    device: &'a OfDevice,
    part: &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>> {
    Box::pin(async move {
        let rows = sqlx::query_as(
            "SELECT at, $6 AS title, 'Version ' || version AS detail, '' AS actor, \
               'device' AS ref_kind, device_id AS ref_id, $5 AS ref_name, \
               ('b' || lpad(id::text, 20, '0')) COLLATE \"C\" AS key \
             FROM starts WHERE device_id = $1 AND ($2::timestamptz IS NULL OR (at <= $2 \
               AND (at < $2 OR ('b' || lpad(id::text, 20, '0')) COLLATE \"C\" < $3))) \
             ORDER BY at DESC, ('b' || lpad(id::text, 20, '0')) COLLATE \"C\" DESC LIMIT $4",
        )
        .bind(device.id)
        .bind(part.until)
        .bind(&part.before)
        .bind(part.limit)
        .bind(&device.name)
        .bind(TITLE)
        .fetch_all(&mut **tx)
        .await?;
        Ok(rows)
    })
}
