//! SQL of people and sessions.

use super::UserListItem;
use crate::{
    auth::{Account, SessionSecret},
    config::Config,
    db::{DbError, TenantTx},
    http::{Page, PageQuery, Problem},
};
use uuid::Uuid;

/// Sessions of one person at a time.
const MAX_SESSIONS: i64 = 50;

/// Starts a session.
pub(super) async fn create_session(
    tx: &mut TenantTx,
    account: &Account,
    secret: &SessionSecret,
    config: &Config,
    address: &str,
    user_agent: &str,
) -> Result<Uuid, DbError> {
    let (id, place) = (Uuid::now_v7(), account.scope.place());
    sqlx::query(
        "INSERT INTO sessions (token_hash, id, user_id, partner_id, organization_id, site_id, \
             expires_at, address, user_agent) \
         VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(hours => $7), $8, $9)",
    )
    .bind(secret.hash())
    .bind(id)
    .bind(account.user_id)
    .bind(place.partner)
    .bind(place.organization)
    .bind(place.site)
    .bind(i32::try_from(config.session_hours).unwrap_or(i32::MAX))
    .bind(address)
    .bind(user_agent)
    .execute(&mut **tx)
    .await?;
    // What was used longest ago makes room.
    sqlx::query(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 \
         ORDER BY last_used_at DESC, id DESC OFFSET $2)",
    )
    .bind(account.user_id)
    .bind(MAX_SESSIONS)
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE users SET last_login_at = now() WHERE id = $1")
        .bind(account.user_id)
        .execute(&mut **tx)
        .await?;
    Ok(id)
}

/// Ends one session.
pub(super) async fn end_session(tx: &mut TenantTx, id: Uuid) -> Result<(), DbError> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Sets a password and ends all other sessions of the user.
pub(super) async fn set_password(
    tx: &mut TenantTx,
    user: Uuid,
    hash: &str,
    keep_session: Uuid,
) -> Result<(), DbError> {
    sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
        .bind(user)
        .bind(hash)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
        .bind(user)
        .bind(keep_session)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// People in order of their addresses.
pub(super) async fn list(
    tx: &mut TenantTx,
    page: &PageQuery,
) -> Result<Page<UserListItem>, Problem> {
    let after: Option<String> = page.after()?;
    let rows: Vec<UserListItem> = sqlx::query_as(
        "SELECT u.id, u.email, u.name, m.role, m.scope AS scope_kind, \
             coalesce(m.site_id, m.organization_id, m.partner_id) AS scope_id, \
             coalesce(s.name, o.name, p.name, 'Platform') AS scope_name, \
             u.created_at, u.last_login_at, u.disabled_at IS NOT NULL AS disabled \
         FROM users u JOIN memberships m ON m.user_id = u.id \
             LEFT JOIN partners p ON p.id = m.partner_id \
             LEFT JOIN organizations o ON o.id = m.organization_id \
             LEFT JOIN sites s ON s.id = m.site_id \
         WHERE ($1::text IS NULL OR lower(u.email) > $1) ORDER BY lower(u.email) LIMIT $2",
    )
    .bind(after)
    .bind(page.limit() + 1)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::cut(rows, page.limit(), |u| u.email.to_lowercase()))
}
