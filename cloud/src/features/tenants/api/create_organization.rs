//! `POST /organizations`

use super::{
    super::{MANAGE_ORGANIZATIONS, Organization, store},
    checked_name,
};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    db::Scope,
    http::{Body, Idempotency, Problem},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use unifyit_protocol::ids::{OrganizationId, PartnerId};
use utoipa::ToSchema;
use uuid::Uuid;

/// An organization to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NewOrganization {
    /// Name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Its partner; the actor's own when absent.
    #[serde(default)]
    partner_id: Option<Uuid>,
}

/// Create an organization
#[utoipa::path(post, path = "/organizations", tag = "organizations", request_body = NewOrganization,
    responses((status = 201, body = Organization), (status = "4XX", body = Problem)))]
pub(super) async fn create_organization(
    ctx: Ctx,
    key: Idempotency,
    input: Result<Body<NewOrganization>, Problem>,
) -> Result<Response, Problem> {
    ctx.require(MANAGE_ORGANIZATIONS)?;
    if matches!(ctx.actor.scope, Scope::Organization(..) | Scope::Site(..)) {
        return Err(Problem::forbidden());
    }
    let Body(input) = input?;
    let name = checked_name(&input.name)?;
    let mut tx = ctx.begin(MANAGE_ORGANIZATIONS).await?;
    if let Some(replay) = key.claim(&ctx, &mut tx, &input).await? {
        return Ok(replay.into_response());
    }
    let partner = match (input.partner_id.map(PartnerId), ctx.actor.scope) {
        (_, Scope::Organization(..) | Scope::Site(..)) => return Err(Problem::forbidden()),
        (Some(id), _) => {
            store::partner(&mut tx, id)
                .await?
                .ok_or_else(|| Problem::invalid("There is no such partner."))?;
            id
        }
        (None, Scope::Partner(id)) => id,
        (None, Scope::Platform) => store::only_partner(&mut tx).await?.ok_or_else(|| {
            Problem::invalid("Say which partner the organization belongs to (`partner_id`).")
        })?,
    };
    let id = OrganizationId::generate();
    let authority = ctx.state.trust.new_authority(id)?;
    store::create_organization(&mut tx, partner, id, &name, &authority).await?;
    let place = Scope::Organization(partner, id).place();
    let target = AuditTarget::at(place, format!("organization {name}"));
    ctx.audit(&mut tx, "organization.create", &target, "").await?;
    let organization = store::organization(&mut tx, id).await?.ok_or_else(Problem::internal)?;
    key.answer(&ctx, &mut tx, StatusCode::CREATED, &organization)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(organization)).into_response())
}
