//! SQL of the audit log and of timelines.

use crate::{
    audit::AuditEntry,
    db::{Scope, TenantTx},
    events::TimelineItem,
    features::devices::store::DeviceRef,
    http::{Page, PageQuery, Problem},
};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;
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
    let rows: Vec<AuditEntry> = query.build_query_as().fetch_all(&mut **tx).await?;
    Ok(Page::cut(rows, page.limit(), |e| e.id))
}

/// Where a page of a timeline ended: a moment, and which item of that moment.
#[derive(Debug, Serialize, Deserialize)]
struct After(#[serde(with = "time::serde::rfc3339")] OffsetDateTime, #[serde(default)] String);

#[derive(Debug, sqlx::FromRow)]
struct TimelineRow {
    #[sqlx(flatten)]
    item: TimelineItem,
    key: String,
}

/// What happened to a device, latest first; what stands in the audit log for who
/// may read it. Items of one moment stand in the order of their keys, so that a
/// page may end between them.
pub(super) async fn timeline(
    tx: &mut TenantTx,
    device: &DeviceRef,
    audit: bool,
    page: &PageQuery,
) -> Result<Page<TimelineItem>, Problem> {
    let after = page.after::<After>()?;
    // Each source gives its own latest `limit` rows by an index of the device and
    // the time; then they are merged. What a relay told late stands at its own time.
    let rows: Vec<TimelineRow> = sqlx::query_as(
        "SELECT * FROM ( \
           (SELECT a.at, 'audit' AS kind, a.action AS title, concat_ws(': ', nullif(a.target, ''), nullif(a.detail, '')) AS detail, a.actor, \
              'device' AS ref_kind, a.device_id AS ref_id, nullif(a.target, '') AS ref_name, ('a' || a.id) COLLATE \"C\" AS key \
            FROM audit_log a WHERE $8 AND a.device_id = $1 AND ($2::timestamptz IS NULL OR (a.at <= $2 AND (a.at < $2 OR ('a' || a.id) COLLATE \"C\" < $5))) \
            AND a.action NOT LIKE 'task.%' ORDER BY a.at DESC, ('a' || a.id) COLLATE \"C\" DESC LIMIT $3) \
           UNION ALL \
           (SELECT p.at, 'connection', CASE WHEN p.online THEN 'Connected' ELSE 'Disconnected' END, \
              CASE WHEN p.address <> '' THEN 'From ' || p.address ELSE '' END, '', 'device', p.device_id, $4, ('p' || lpad(p.id::text, 20, '0')) COLLATE \"C\" \
            FROM presence_log p WHERE p.device_id = $1 AND ($2::timestamptz IS NULL OR (p.at <= $2 AND (p.at < $2 OR ('p' || lpad(p.id::text, 20, '0')) COLLATE \"C\" < $5))) \
            ORDER BY p.at DESC, ('p' || lpad(p.id::text, 20, '0')) COLLATE \"C\" DESC LIMIT $3) \
           UNION ALL \
           (SELECT t.created_at, 'task', coalesce(nullif(t.name, ''), 'Script'), \
              g.status || coalesce(' (exit code ' || g.exit_code || ')', '') || coalesce(': ' || g.reason, ''), \
              t.created_by, 'task', t.id, nullif(t.name, ''), ('t' || t.id) COLLATE \"C\" \
            FROM tasks t JOIN task_targets g ON g.task_id = t.id AND g.device_id = $1 \
            WHERE $2::timestamptz IS NULL OR (t.created_at <= $2 AND (t.created_at < $2 OR ('t' || t.id) COLLATE \"C\" < $5)) \
            ORDER BY t.created_at DESC, ('t' || t.id) COLLATE \"C\" DESC LIMIT $3) \
           UNION ALL \
           (SELECT g.to_at, 'gap', 'data.lost', CASE g.lane WHEN 'urgent' THEN 'Results and connections' \
                WHEN 'state' THEN 'Inventory' WHEN 'output' THEN 'Output of scripts' ELSE 'Measurements' END \
                || coalesce(' (' || nullif(g.records, 0) || ' records)', '') || ': ' || g.reason, '', \
              'device', $1, $4, ('g' || lpad(g.id::text, 20, '0')) COLLATE \"C\" FROM gaps g \
            WHERE (g.device_id = $1 OR (g.device_id IS NULL AND g.site_id = $6 AND g.to_at >= $7)) \
                AND ($2::timestamptz IS NULL OR (g.to_at <= $2 AND (g.to_at < $2 OR ('g' || lpad(g.id::text, 20, '0')) COLLATE \"C\" < $5))) \
            ORDER BY g.to_at DESC, ('g' || lpad(g.id::text, 20, '0')) COLLATE \"C\" DESC LIMIT $3) \
         ) merged ORDER BY at DESC, key DESC LIMIT $3",
    )
    .bind(device.id)
    .bind(after.as_ref().map(|after| after.0))
    .bind(page.limit() + 1)
    .bind(&device.name)
    .bind(after.as_ref().map(|after| after.1.as_str()))
    .bind(device.site().0)
    .bind(device.enrolled_at)
    .bind(audit)
    .fetch_all(&mut **tx)
    .await?;
    let Page { items, next_cursor } =
        Page::cut(rows, page.limit(), |row| After(row.item.at, row.key.clone()));
    Ok(Page { items: items.into_iter().map(|row| row.item).collect(), next_cursor })
}
