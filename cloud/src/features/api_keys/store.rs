//! SQL of API keys.

use super::model::ApiKeyItem;
use crate::{
    authz::Actor,
    db::{DbError, Place, TenantTx},
    http::{Page, PageQuery, Problem},
};
use time::OffsetDateTime;
use uuid::Uuid;

const COLUMNS: &str =
    "id, name, hint, role, scope, created_at, last_used_at, expires_at, revoked_at";

/// Adds a key with its maker's role and scope.
pub(super) async fn create(
    tx: &mut TenantTx,
    maker: &Actor,
    name: &str,
    (hash, hint): (Vec<u8>, String),
    expires_at: Option<OffsetDateTime>,
) -> Result<ApiKeyItem, DbError> {
    let Place { partner, organization, site } = maker.scope.place();
    Ok(sqlx::query_as(
        "INSERT INTO api_keys (id, key_hash, name, hint, role, scope, partner_id, organization_id, site_id, \
             created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         RETURNING id, name, hint, role, scope, created_at, last_used_at, expires_at, revoked_at",
    )
    .bind(Uuid::now_v7())
    .bind(hash)
    .bind(name)
    .bind(hint)
    .bind(maker.role.as_str())
    .bind(maker.scope.kind())
    .bind(partner)
    .bind(organization)
    .bind(site)
    .bind(maker.id)
    .bind(expires_at)
    .fetch_one(&mut **tx)
    .await?)
}

/// Keys of the scope, latest first.
pub(super) async fn list(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<ApiKeyItem>, Problem> {
    let mut query = sqlx::QueryBuilder::<sqlx::Postgres>::new("SELECT ");
    query.push(COLUMNS).push(" FROM api_keys WHERE true");
    if let Some(after) = page.after::<Uuid>()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<ApiKeyItem> = query.build_query_as().fetch_all(&mut **tx).await?;
    Ok(Page::cut(rows, page.limit(), |k| k.id))
}

/// A revoked key's name and place.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Revoked {
    pub(super) name: String,
    #[sqlx(flatten)]
    pub(super) place: Place,
}

/// Revokes a key.
pub(super) async fn revoke(tx: &mut TenantTx, id: Uuid) -> Result<Option<Revoked>, DbError> {
    Ok(sqlx::query_as(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 \
         RETURNING name, partner_id, organization_id, site_id",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?)
}
