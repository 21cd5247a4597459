//! `GET /sites/{id}/gaps`

use super::super::{GapItem, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::sites,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// List what was lost of a site's data, latest first
#[utoipa::path(get, path = "/sites/{id}/gaps", tag = "sites",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<GapItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_site_gaps(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<GapItem>>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    sites::store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::of_site(&mut tx, id, &page).await?))
}
