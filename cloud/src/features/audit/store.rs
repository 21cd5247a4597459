//! SQL of the audit log.

use crate::{
    audit::AuditEntry,
    db::{DbError, Scope, TenantTx},
    events::TimelineItem,
    http::{Page, PageQuery, Problem},
    timeline::{LOOKED_AT, NAMES, OfDevice, Part, TOGETHER, TimelineRow, together},
};
use futures::future::BoxFuture;
use sqlx::{Postgres, QueryBuilder};
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// What to look for in the log.
#[derive(Debug, Default)]
pub(super) struct AuditFilter<'a> {
    pub(super) q: &'a str,
    pub(super) actor: &'a str,
    pub(super) device: Option<DeviceId>,
}

/// The log, latest first.
pub(super) async fn audit(
    tx: &mut TenantTx,
    filter: &AuditFilter<'_>,
    page: &PageQuery,
) -> Result<Page<AuditEntry>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT id, at, actor, action, target, detail, request_id, device_id FROM audit_log WHERE true",
    );
    // Row security decides what is seen; plain comparisons let it use an index.
    let place = tx.scope().map(Scope::place).unwrap_or_default();
    if let Some(partner) = place.partner {
        query.push(" AND partner_id = ").push_bind(partner);
    }
    if let Some(organization) = place.organization {
        query.push(" AND organization_id = ").push_bind(organization);
    }
    if let Some(device) = filter.device {
        query.push(" AND device_id = ").push_bind(device.0);
    }
    if !filter.actor.is_empty() {
        query.push(" AND actor = ").push_bind(filter.actor.to_owned());
    }
    for word in filter.q.to_lowercase().split_whitespace().take(8) {
        query
            .push(" AND strpos(lower(actor || ' ' || action || ' ' || target || ' ' || detail), ")
            .push_bind(word.to_owned())
            .push(") > 0");
    }
    if let Some(after) = page.after::<Uuid>()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<AuditEntry> = tx.composed(query).await?;
    Ok(Page::cut(rows, page.limit(), |e| e.id))
}

/// What somebody did to a device. What a task did stands there as the task's.
pub(super) fn of_device<'a>(
    tx: &'a mut TenantTx,
    device: &'a OfDevice,
    part: &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>> {
    Box::pin(async move {
        let rows = sqlx::query_as(
            "SELECT at, action AS title, concat_ws(': ', nullif(target, ''), nullif(detail, '')) AS detail, actor, \
               'device' AS ref_kind, device_id AS ref_id, nullif(target, '') AS ref_name, ('a' || id) COLLATE \"C\" AS key \
             FROM audit_log WHERE device_id = $1 AND action NOT LIKE 'task.%' \
             AND ($2::timestamptz IS NULL OR (at <= $2 AND (at < $2 OR ('a' || id) COLLATE \"C\" < $3))) \
             ORDER BY at DESC, ('a' || id) COLLATE \"C\" DESC LIMIT $4",
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

/// What somebody did last. Computers that joined are together.
pub(super) fn recent(
    tx: &mut TenantTx,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<TimelineItem>, DbError>> {
    Box::pin(async move {
        let partner = tx.scope().and_then(|scope| scope.place().partner);
        let items = sqlx::query_as(together!(
            "SELECT at, action AS title, actor, site_id, device_id, target AS name, \
               concat_ws(': ', nullif(target, ''), nullif(detail, '')) AS detail, \
               CASE WHEN action <> 'device.enroll' THEN id::text END AS alone \
             FROM audit_log WHERE action NOT LIKE 'task.%' AND ($5::uuid IS NULL OR partner_id = $5) \
             ORDER BY id DESC LIMIT $2"
        ))
        .bind(limit)
        .bind(LOOKED_AT)
        .bind(NAMES)
        .bind(TOGETHER)
        .bind(partner)
        .fetch_all(&mut **tx)
        .await?;
        Ok(items)
    })
}
