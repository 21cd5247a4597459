//! `GET /tasks/{id}/targets/{device_id}/output`

use super::super::store;
use crate::{
    context::Ctx,
    http::{Path, Problem},
};
use axum::{http::header, response::IntoResponse};
use unifyit_protocol::ids::{DeviceId, TaskId};
use uuid::Uuid;

/// All that a device wrote, as the bytes that it wrote
#[utoipa::path(get, path = "/tasks/{id}/targets/{device_id}/output", tag = "tasks",
    params(("id" = Uuid, Path), ("device_id" = Uuid, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = "4XX", body = Problem)))]
pub(super) async fn get_task_output(
    ctx: Ctx,
    Path((id, device)): Path<(Uuid, Uuid)>,
) -> Result<impl IntoResponse, Problem> {
    let (mut tx, ..) = super::find(&ctx, id).await?;
    let (task, device) = (TaskId(id), DeviceId(device));
    store::target(&mut tx, task, device).await?.ok_or_else(Problem::not_found)?;
    let bytes = store::output(&mut tx, task, device).await?;
    // A browser must never take a device's bytes for a page.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"output.txt\""),
    ];
    Ok((headers, bytes))
}
