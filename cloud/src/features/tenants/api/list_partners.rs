//! `GET /partners`

use super::super::{MANAGE_PARTNERS, Partner, store};
use crate::{
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;

/// List partners
#[utoipa::path(get, path = "/partners", tag = "partners", params(PageQuery),
    responses((status = 200, body = Page<Partner>), (status = "4XX", body = Problem)))]
pub(super) async fn list_partners(
    ctx: Ctx,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Partner>>, Problem> {
    let mut tx = ctx.begin(MANAGE_PARTNERS).await?;
    Ok(Json(store::partners(&mut tx, &page).await?))
}
