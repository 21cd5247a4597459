//! `GET /sites/{id}/install-tokens`

use super::super::{INSTALL, model::InstallTokenItem, store, tokens};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// List a site's install tokens, without their text
#[utoipa::path(get, path = "/sites/{id}/install-tokens", tag = "install",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<InstallTokenItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_install_tokens(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<InstallTokenItem>>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(INSTALL)?;
    Ok(Json(tokens::list(&mut tx, id, &page).await?))
}
