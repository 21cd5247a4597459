//! `POST /tasks/{id}/cancel`

use super::super::{RUN_TASKS, TaskBody, action::Sight, stop, store};
use crate::{
    context::Ctx,
    http::{Path, Problem},
};
use axum::{Json, http::StatusCode};
use unifyit_protocol::ids::TaskId;
use uuid::Uuid;

/// Stop a task on every device where it is not done
///
/// Running scripts are killed; waiting ones are not started. Each device's state
/// changes when the device or its relay says so.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 202, body = TaskBody), (status = "4XX", body = Problem)))]
pub(super) async fn cancel_task(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<TaskBody>), Problem> {
    let (mut tx, task, place) = super::find(&ctx, id).await?;
    ctx.require(RUN_TASKS)?;
    let id = TaskId(id);
    if task.status != "running" {
        return Err(Problem::conflict("The task has ended; there is nothing left to stop."));
    }
    stop::stop(&ctx.state, &mut tx, (id, place, &task.name), &ctx.audit_actor(), None).await?;
    let (task, _) = store::get(&mut tx, id, Sight::Whole).await?.ok_or_else(Problem::not_found)?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(task)))
}
