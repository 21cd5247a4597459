//! `GET /tasks`

use super::super::{TaskBody, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;

/// List tasks, latest first
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(PageQuery),
    responses((status = 200, body = Page<TaskBody>), (status = "4XX", body = Problem)))]
pub(super) async fn list_tasks(
    ctx: Ctx,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<TaskBody>>, Problem> {
    let mut tx = ctx.begin(Can::View).await?;
    Ok(Json(store::list(&mut tx, &page).await?))
}
