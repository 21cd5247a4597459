//! `GET /users`

use super::super::{MANAGE_USERS, UserListItem, store};
use crate::{
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;

/// List people
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery),
    responses((status = 200, body = Page<UserListItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_users(
    ctx: Ctx,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<UserListItem>>, Problem> {
    let mut tx = ctx.begin(MANAGE_USERS).await?;
    Ok(Json(store::list(&mut tx, &page).await?))
}
