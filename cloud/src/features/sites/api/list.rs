//! `GET /sites`

use super::super::{Site, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which sites.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this organization.
    organization_id: Option<Uuid>,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sites
#[utoipa::path(get, path = "/sites", tag = "sites", params(Filter),
    responses((status = 200, body = Page<Site>), (status = "4XX", body = Problem)))]
pub(super) async fn list_sites(
    ctx: Ctx,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<Site>>, Problem> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let mut tx = ctx.begin(Can::VIEW).await?;
    Ok(Json(store::list(&mut tx, filter.organization_id.map(Into::into), &page).await?))
}
