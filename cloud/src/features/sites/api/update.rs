//! `PATCH /sites/{id}`

use super::{
    super::{MANAGE_SITES, Site, config, store},
    changed,
};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    features::tenants,
    http::{Body, Path, Problem},
};
use axum::Json;
use serde::Deserialize;
use unifyit_protocol::ids::SiteId;
use utoipa::ToSchema;
use uuid::Uuid;

/// What to change.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeSite {
    /// Name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// Rename a site
#[utoipa::path(patch, path = "/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    request_body = ChangeSite,
    responses((status = 200, body = Site), (status = "4XX", body = Problem)))]
pub(super) async fn update_site(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<ChangeSite>, Problem>,
) -> Result<Json<Site>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (before, place) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_SITES)?;
    let Body(input) = input?;
    let name = tenants::checked_name(&input.name)?;
    store::rename(&mut tx, id, &name).await?;
    config::send_changed(&mut tx, id).await?;
    let target = AuditTarget::at(place, format!("site {name}"));
    ctx.audit(&mut tx, "site.update", &target, &format!("was {}", before.name)).await?;
    let site = changed(&mut tx, id, place).await?;
    tx.commit().await?;
    Ok(Json(site))
}
