//! `GET /api-keys`

use super::super::{MANAGE_API_KEYS, model::ApiKeyItem, store};
use crate::{
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;

/// List API keys
#[utoipa::path(get, path = "/api-keys", tag = "api keys", params(PageQuery),
    responses((status = 200, body = Page<ApiKeyItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_api_keys(
    ctx: Ctx,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ApiKeyItem>>, Problem> {
    let mut tx = ctx.begin(MANAGE_API_KEYS).await?;
    Ok(Json(store::list(&mut tx, &page).await?))
}
