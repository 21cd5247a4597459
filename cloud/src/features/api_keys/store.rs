//! SQL of API keys.

use super::model::ApiKeyItem;
use crate::{
    authz::{Actor, Role},
    db::{DbError, Place, Scope, TenantTx},
    http::{Page, PageQuery, Problem},
};
use time::OffsetDateTime;
use uuid::Uuid;

const COLUMNS: &str = "id, name, hint, role, scope, maker, parent_id, created_at, last_used_at, \
    expires_at, revoked_at";

/// A key to be.
pub(super) struct KeyToBe<'a> {
    pub(super) name: &'a str,
    pub(super) hash: Vec<u8>,
    pub(super) hint: String,
    pub(super) role: Role,
    pub(super) scope: Scope,
    pub(super) owner: Uuid,
    pub(super) parent: Option<Uuid>,
    pub(super) expires_at: Option<OffsetDateTime>,
}

/// Adds a key.
pub(super) async fn create(
    tx: &mut TenantTx,
    maker: &Actor,
    key: KeyToBe<'_>,
) -> Result<ApiKeyItem, DbError> {
    let Place { partner, organization, site } = key.scope.place();
    Ok(sqlx::query_as(
        "INSERT INTO api_keys (id, key_hash, name, hint, role, scope, partner_id, organization_id, site_id, \
             created_by, expires_at, owner_id, parent_id, maker) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         RETURNING id, name, hint, role, scope, maker, parent_id, created_at, last_used_at, expires_at, revoked_at",
    )
    .bind(Uuid::now_v7())
    .bind(key.hash)
    .bind(key.name)
    .bind(key.hint)
    .bind(key.role.as_str())
    .bind(key.scope.kind())
    .bind(partner)
    .bind(organization)
    .bind(site)
    .bind(maker.id)
    .bind(key.expires_at)
    .bind(key.owner)
    .bind(key.parent)
    .bind(&maker.person_name)
    .fetch_one(&mut **tx)
    .await?)
}

/// When a key expires, if it does.
pub(super) async fn expiry(tx: &mut TenantTx, id: Uuid) -> Result<Option<OffsetDateTime>, DbError> {
    Ok(sqlx::query_scalar("SELECT expires_at FROM api_keys WHERE id = $1")
        .bind(id)
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

/// A key, for deciding who may revoke it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Found {
    pub(super) role: String,
    #[sqlx(rename = "owner_id")]
    pub(super) owner: Option<Uuid>,
}

/// A key of the scope.
pub(super) async fn find(tx: &mut TenantTx, id: Uuid) -> Result<Option<Found>, DbError> {
    Ok(sqlx::query_as("SELECT role, owner_id FROM api_keys WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?)
}

/// A revoked key's name and place.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Revoked {
    pub(super) id: Uuid,
    pub(super) name: String,
    #[sqlx(flatten)]
    pub(super) place: Place,
}

/// Revokes a key and the keys that it made, and theirs; returns those that were
/// still valid. The scope sees them all: none is wider than what made it.
pub(super) async fn revoke(tx: &mut TenantTx, id: Uuid) -> Result<Vec<Revoked>, DbError> {
    Ok(sqlx::query_as(
        "WITH RECURSIVE below (id) AS ( \
             SELECT $1::uuid UNION SELECT k.id FROM api_keys k JOIN below b ON k.parent_id = b.id) \
         UPDATE api_keys k SET revoked_at = now() FROM below b WHERE k.id = b.id AND k.revoked_at IS NULL \
         RETURNING k.id, k.name, k.partner_id, k.organization_id, k.site_id",
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await?)
}
