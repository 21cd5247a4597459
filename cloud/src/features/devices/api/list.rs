//! `GET /devices`

use super::super::{DeviceQuery, model::DevicePage, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Problem, Query},
};
use axum::Json;

/// List devices
#[utoipa::path(get, path = "/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = DevicePage), (status = "4XX", body = Problem)))]
pub(super) async fn list_devices(
    ctx: Ctx,
    Query(query): Query<DeviceQuery>,
) -> Result<Json<DevicePage>, Problem> {
    let query = query.check()?;
    let mut tx = ctx.begin(Can::VIEW).await?;
    Ok(Json(store::list(&mut tx, &query).await?))
}
