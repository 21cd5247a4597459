//! `GET /tasks`

use super::super::{TaskBody, action::Sight, model::TaskState, store};
use crate::{
    authz::Can,
    context::{Ctx, ScopeQuery},
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Words that name, maker or interpreter contain.
    #[serde(default)]
    q: String,
    /// Only in this state.
    #[param(inline)]
    status: Option<TaskState>,
    /// Only of this partner.
    partner_id: Option<Uuid>,
    /// Only of this organization.
    organization_id: Option<Uuid>,
    /// Only of this site.
    site_id: Option<Uuid>,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List tasks, latest first
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(Filter),
    responses((status = 200, body = Page<TaskBody>), (status = "4XX", body = Problem)))]
pub(super) async fn list_tasks(
    ctx: Ctx,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<TaskBody>>, Problem> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let part = ScopeQuery {
        partner_id: filter.partner_id,
        organization_id: filter.organization_id,
        site_id: filter.site_id,
    };
    let mut tx = ctx.begin_within(Can::VIEW, &part).await?;
    Ok(Json(store::list(&mut tx, &filter.q, filter.status, Sight::of(&ctx.actor), &page).await?))
}
