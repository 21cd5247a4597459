//! SQL of partners and organizations.

use super::{Organization, Partner};
use crate::{
    db::{DbError, TenantTx},
    http::{Page, PageQuery, Problem},
    trust::NewAuthority,
};
use unifyit_protocol::ids::{OrganizationId, PartnerId};
use uuid::Uuid;

/// Partners in order of their names.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn partners(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<Partner>, Problem> {
    let after: Option<(String, Uuid)> = page.after()?;
    let (name, id) = after.unzip();
    let rows: Vec<Partner> = sqlx::query_as(
        "SELECT p.id, p.name, p.created_at, (SELECT count(*) FROM organizations o \
             WHERE o.partner_id = p.id AND o.deleted_at IS NULL) AS organizations \
         FROM partners p WHERE p.deleted_at IS NULL \
         AND ($1::text IS NULL OR (p.name, p.id) > ($1, $2)) ORDER BY p.name, p.id LIMIT $3",
    )
    .bind(name)
    .bind(id)
    .bind(page.limit() + 1)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::cut(rows, page.limit(), |p| (p.name.clone(), p.id)))
}

/// One partner.
///
/// # Errors
/// [`DbError`].
pub async fn partner(tx: &mut TenantTx, id: PartnerId) -> Result<Option<Partner>, DbError> {
    Ok(sqlx::query_as(
        "SELECT p.id, p.name, p.created_at, (SELECT count(*) FROM organizations o \
             WHERE o.partner_id = p.id AND o.deleted_at IS NULL) AS organizations \
         FROM partners p WHERE p.id = $1 AND p.deleted_at IS NULL",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?)
}

/// The partner that new things go to when none is named: the only one.
///
/// # Errors
/// [`DbError`].
pub async fn only_partner(tx: &mut TenantTx) -> Result<Option<PartnerId>, DbError> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM partners WHERE deleted_at IS NULL LIMIT 2")
            .fetch_all(&mut **tx)
            .await?;
    Ok(match ids.as_slice() {
        [id] => Some(PartnerId(*id)),
        _ => None,
    })
}

/// Adds a partner.
///
/// # Errors
/// [`DbError`].
pub async fn create_partner(tx: &mut TenantTx, id: PartnerId, name: &str) -> Result<(), DbError> {
    sqlx::query("INSERT INTO partners (id, name) VALUES ($1, $2)")
        .bind(id.0)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Organizations in order of their names.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn organizations(
    tx: &mut TenantTx,
    partner: Option<PartnerId>,
    page: &PageQuery,
) -> Result<Page<Organization>, Problem> {
    let after: Option<(String, Uuid)> = page.after()?;
    let (name, id) = after.unzip();
    let rows: Vec<Organization> = sqlx::query_as(
        "SELECT o.id, o.partner_id, o.name, o.created_at, \
             (SELECT count(*) FROM sites s WHERE s.organization_id = o.id AND s.deleted_at IS NULL) AS sites, \
             (SELECT count(*) FROM devices d WHERE d.organization_id = o.id AND d.revoked_at IS NULL) AS devices \
         FROM organizations o WHERE o.deleted_at IS NULL \
         AND ($1::uuid IS NULL OR o.partner_id = $1) \
         AND ($2::text IS NULL OR (o.name, o.id) > ($2, $3)) ORDER BY o.name, o.id LIMIT $4",
    )
    .bind(partner.map(|p| p.0))
    .bind(name)
    .bind(id)
    .bind(page.limit() + 1)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::cut(rows, page.limit(), |o| (o.name.clone(), o.id)))
}

/// One organization.
///
/// # Errors
/// [`DbError`].
pub async fn organization(
    tx: &mut TenantTx,
    id: OrganizationId,
) -> Result<Option<Organization>, DbError> {
    Ok(sqlx::query_as(
        "SELECT o.id, o.partner_id, o.name, o.created_at, \
             (SELECT count(*) FROM sites s WHERE s.organization_id = o.id AND s.deleted_at IS NULL) AS sites, \
             (SELECT count(*) FROM devices d WHERE d.organization_id = o.id AND d.revoked_at IS NULL) AS devices \
         FROM organizations o WHERE o.id = $1 AND o.deleted_at IS NULL",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Adds an organization with its authority.
///
/// # Errors
/// [`DbError`].
pub async fn create_organization(
    tx: &mut TenantTx,
    partner: PartnerId,
    id: OrganizationId,
    name: &str,
    authority: &NewAuthority,
) -> Result<(), DbError> {
    sqlx::query("INSERT INTO organizations (id, partner_id, name) VALUES ($1, $2, $3)")
        .bind(id.0)
        .bind(partner.0)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO organization_keys (organization_id, partner_id, public_key, sealed_seed) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(id.0)
    .bind(partner.0)
    .bind(authority.public.0.as_slice())
    .bind(&authority.sealed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Renames an organization.
///
/// # Errors
/// [`DbError`].
pub async fn rename_organization(
    tx: &mut TenantTx,
    id: OrganizationId,
    name: &str,
) -> Result<(), DbError> {
    sqlx::query("UPDATE organizations SET name = $2 WHERE id = $1")
        .bind(id.0)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks an organization as deleted. It must have no site left.
///
/// # Errors
/// [`DbError`].
pub async fn delete_organization(tx: &mut TenantTx, id: OrganizationId) -> Result<(), DbError> {
    sqlx::query("UPDATE organizations SET deleted_at = now() WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// An organization's authority: public key and sealed seed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AuthorityRow {
    /// Public key, 32 bytes.
    pub public_key: Vec<u8>,
    /// See [`crate::trust::Trust`].
    pub sealed_seed: Vec<u8>,
}

/// Reads an organization's authority.
///
/// # Errors
/// [`DbError`].
pub async fn authority(
    tx: &mut TenantTx,
    id: OrganizationId,
) -> Result<Option<AuthorityRow>, DbError> {
    Ok(sqlx::query_as(
        "SELECT public_key, sealed_seed FROM organization_keys WHERE organization_id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?)
}
