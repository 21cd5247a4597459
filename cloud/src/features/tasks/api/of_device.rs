//! `GET /devices/{id}/tasks`

use super::super::{action::Sight, model::DeviceTask, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// List the tasks of a device, latest first
#[utoipa::path(get, path = "/devices/{id}/tasks", tag = "tasks",
    params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<DeviceTask>), (status = "4XX", body = Problem)))]
pub(super) async fn list_device_tasks(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeviceTask>>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = DeviceId(id);
    devices::store::find(&mut tx, device).await?.ok_or_else(Problem::not_found)?;
    let Page { items, next_cursor } =
        store::of_device(&mut tx, device, Sight::of(&ctx.actor), &page).await?;
    let items = items.into_iter().map(|(task, target)| DeviceTask { task, target }).collect();
    Ok(Json(Page { items, next_cursor }))
}
