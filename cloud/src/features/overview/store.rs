//! SQL of what happened last, everywhere in the scope.

use crate::{
    db::{DbError, TenantTx},
    events::TimelineItem,
};

/// Entries of the audit log looked at, and connections. Computers of a site that
/// come, go or join together are one item: a relay that starts anew would
/// otherwise leave no room for anything else.
const LOOKED_AT: i64 = 1000;
/// How far back connections are looked at: they are many.
const AGE: &str = "7 days";
/// What falls into one such stretch of time is together.
const TOGETHER: &str = "10 minutes";
/// Names told of the computers of one item.
const NAMES: i32 = 3;

/// The latest `limit` items, latest first; those of the audit log for who may
/// read it.
pub(super) async fn recent(
    tx: &mut TenantTx,
    audit: bool,
    limit: i64,
) -> Result<Vec<TimelineItem>, DbError> {
    // Row security decides what is seen; the partner's id lets it use an index.
    let partner = tx.scope().and_then(|scope| scope.place().partner);
    // Each source gives its own latest rows by an index; then they are merged.
    Ok(sqlx::query_as(
        "WITH happened AS ( \
           (SELECT 'audit' AS kind, at, action AS title, actor, site_id, device_id, target AS name, \
              concat_ws(': ', nullif(target, ''), nullif(detail, '')) AS detail, \
              CASE WHEN action <> 'device.enroll' THEN id::text END AS alone \
            FROM audit_log WHERE $7 AND action NOT LIKE 'task.%' AND ($5::uuid IS NULL OR partner_id = $5) \
            ORDER BY id DESC LIMIT $2) \
           UNION ALL \
           (SELECT 'connection', at, CASE WHEN online THEN 'Connected' ELSE 'Disconnected' END, '', site_id, device_id, '', \
              CASE WHEN address <> '' THEN 'From ' || address ELSE '' END, CASE WHEN device_id IS NULL THEN id::text END \
            FROM presence_log WHERE at > now() - CAST($6 AS text)::interval AND ($5::uuid IS NULL OR partner_id = $5) \
            ORDER BY at DESC LIMIT $2) \
         ), together AS ( \
           SELECT h.kind, h.title, h.site_id, h.alone, max(h.at) AS at, (array_agg(h.actor))[1] AS actor, \
             (array_agg(h.name))[1] AS name, (array_agg(h.detail))[1] AS detail, (array_agg(h.device_id))[1] AS device_id, \
             count(DISTINCT h.device_id) AS devices, array_agg(DISTINCT coalesce(nullif(d.name, ''), d.hostname)) AS names \
           FROM happened h LEFT JOIN devices d ON d.id = h.device_id \
           GROUP BY h.kind, h.title, h.site_id, h.alone, date_bin(CAST($4 AS text)::interval, h.at, 'epoch') \
           ORDER BY at DESC LIMIT $1 \
         ) SELECT * FROM ( \
           SELECT c.at, c.kind, c.title, \
             CASE WHEN c.devices > 1 THEN c.devices || ' devices: ' || array_to_string(c.names[:$3], ', ') \
                    || CASE WHEN c.devices > $3 THEN ', …' ELSE '' END \
               WHEN c.kind = 'connection' AND c.device_id IS NULL THEN 'The relay of ' || s.name ELSE c.detail END AS detail, \
             c.actor, \
             CASE WHEN c.devices = 1 THEN 'device' WHEN c.site_id IS NOT NULL THEN 'site' END AS ref_kind, \
             CASE WHEN c.devices = 1 THEN c.device_id ELSE c.site_id END AS ref_id, \
             CASE WHEN c.devices > 1 OR c.kind = 'connection' AND c.device_id IS NULL THEN s.name \
               WHEN c.kind = 'connection' THEN c.names[1] ELSE nullif(c.name, '') END AS ref_name \
           FROM together c LEFT JOIN sites s ON s.id = c.site_id \
           UNION ALL \
           (SELECT t.created_at, 'task', coalesce(nullif(t.name, ''), 'Script'), \
              t.total || CASE t.total WHEN 1 THEN ' device' ELSE ' devices' END, t.created_by, 'task', t.id, nullif(t.name, '') \
            FROM tasks t WHERE $5::uuid IS NULL OR t.partner_id = $5 OR t.partner_id IS NULL ORDER BY t.id DESC LIMIT $1) \
         ) merged ORDER BY at DESC LIMIT $1",
    )
    .bind(limit)
    .bind(LOOKED_AT)
    .bind(NAMES)
    .bind(TOGETHER)
    .bind(partner)
    .bind(AGE)
    .bind(audit)
    .fetch_all(&mut **tx)
    .await?)
}
