//! `GET /organizations/{id}/sites`

use super::super::{Site, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::tenants,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::OrganizationId;
use uuid::Uuid;

/// List an organization's sites
#[utoipa::path(get, path = "/organizations/{id}/sites", tag = "organizations",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<Site>), (status = "4XX", body = Problem)))]
pub(super) async fn list_organization_sites(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Site>>, Problem> {
    let id = OrganizationId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    tenants::store::organization(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::list(&mut tx, Some(id), &page).await?))
}
