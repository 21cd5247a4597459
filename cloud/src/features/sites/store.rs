//! SQL of sites.

use super::{
    Site, SiteStanding,
    model::{SiteRow, StandingRow},
};
use crate::{
    db::{DbError, Place, TenantTx},
    http::{Page, PageQuery, Problem},
    link::sisters,
};
use futures::TryStreamExt;
use sqlx::{Postgres, QueryBuilder};
use unifyit_protocol::ids::{OrganizationId, PartnerId, RelayId, SiteId};
use uuid::Uuid;

const COLUMNS: &str = "SELECT s.id, s.partner_id, s.organization_id, s.name, s.created_at, \
    o.name AS organization_name, c.desired->'collection' AS collection, \
    coalesce(n.total, 0) AS devices_total, coalesce(n.online, 0) AS devices_online, \
    r.id AS relay_id, r.hostname, r.version, r.peer_id, r.online AS relay_online, r.state_since, \
    r.last_contact, r.connected_since, r.status, r.clock_ahead_ms \
    FROM sites s JOIN organizations o ON o.id = s.organization_id \
    JOIN site_configs c ON c.site_id = s.id \
    LEFT JOIN relays r ON r.site_id = s.id AND r.revoked_at IS NULL ";
/// Counts the devices of each site from the sums that are kept of them.
const COUNTED_EACH: &str = "CROSS JOIN LATERAL (SELECT sum(t.n)::int8 AS total, \
    (sum(t.n) FILTER (WHERE t.online))::int8 AS online \
    FROM device_tallies t WHERE t.site_id = s.id AND NOT t.revoked) n WHERE s.deleted_at IS NULL";
fn select() -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(COLUMNS);
    query.push(COUNTED_EACH);
    query
}

/// Sites in order of their names.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn list(
    tx: &mut TenantTx,
    organization: Option<OrganizationId>,
    page: &PageQuery,
) -> Result<Page<Site>, Problem> {
    let mut query = select();
    if let Some(organization) = organization {
        query.push(" AND s.organization_id = ").push_bind(organization.0);
    }
    page_of(tx, query, page).await
}

/// Sites that have a relay, in order of their names.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn with_relay(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<Site>, Problem> {
    let mut query = select();
    query.push(" AND r.id IS NOT NULL");
    page_of(tx, query, page).await
}

async fn page_of(
    tx: &mut TenantTx,
    mut query: QueryBuilder<Postgres>,
    page: &PageQuery,
) -> Result<Page<Site>, Problem> {
    if let Some((name, id)) = page.after::<(String, Uuid)>()? {
        query.push(" AND (s.name, s.id) > (").push_bind(name).push(", ").push_bind(id).push(")");
    }
    query.push(" ORDER BY s.name, s.id LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<SiteRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let sites = rows.into_iter().map(SiteRow::into_site).collect();
    Ok(Page::cut(sites, page.limit(), |s: &Site| (s.name.clone(), s.id)))
}

/// Tells how each site that the scope sees stands, one after the other: however
/// many there are, none is left out and they are never all in memory.
///
/// # Errors
/// [`DbError`].
pub async fn each_standing(
    tx: &mut TenantTx,
    mut each: impl FnMut(SiteStanding),
) -> Result<(), DbError> {
    // Row security decides what is seen; the partner's id lets it use an index.
    let partner = tx.scope().and_then(|scope| scope.place().partner);
    let mut rows = sqlx::query_as(
        "SELECT s.id, s.name, s.created_at, coalesce(n.total, 0)::int8 AS devices_total, \
             coalesce(n.online, 0)::int8 AS devices_online, r.id AS relay_id, r.online AS relay_online, \
             r.state_since, r.clock_ahead_ms, CASE WHEN r.online THEN r.status END AS status \
         FROM sites s LEFT JOIN relays r ON r.site_id = s.id AND r.revoked_at IS NULL \
         LEFT JOIN (SELECT t.site_id, sum(t.n) AS total, sum(t.n) FILTER (WHERE t.online) AS online \
             FROM device_tallies t WHERE NOT t.revoked AND ($1::uuid IS NULL OR t.partner_id = $1) \
             GROUP BY t.site_id) n ON n.site_id = s.id \
         WHERE s.deleted_at IS NULL AND ($1::uuid IS NULL OR s.partner_id = $1)",
    )
    .bind(partner)
    .fetch(&mut **tx);
    while let Some(row) = rows.try_next().await? {
        let row: StandingRow = row;
        each(row.into_standing());
    }
    Ok(())
}

/// A site with its place.
///
/// # Errors
/// [`DbError`].
pub async fn get(tx: &mut TenantTx, id: SiteId) -> Result<Option<(Site, Place)>, DbError> {
    let mut query = select();
    query.push(" AND s.id = ").push_bind(id.0);
    let row: Option<SiteRow> = query.build_query_as().fetch_optional(&mut **tx).await?;
    Ok(row.map(|row| {
        let place = Place::site(PartnerId(row.partner_id), OrganizationId(row.organization_id), id);
        (row.into_site(), place)
    }))
}

/// A site's name.
pub(super) async fn name(tx: &mut TenantTx, id: SiteId) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar("SELECT name FROM sites WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.0)
        .fetch_optional(&mut **tx)
        .await?)
}

/// Adds a site with default settings.
///
/// # Errors
/// [`DbError`].
pub async fn create(
    tx: &mut TenantTx,
    partner: PartnerId,
    organization: OrganizationId,
    id: SiteId,
    name: &str,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO sites (id, partner_id, organization_id, name) VALUES ($1, $2, $3, $4)",
    )
    .bind(id.0)
    .bind(partner.0)
    .bind(organization.0)
    .bind(name)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO site_configs (site_id, partner_id, organization_id) VALUES ($1, $2, $3)",
    )
    .bind(id.0)
    .bind(partner.0)
    .bind(organization.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Renames a site.
///
/// # Errors
/// [`DbError`].
pub async fn rename(tx: &mut TenantTx, id: SiteId, name: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE sites SET name = $2 WHERE id = $1")
        .bind(id.0)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks a site as deleted and puts out its relay, devices and tokens.
///
/// # Errors
/// [`DbError`].
pub async fn delete(tx: &mut TenantTx, id: SiteId) -> Result<(), DbError> {
    // Tokens, relays, devices: as wherever two of them are changed together.
    sqlx::query(
        "UPDATE install_tokens SET revoked_at = now() WHERE site_id = $1 AND revoked_at IS NULL",
    )
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    // While they still count: their sisters are to let them go.
    let leaving: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM relays WHERE site_id = $1 AND revoked_at IS NULL")
            .bind(id.0)
            .fetch_all(&mut **tx)
            .await?;
    for relay in leaving {
        sisters::nudge(tx, RelayId(relay)).await?;
    }
    let relays: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE relays SET revoked_at = now(), online = false WHERE site_id = $1 AND revoked_at IS NULL RETURNING id",
    )
    .bind(id.0)
    .fetch_all(&mut **tx)
    .await?;
    sqlx::query("UPDATE devices SET revoked_at = now(), online = false WHERE site_id = $1 AND revoked_at IS NULL")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE sites SET deleted_at = now() WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    // Its session finds itself revoked and ends.
    relays.into_iter().for_each(|relay| tx.nudge_relay(RelayId(relay)));
    Ok(())
}
