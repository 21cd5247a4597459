//! `GET /sites/{id}`

use super::super::{Site, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::Json;
use uuid::Uuid;

/// Read a site
#[utoipa::path(get, path = "/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    responses((status = 200, body = Site), (status = "4XX", body = Problem)))]
pub(super) async fn get_site(ctx: Ctx, Path(id): Path<Uuid>) -> Result<Json<Site>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (site, _) = store::get(&mut tx, id.into()).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(site))
}
