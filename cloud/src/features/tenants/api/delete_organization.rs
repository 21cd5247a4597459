//! `DELETE /organizations/{id}`

use super::super::{MANAGE_ORGANIZATIONS, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    db::Scope,
    http::{Path, Problem},
};
use axum::http::StatusCode;
use unifyit_protocol::ids::{OrganizationId, PartnerId};
use uuid::Uuid;

/// Delete an organization without sites
#[utoipa::path(delete, path = "/organizations/{id}", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn delete_organization(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let id = OrganizationId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let organization = store::organization(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_ORGANIZATIONS)?;
    if organization.sites > 0 {
        return Err(Problem::conflict(
            "The organization still has sites. Delete them first; that also revokes their relays and devices.",
        ));
    }
    store::delete_organization(&mut tx, id).await?;
    let place = Scope::Organization(PartnerId(organization.partner_id), id).place();
    let target = AuditTarget::at(place, format!("organization {}", organization.name));
    ctx.audit(&mut tx, "organization.delete", &target, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
