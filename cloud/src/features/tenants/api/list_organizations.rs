//! `GET /organizations`

use super::super::{Organization, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;

/// List organizations
#[utoipa::path(get, path = "/organizations", tag = "organizations", params(PageQuery),
    responses((status = 200, body = Page<Organization>), (status = "4XX", body = Problem)))]
pub(super) async fn list_organizations(
    ctx: Ctx,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Organization>>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    Ok(Json(store::organizations(&mut tx, None, &page).await?))
}
