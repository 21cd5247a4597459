//! `DELETE /api-keys/{id}`

use super::super::{MANAGE_API_KEYS, store};
use crate::{
    audit::AuditTarget,
    authz::Role,
    context::Ctx,
    http::{Path, Problem},
};
use axum::http::StatusCode;
use uuid::Uuid;

/// Revoke an API key, with all that it made
///
/// One's own keys, and those of no higher role than one's own.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "api keys", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn revoke_api_key(ctx: Ctx, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let mut tx = ctx.begin(MANAGE_API_KEYS).await?;
    let key = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    if key.owner != Some(ctx.actor.person()) && !ctx.actor.role.covers(Role::parse(&key.role)) {
        return Err(Problem::forbidden());
    }
    for key in store::revoke(&mut tx, id).await? {
        let target = AuditTarget::at(key.place, format!("API key {}", key.name));
        let detail = if key.id == id { "" } else { "With the key that made it" };
        ctx.audit(&mut tx, "api_key.revoke", &target, detail).await?;
    }
    tx.commit().await?;
    ctx.state.rights.look();
    Ok(StatusCode::NO_CONTENT)
}
