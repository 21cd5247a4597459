//! Install tokens: made, listed, revoked.

use super::model::InstallTokenItem;
use crate::{
    db::{DbError, Place, TenantTx},
    http::{Page, PageQuery, Problem},
};
use time::OffsetDateTime;
use unifyit_protocol::ids::{SiteId, TokenId};
use uuid::Uuid;

/// What agents need to find and trust their relay.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct RelayDoor {
    pub(super) lan_https: Vec<String>,
    pub(super) ca_fingerprint: Vec<u8>,
}

/// The door of a site's relay, if it has one.
pub(super) async fn relay_door(
    tx: &mut TenantTx,
    site: SiteId,
) -> Result<Option<RelayDoor>, DbError> {
    Ok(sqlx::query_as(
        "SELECT lan_https, ca_fingerprint FROM relays WHERE site_id = $1 AND revoked_at IS NULL",
    )
    .bind(site.0)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Stores a token's count; its text is not kept.
pub(super) async fn create(
    tx: &mut TenantTx,
    id: TokenId,
    place: &Place,
    kind: &str,
    uses: i32,
    expires_at: OffsetDateTime,
    created_by: &str,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO install_tokens (id, partner_id, organization_id, site_id, kind, uses, expires_at, created_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.0)
    .bind(place.partner)
    .bind(place.organization)
    .bind(place.site)
    .bind(kind)
    .bind(uses)
    .bind(expires_at)
    .bind(created_by)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A site's tokens, latest first.
pub(super) async fn list(
    tx: &mut TenantTx,
    site: SiteId,
    page: &PageQuery,
) -> Result<Page<InstallTokenItem>, Problem> {
    let rows: Vec<InstallTokenItem> = sqlx::query_as(
        "SELECT id, kind, uses, used, expires_at, revoked_at, created_by, created_at \
         FROM install_tokens WHERE site_id = $1 AND ($2::uuid IS NULL OR id < $2) \
         ORDER BY id DESC LIMIT $3",
    )
    .bind(site.0)
    .bind(page.after::<Uuid>()?)
    .bind(page.limit() + 1)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::cut(rows, page.limit(), |t| t.id))
}

/// A token that was revoked, and where it belonged.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Revoked {
    pub(super) kind: String,
    pub(super) site_id: Uuid,
    #[sqlx(flatten)]
    pub(super) place: Place,
}

/// Revokes a token. Revoking it again changes nothing and finds it all the same.
pub(super) async fn revoke(tx: &mut TenantTx, id: TokenId) -> Result<Option<Revoked>, DbError> {
    Ok(sqlx::query_as(
        "UPDATE install_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 \
         RETURNING kind, partner_id, organization_id, site_id",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?)
}
