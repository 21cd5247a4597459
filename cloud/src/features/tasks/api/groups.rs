//! `GET /tasks/{id}/groups`

use super::super::{model::Groups, store};
use crate::{
    context::Ctx,
    http::{Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::TaskId;
use uuid::Uuid;

/// Group the devices of a task by equal results
#[utoipa::path(get, path = "/tasks/{id}/groups", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 200, body = Groups), (status = "4XX", body = Problem)))]
pub(super) async fn group_task(ctx: Ctx, Path(id): Path<Uuid>) -> Result<Json<Groups>, Problem> {
    let (mut tx, ..) = super::find(&ctx, id).await?;
    Ok(Json(Groups { items: store::groups(&mut tx, TaskId(id)).await? }))
}
