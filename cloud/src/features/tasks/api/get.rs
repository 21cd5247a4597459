//! `GET /tasks/{id}`

use super::super::{TaskDetail, store};
use crate::{
    context::Ctx,
    http::{PageQuery, Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::TaskId;
use uuid::Uuid;

/// Get a task with its first hundred devices
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 200, body = TaskDetail), (status = "4XX", body = Problem)))]
pub(super) async fn get_task(ctx: Ctx, Path(id): Path<Uuid>) -> Result<Json<TaskDetail>, Problem> {
    let (mut tx, task, _) = super::find(&ctx, id).await?;
    let page = PageQuery { limit: Some(100), cursor: None };
    let targets = store::targets(&mut tx, TaskId(id), None, &page).await?.items;
    Ok(Json(TaskDetail { task, targets }))
}
