//! Connections that came and went, for timelines.

use crate::{
    db::{DbError, TenantTx},
    events::TimelineItem,
    timeline::{LOOKED_AT, NAMES, OfDevice, Part, TOGETHER, TimelineRow, together},
};
use futures::future::BoxFuture;

/// How far back connections are looked at for the first page: they are many.
const AGE: &str = "7 days";

/// Those of a device.
pub(super) fn of_device<'a>(
    tx: &'a mut TenantTx,
    device: &'a OfDevice,
    part: &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>> {
    Box::pin(async move {
        let rows = sqlx::query_as(
            "SELECT at, CASE WHEN online THEN 'Connected' ELSE 'Disconnected' END AS title, \
               CASE WHEN address <> '' THEN 'From ' || address ELSE '' END AS detail, '' AS actor, \
               'device' AS ref_kind, device_id AS ref_id, $5 AS ref_name, ('p' || lpad(id::text, 20, '0')) COLLATE \"C\" AS key \
             FROM presence_log WHERE device_id = $1 \
             AND ($2::timestamptz IS NULL OR (at <= $2 AND (at < $2 OR ('p' || lpad(id::text, 20, '0')) COLLATE \"C\" < $3))) \
             ORDER BY at DESC, ('p' || lpad(id::text, 20, '0')) COLLATE \"C\" DESC LIMIT $4",
        )
        .bind(device.id)
        .bind(part.until)
        .bind(&part.before)
        .bind(part.limit)
        .bind(&device.name)
        .fetch_all(&mut **tx)
        .await?;
        Ok(rows)
    })
}

/// The last ones in the scope, those of relays among them.
pub(super) fn recent(
    tx: &mut TenantTx,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<TimelineItem>, DbError>> {
    Box::pin(async move {
        let partner = tx.scope().and_then(|scope| scope.place().partner);
        let items = sqlx::query_as(together!(
            "SELECT p.at, CASE WHEN p.online THEN 'Connected' ELSE 'Disconnected' END AS title, '' AS actor, \
               p.site_id, p.device_id, \
               CASE WHEN p.device_id IS NULL THEN s.name ELSE coalesce(nullif(n.name, ''), n.hostname) END AS name, \
               CASE WHEN p.device_id IS NULL THEN 'The relay of ' || s.name \
                 WHEN p.address <> '' THEN 'From ' || p.address ELSE '' END AS detail, \
               CASE WHEN p.device_id IS NULL THEN p.id::text END AS alone \
             FROM (SELECT id, at, online, site_id, device_id, address FROM presence_log \
                 WHERE at > now() - CAST($6 AS text)::interval AND ($5::uuid IS NULL OR partner_id = $5) \
                 ORDER BY at DESC LIMIT $2) p \
               LEFT JOIN devices n ON n.id = p.device_id LEFT JOIN sites s ON s.id = p.site_id"
        ))
        .bind(limit)
        .bind(LOOKED_AT)
        .bind(NAMES)
        .bind(TOGETHER)
        .bind(partner)
        .bind(AGE)
        .fetch_all(&mut **tx)
        .await?;
        Ok(items)
    })
}
