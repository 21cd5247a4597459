//! `GET /devices/{id}`

use super::super::{DeviceDetail, identity, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::inventory,
    http::{Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// Read a device
#[utoipa::path(get, path = "/devices/{id}", tag = "devices", params(("id" = Uuid, Path)),
    responses((status = 200, body = DeviceDetail), (status = "4XX", body = Problem)))]
pub(super) async fn get_device(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<Json<DeviceDetail>, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin_by_keys(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    let item = store::items(&mut tx, &[id]).await?.pop().ok_or_else(Problem::not_found)?;
    let standing = identity::standing(&mut tx, id).await?;
    Ok(Json(DeviceDetail {
        item,
        machine: inventory::store::machine(&mut tx, &device).await?,
        latest: store::latest(&mut tx, id).await?,
        enrolled_at: device.enrolled_at,
        computers: standing.computers.map(|c| c.0).unwrap_or_default(),
        reenrol_until: standing.reenrol_until,
    }))
}
