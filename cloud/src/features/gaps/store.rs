//! SQL of losses.

use super::GapItem;
use crate::{
    db::{DbError, TenantTx},
    features::devices::store::DeviceRef,
    http::{Page, PageQuery, Problem},
    timeline::{OfDevice, Part, TimelineRow},
};
use futures::future::BoxFuture;
use sqlx::{Postgres, QueryBuilder};
use unifyit_protocol::ids::SiteId;

const GAPS: &str = "SELECT id, lane, nullif(records, 0) AS records, from_at AS \"from\", to_at AS \"to\", \
    reason, device_id FROM gaps WHERE ";

/// What was lost of a device, or of its whole site while the device was there.
pub(super) async fn of_device(
    tx: &mut TenantTx,
    device: &DeviceRef,
    page: &PageQuery,
) -> Result<Page<GapItem>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(GAPS);
    query.push("(device_id = ").push_bind(device.id);
    query.push(" OR (device_id IS NULL AND site_id = ").push_bind(device.site().0);
    query.push(" AND to_at >= ").push_bind(device.enrolled_at).push("))");
    newest(tx, query, page).await
}

/// What was lost of a site and its devices.
pub(super) async fn of_site(
    tx: &mut TenantTx,
    site: SiteId,
    page: &PageQuery,
) -> Result<Page<GapItem>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(GAPS);
    query.push("site_id = ").push_bind(site.0);
    newest(tx, query, page).await
}

async fn newest(
    tx: &mut TenantTx,
    mut query: QueryBuilder<Postgres>,
    page: &PageQuery,
) -> Result<Page<GapItem>, Problem> {
    if let Some(after) = page.after::<i64>()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<GapItem> = query.build_query_as().fetch_all(&mut **tx).await?;
    Ok(Page::cut(rows, page.limit(), |gap| gap.id))
}

/// What was lost of a device, for its timeline, at the moments up to which it was lost.
pub(super) fn in_timeline<'a>(
    tx: &'a mut TenantTx,
    device: &'a OfDevice,
    part: &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>> {
    Box::pin(async move {
        let rows = sqlx::query_as(
            "SELECT to_at AS at, 'data.lost' AS title, CASE lane WHEN 'urgent' THEN 'Results and connections' \
                 WHEN 'state' THEN 'Inventory' WHEN 'output' THEN 'Output of scripts' ELSE 'Measurements' END \
                 || coalesce(' (' || nullif(records, 0) || ' records)', '') || ': ' || reason AS detail, '' AS actor, \
               'device' AS ref_kind, $1 AS ref_id, $5 AS ref_name, ('g' || lpad(id::text, 20, '0')) COLLATE \"C\" AS key \
             FROM gaps WHERE (device_id = $1 OR (device_id IS NULL AND site_id = $6 AND to_at >= $7)) \
             AND ($2::timestamptz IS NULL OR (to_at <= $2 AND (to_at < $2 OR ('g' || lpad(id::text, 20, '0')) COLLATE \"C\" < $3))) \
             ORDER BY to_at DESC, ('g' || lpad(id::text, 20, '0')) COLLATE \"C\" DESC LIMIT $4",
        )
        .bind(device.id)
        .bind(part.until)
        .bind(&part.before)
        .bind(part.limit)
        .bind(&device.name)
        .bind(device.site)
        .bind(device.enrolled_at)
        .fetch_all(&mut **tx)
        .await?;
        Ok(rows)
    })
}
