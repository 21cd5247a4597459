//! `DELETE /install-tokens/{id}`

use super::super::{INSTALL, tokens};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    http::{Path, Problem},
    link::downlink,
};
use axum::http::StatusCode;
use unifyit_protocol::{
    ids::{SiteId, TokenId},
    link::DownRecord,
};
use uuid::Uuid;

/// Revoke an install token
#[utoipa::path(delete, path = "/install-tokens/{id}", tag = "install", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn revoke_install_token(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let id = TokenId(id);
    let mut tx = ctx.begin(INSTALL).await?;
    let token = tokens::revoke(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    // Relays honour agents' tokens by themselves, so they must be told.
    if token.kind == "agent"
        && let Some(relay) = downlink::relay_of(&mut tx, SiteId(token.site_id)).await?
    {
        downlink::append(&mut tx, relay, &DownRecord::RevokeToken(id)).await?;
    }
    let target = AuditTarget::at(token.place, format!("{} token {id}", token.kind));
    ctx.audit(&mut tx, "install_token.revoke", &target, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
