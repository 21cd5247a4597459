//! `PATCH /organizations/{id}`

use super::{
    super::{MANAGE_ORGANIZATIONS, Organization, store},
    checked_name,
};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    db::Scope,
    features::sites,
    http::{Body, Path, Problem},
};
use axum::Json;
use serde::Deserialize;
use unifyit_protocol::ids::{OrganizationId, PartnerId};
use utoipa::ToSchema;
use uuid::Uuid;

/// What to change.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeOrganization {
    /// Name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// Rename an organization
#[utoipa::path(patch, path = "/organizations/{id}", tag = "organizations", params(("id" = Uuid, Path)),
    request_body = ChangeOrganization,
    responses((status = 200, body = Organization), (status = "4XX", body = Problem)))]
pub(super) async fn update_organization(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<ChangeOrganization>, Problem>,
) -> Result<Json<Organization>, Problem> {
    let id = OrganizationId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let before = store::organization(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_ORGANIZATIONS)?;
    let Body(input) = input?;
    let name = checked_name(&input.name)?;
    store::rename_organization(&mut tx, id, &name).await?;
    sites::config::send_to_organization(&mut tx, id).await?;
    let place = Scope::Organization(PartnerId(before.partner_id), id).place();
    let target = AuditTarget::at(place, format!("organization {name}"));
    ctx.audit(&mut tx, "organization.update", &target, &format!("was {}", before.name)).await?;
    tx.commit().await?;
    Ok(Json(Organization { name, ..before }))
}
