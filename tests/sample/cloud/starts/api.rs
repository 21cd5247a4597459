//! `GET /devices/{id}/starts`

use super::store::{self, Start};
use crate::{
    authz::Can,
    context::{AppState, Ctx},
    http::{Path, Problem},
};
use axum::Json;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// All routes.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_device_starts))
}

/// List when a device's agent started, latest first
#[utoipa::path(get, path = "/devices/{id}/starts", tag = "devices", params(("id" = Uuid, Path)),
    responses((status = 200, body = Vec<Start>), (status = "4XX", body = Problem)))]
async fn list_device_starts(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<Start>>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    Ok(Json(store::of_device(&mut tx, id).await?))
}
