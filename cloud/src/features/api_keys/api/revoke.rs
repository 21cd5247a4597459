//! `DELETE /api-keys/{id}`

use super::super::store;
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::http::StatusCode;
use uuid::Uuid;

/// Revoke an API key
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "api keys", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn revoke_api_key(ctx: Ctx, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let mut tx = ctx.begin(Can::ManageApiKeys).await?;
    let key = store::revoke(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    let target = AuditTarget::at(key.place, format!("API key {}", key.name));
    ctx.audit(&mut tx, "api_key.revoke", &target, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
