//! Install tokens: made, listed, revoked, and what relays say of them.

use super::model::InstallTokenItem;
use crate::{
    db::{DbError, Place, TenantTx},
    http::{Page, PageQuery, Problem},
};
use time::OffsetDateTime;
use unifyit_protocol::{
    compare::KnownToken,
    ids::{SiteId, TokenId},
};
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

/// Takes over uses and revocations of agents' tokens that only a relay knows of. How many
/// tokens those are of.
pub(super) async fn adopt(
    tx: &mut TenantTx,
    site: SiteId,
    held: &[KnownToken],
) -> Result<usize, DbError> {
    let taken = sqlx::query(
        "UPDATE install_tokens t SET used = greatest(t.used, h.used), \
             revoked_at = CASE WHEN h.revoked THEN coalesce(t.revoked_at, now()) ELSE t.revoked_at END \
         FROM unnest($2::uuid[], $3::int4[], $4::bool[]) AS h (id, used, revoked) \
         WHERE t.id = h.id AND t.site_id = $1 AND t.kind = 'agent' \
             AND (t.used < h.used OR (h.revoked AND t.revoked_at IS NULL))",
    )
    .bind(site.0)
    .bind(held.iter().map(|t| t.token.0).collect::<Vec<_>>())
    .bind(held.iter().map(|t| i32::try_from(t.used.min(1_000_000)).unwrap_or_default()).collect::<Vec<_>>())
    .bind(held.iter().map(|t| t.revoked).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(usize::try_from(taken.rows_affected()).unwrap_or(usize::MAX))
}

/// The latest of a site's tokens for agents that are valid by their time and were used or
/// revoked.
pub(super) async fn in_use(
    tx: &mut TenantTx,
    site: SiteId,
    most: usize,
) -> Result<Vec<KnownToken>, DbError> {
    let rows: Vec<(Uuid, i32, bool)> = sqlx::query_as(
        "SELECT id, used, revoked_at IS NOT NULL FROM install_tokens WHERE site_id = $1 \
             AND kind = 'agent' AND expires_at > now() AND (used > 0 OR revoked_at IS NOT NULL) \
         ORDER BY id DESC LIMIT $2",
    )
    .bind(site.0)
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let token = |(id, used, revoked): (Uuid, i32, bool)| KnownToken {
        token: TokenId(id),
        used: used.unsigned_abs(),
        revoked,
    };
    Ok(rows.into_iter().map(token).collect())
}
