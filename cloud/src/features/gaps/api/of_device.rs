//! `GET /devices/{id}/gaps`

use super::super::{GapItem, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// List what was lost of a device's data, latest first
#[utoipa::path(get, path = "/devices/{id}/gaps", tag = "devices",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<GapItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_device_gaps(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<GapItem>>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device =
        devices::store::find(&mut tx, DeviceId(id)).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::of_device(&mut tx, &device, &page).await?))
}
