//! `GET /sites/{id}/devices`

use super::super::{DeviceQuery, model::DevicePage, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::sites,
    http::{Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// List a site's devices
#[utoipa::path(get, path = "/sites/{id}/devices", tag = "sites", params(("id" = Uuid, Path), DeviceQuery),
    responses((status = 200, body = DevicePage), (status = "4XX", body = Problem)))]
pub(super) async fn list_site_devices(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(mut query): Query<DeviceQuery>,
) -> Result<Json<DevicePage>, Problem> {
    query.site_id = Some(id.to_string());
    let query = query.check()?;
    let mut tx = ctx.begin(Can::VIEW).await?;
    sites::store::get(&mut tx, SiteId(id)).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::list(&mut tx, &query).await?))
}
