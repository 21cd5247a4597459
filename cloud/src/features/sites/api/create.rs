//! `POST /sites`

use super::{
    super::{MANAGE_SITES, Site, config, store},
    changed,
};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    db::Place,
    features::tenants,
    http::{Body, Idempotency, Problem},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use unifyit_protocol::ids::{OrganizationId, PartnerId, SiteId};
use utoipa::ToSchema;
use uuid::Uuid;

/// A site to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NewSite {
    /// Its organization.
    organization_id: Uuid,
    /// Name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// Create a site
#[utoipa::path(post, path = "/sites", tag = "sites", request_body = NewSite,
    responses((status = 201, body = Site), (status = "4XX", body = Problem)))]
pub(super) async fn create_site(
    ctx: Ctx,
    key: Idempotency,
    input: Result<Body<NewSite>, Problem>,
) -> Result<Response, Problem> {
    ctx.require(MANAGE_SITES)?;
    let Body(input) = input?;
    let name = tenants::checked_name(&input.name)?;
    let organization = OrganizationId(input.organization_id);
    let mut tx = ctx.begin(MANAGE_SITES).await?;
    if let Some(replay) = key.claim(&ctx, &mut tx, &input).await? {
        return Ok(replay.into_response());
    }
    let parent = tenants::store::organization(&mut tx, organization)
        .await?
        .ok_or_else(|| Problem::invalid("There is no such organization."))?;
    let (partner, id) = (PartnerId(parent.partner_id), SiteId::generate());
    store::create(&mut tx, partner, organization, id, &name).await?;
    // It begins with what holds above it.
    config::settle(&mut tx, id).await?;
    // Who changes a document above it at this moment does not see it yet.
    config::look_again(&mut tx, id).await?;
    let place = Place::site(partner, organization, id);
    let target = AuditTarget::at(place, format!("site {name}"));
    ctx.audit(&mut tx, "site.create", &target, "").await?;
    let site = changed(&mut tx, id, place).await?;
    key.answer(&ctx, &mut tx, StatusCode::CREATED, &site)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(site)).into_response())
}
