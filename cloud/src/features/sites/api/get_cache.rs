//! `GET /sites/{id}/package-cache`

use super::super::{
    cache::{self, PackageCacheBody},
    store,
};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// Read what a site's package cache may fetch, is to have ready, and how that fares
#[utoipa::path(get, path = "/sites/{id}/package-cache", tag = "sites",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = PackageCacheBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_package_cache(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<Json<PackageCacheBody>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(cache::store::get(&mut tx, id).await?))
}
