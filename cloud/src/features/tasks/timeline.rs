//! What tasks did, for timelines.

use crate::{
    db::{DbError, TenantTx},
    events::TimelineItem,
    timeline::{OfDevice, Part, TimelineRow},
};
use futures::future::BoxFuture;

/// The device's tasks, at the moments at which they were asked for.
pub(super) fn of_device<'a>(
    tx: &'a mut TenantTx,
    device: &'a OfDevice,
    part: &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>> {
    Box::pin(async move {
        let rows = sqlx::query_as(
            "SELECT t.created_at AS at, coalesce(nullif(t.name, ''), 'Script') AS title, \
               g.status || coalesce(' (exit code ' || g.exit_code || ')', '') || coalesce(': ' || g.reason, '') AS detail, \
               t.created_by AS actor, 'task' AS ref_kind, t.id AS ref_id, nullif(t.name, '') AS ref_name, \
               ('t' || t.id) COLLATE \"C\" AS key \
             FROM tasks t JOIN task_targets g ON g.task_id = t.id AND g.device_id = $1 \
             WHERE $2::timestamptz IS NULL OR (t.created_at <= $2 AND (t.created_at < $2 OR ('t' || t.id) COLLATE \"C\" < $3)) \
             ORDER BY t.created_at DESC, ('t' || t.id) COLLATE \"C\" DESC LIMIT $4",
        )
        .bind(device.id)
        .bind(part.until)
        .bind(&part.before)
        .bind(part.limit)
        .fetch_all(&mut **tx)
        .await?;
        Ok(rows)
    })
}

/// The last ones in the scope. Of several partners they are everybody's who has a part.
pub(super) fn recent(
    tx: &mut TenantTx,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<TimelineItem>, DbError>> {
    Box::pin(async move {
        // Row security decides what is seen; the partner's id lets it use an index.
        let partner = tx.scope().and_then(|scope| scope.place().partner);
        let items = sqlx::query_as(
            "SELECT t.created_at AS at, coalesce(nullif(t.name, ''), 'Script') AS title, \
               t.total || CASE t.total WHEN 1 THEN ' device' ELSE ' devices' END AS detail, t.created_by AS actor, \
               'task' AS ref_kind, t.id AS ref_id, nullif(t.name, '') AS ref_name \
             FROM tasks t WHERE $2::uuid IS NULL OR t.partner_id = $2 OR t.partner_id IS NULL \
             ORDER BY t.id DESC LIMIT $1",
        )
        .bind(limit)
        .bind(partner)
        .fetch_all(&mut **tx)
        .await?;
        Ok(items)
    })
}
