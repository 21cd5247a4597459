//! `GET /overview`

use super::super::model::Overview;
use crate::{
    authz::Can,
    context::{Ctx, ScopeQuery},
    http::{Problem, Query},
    standing::Standing,
    timeline,
};
use axum::Json;

/// Items of recent activity.
const RECENT: i64 = 20;

/// How everything stands
#[utoipa::path(get, path = "/overview", tag = "overview", params(ScopeQuery),
    responses((status = 200, body = Overview), (status = "4XX", body = Problem)))]
pub(super) async fn get_overview(
    ctx: Ctx,
    Query(part): Query<ScopeQuery>,
) -> Result<Json<Overview>, Problem> {
    let mut tx = ctx.begin_within(Can::VIEW, &part).await?;
    let mut all = Standing::default();
    for look in ctx.state.features.iter().filter_map(|feature| feature.standing) {
        look(&mut tx, &mut all).await?;
    }
    let may = |can| ctx.actor.may(can);
    let recent = timeline::recent(&mut tx, ctx.state.features, may, RECENT).await?;
    Ok(Json(Overview {
        devices: all.devices.clone(),
        sites: all.sites.clone(),
        tasks_running: all.tasks_running,
        attention: all.attention(),
        recent,
    }))
}
