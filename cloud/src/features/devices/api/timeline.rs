//! `GET /devices/{id}/timeline`

use super::super::store;
use crate::{
    authz::Can,
    context::Ctx,
    events::TimelineItem,
    http::{Page, PageQuery, Path, Problem, Query},
    timeline::{self, OfDevice},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// What happened to a device, latest first
#[utoipa::path(get, path = "/devices/{id}/timeline", tag = "devices",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<TimelineItem>), (status = "4XX", body = Problem)))]
pub(super) async fn device_timeline(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<TimelineItem>>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, DeviceId(id)).await?.ok_or_else(Problem::not_found)?;
    let device = OfDevice {
        id: device.id,
        site: device.site().0,
        name: device.name,
        enrolled_at: device.enrolled_at,
    };
    let may = |can| ctx.actor.may(can);
    Ok(Json(timeline::page(&mut tx, ctx.state.features, may, &device, &page).await?))
}
