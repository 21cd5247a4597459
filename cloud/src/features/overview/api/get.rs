//! `GET /overview`

use super::super::{model::Overview, rules, store};
use crate::{
    authz::Can,
    context::{Ctx, PartQuery},
    features::{devices, sites, tasks},
    http::{Problem, Query},
};
use axum::Json;

/// Items of recent activity.
const RECENT: i64 = 20;

/// How everything stands
#[utoipa::path(get, path = "/overview", tag = "overview", params(PartQuery),
    responses((status = 200, body = Overview), (status = "4XX", body = Problem)))]
pub(super) async fn get_overview(
    ctx: Ctx,
    Query(part): Query<PartQuery>,
) -> Result<Json<Overview>, Problem> {
    let mut tx = ctx.begin_within(Can::View, &part).await?;
    let mut all = rules::Standing::default();
    sites::store::each_standing(&mut tx, |site| all.add(site)).await?;
    let full = devices::store::fullest_disks(&mut tx, rules::MOST).await?;
    let shared = devices::identity::shared(&mut tx, rules::MOST).await?;
    let wrong = devices::store::wrong_clocks(&mut tx, rules::MOST).await?;
    let recent = store::recent(&mut tx, ctx.actor.may(Can::ReadAudit), RECENT).await?;
    let tasks_running = tasks::running(&mut tx).await?;
    Ok(Json(Overview {
        devices: all.devices.clone(),
        sites: all.sites.clone(),
        attention: all.attention(full, shared, wrong),
        recent,
        tasks_running,
    }))
}
