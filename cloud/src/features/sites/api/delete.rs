//! `DELETE /sites/{id}`

use super::super::{MANAGE_SITES, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::http::StatusCode;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// Delete a site; its relay, devices and tokens are revoked
#[utoipa::path(delete, path = "/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn delete_site(ctx: Ctx, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (site, place) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_SITES)?;
    store::delete(&mut tx, id).await?;
    let target = AuditTarget::at(place, format!("site {}", site.name));
    let detail = format!("{} devices were revoked", site.devices.total);
    ctx.audit(&mut tx, "site.delete", &target, &detail).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
