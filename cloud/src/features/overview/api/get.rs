//! `GET /overview`

use super::super::{
    model::{DeviceCounts, Overview},
    rules,
};
use crate::{
    authz::Can,
    context::Ctx,
    features::{audit, devices, sites},
    http::{PageQuery, Problem},
};
use axum::Json;

/// Items of recent activity.
const RECENT: u32 = 20;

/// How everything stands
#[utoipa::path(get, path = "/overview", tag = "overview",
    responses((status = 200, body = Overview), (status = "4XX", body = Problem)))]
pub(super) async fn get_overview(ctx: Ctx) -> Result<Json<Overview>, Problem> {
    let mut tx = ctx.begin(Can::View).await?;
    let by_state = devices::store::count_by_state(&mut tx).await?;
    let of = |state: &str| by_state.get(state).copied().unwrap_or_default();
    let sites = sites::store::all(&mut tx).await?;
    let full = devices::store::fullest_disks(&mut tx, rules::DISK_WARN, rules::MOST).await?;
    let page = PageQuery { limit: Some(RECENT), cursor: None };
    let recent = audit::store::timeline(&mut tx, None, &page).await?.items;
    let tasks_running: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tasks WHERE finished_at IS NULL AND expires_at > now()",
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(Json(Overview {
        devices: DeviceCounts {
            online: of("online"),
            offline: of("offline"),
            unreachable: of("unreachable"),
            total: by_state.values().sum(),
        },
        sites: rules::counts(&sites),
        attention: rules::attention(&sites, full),
        recent,
        tasks_running,
    }))
}
