//! SQL of the audit log and of timelines.

use crate::{
    audit::AuditEntry,
    db::TenantTx,
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

#[derive(Debug, Serialize, Deserialize)]
struct After(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

/// What happened to a device, latest first. Items of one moment are kept on one
/// page only up to its limit.
pub(super) async fn timeline(
    tx: &mut TenantTx,
    device: &DeviceRef,
    page: &PageQuery,
) -> Result<Page<TimelineItem>, Problem> {
    let after = page.after::<After>()?.map(|a| a.0);
    // Each source gives its own latest `limit` rows by an index; then they are
    // merged.
    let rows: Vec<TimelineItem> = sqlx::query_as(
        "SELECT * FROM ( \
           (SELECT a.at, 'audit' AS kind, a.action AS title, concat_ws(': ', nullif(a.target, ''), nullif(a.detail, '')) AS detail, a.actor, \
              'device' AS ref_kind, a.device_id AS ref_id, nullif(a.target, '') AS ref_name \
            FROM audit_log a WHERE a.device_id = $1 AND ($2::timestamptz IS NULL OR a.at < $2) \
            AND a.action NOT LIKE 'task.%' ORDER BY a.id DESC LIMIT $3) \
           UNION ALL \
           (SELECT p.at, 'connection', CASE WHEN p.online THEN 'Connected' ELSE 'Disconnected' END, \
              CASE WHEN p.address <> '' THEN 'From ' || p.address ELSE '' END, '', 'device', p.device_id, $4 \
            FROM presence_log p WHERE p.device_id = $1 AND ($2::timestamptz IS NULL OR p.at < $2) \
            ORDER BY p.at DESC LIMIT $3) \
           UNION ALL \
           (SELECT t.created_at, 'task', coalesce(nullif(t.name, ''), 'Script'), \
              g.status || coalesce(' (exit code ' || g.exit_code || ')', '') || coalesce(': ' || g.reason, ''), \
              t.created_by, 'task', t.id, nullif(t.name, '') \
            FROM tasks t JOIN task_targets g ON g.task_id = t.id AND g.device_id = $1 \
            WHERE $2::timestamptz IS NULL OR t.created_at < $2 ORDER BY t.id DESC LIMIT $3) \
           UNION ALL \
           (SELECT g.to_at, 'gap', 'data.lost', CASE g.lane WHEN 'urgent' THEN 'Results and connections' \
                WHEN 'state' THEN 'Inventory' WHEN 'output' THEN 'Output of scripts' ELSE 'Measurements' END \
                || coalesce(' (' || nullif(g.records, 0) || ' records)', '') || ': ' || g.reason, '', \
              'device', $1, $4 FROM gaps g \
            WHERE (g.device_id = $1 OR (g.device_id IS NULL AND g.site_id = $5 AND g.to_at >= $6)) \
                AND ($2::timestamptz IS NULL OR g.to_at < $2) ORDER BY g.to_at DESC LIMIT $3) \
         ) merged ORDER BY at DESC LIMIT $3",
    )
    .bind(device.id)
    .bind(after)
    .bind(page.limit() + 1)
    .bind(&device.name)
    .bind(device.site().0)
    .bind(device.enrolled_at)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::cut(rows, page.limit(), |item| After(item.at)))
}
