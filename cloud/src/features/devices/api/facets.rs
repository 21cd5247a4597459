//! `GET /devices/facets`

use super::super::{DeviceQuery, Facets, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Problem, Query},
};
use axum::Json;

/// Count devices by state, operating system and site
#[utoipa::path(get, path = "/devices/facets", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = Facets), (status = "4XX", body = Problem)))]
pub(super) async fn device_facets(
    ctx: Ctx,
    Query(query): Query<DeviceQuery>,
) -> Result<Json<Facets>, Problem> {
    let query = query.check()?;
    let mut tx = ctx.begin(Can::VIEW).await?;
    Ok(Json(store::facets(&mut tx, &query).await?))
}
