//! `GET /partners/{id}/organizations`

use super::super::{Organization, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::PartnerId;
use uuid::Uuid;

/// List a partner's organizations
#[utoipa::path(get, path = "/partners/{id}/organizations", tag = "partners",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<Organization>), (status = "4XX", body = Problem)))]
pub(super) async fn list_partner_organizations(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Organization>>, Problem> {
    let id = PartnerId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    store::partner(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::organizations(&mut tx, Some(id), &page).await?))
}
