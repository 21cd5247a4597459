//! `GET /tasks/{id}/targets`

use super::super::{TargetBody, rules::STATES, store};
use crate::{
    context::Ctx,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use unifyit_protocol::ids::TaskId;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TargetsQuery {
    /// Only those in this state.
    status: Option<String>,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List the devices of a task
#[utoipa::path(get, path = "/tasks/{id}/targets", tag = "tasks",
    params(("id" = Uuid, Path), TargetsQuery),
    responses((status = 200, body = Page<TargetBody>), (status = "4XX", body = Problem)))]
pub(super) async fn list_task_targets(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(query): Query<TargetsQuery>,
) -> Result<Json<Page<TargetBody>>, Problem> {
    let status = query.status.as_deref().filter(|s| !s.is_empty());
    if status.is_some_and(|s| !STATES.contains(&s)) {
        return Err(Problem::invalid(format!("`status` is one of {}.", STATES.join(", "))));
    }
    let page = PageQuery { limit: query.limit, cursor: query.cursor.clone() };
    // Its beginnings of output in bytes and as text.
    let _turn = ctx.state.turns.wait(ctx.actor.sender(), store::SHOWN_BYTES * 2).await?;
    let (mut tx, ..) = super::find(&ctx, id).await?;
    Ok(Json(store::targets(&mut tx, TaskId(id), status, &page).await?))
}
