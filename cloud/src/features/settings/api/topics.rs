//! `GET /settings/topics`

use super::super::model::SettingsTopic;
use crate::{authz::Can, context::Ctx, http::Problem, settings::topics};
use axum::Json;

/// List what may be set in layers
#[utoipa::path(get, path = "/settings/topics", tag = "settings",
    responses((status = 200, body = [SettingsTopic]), (status = "4XX", body = Problem)))]
pub(super) async fn list_settings_topics(ctx: Ctx) -> Result<Json<Vec<SettingsTopic>>, Problem> {
    ctx.require(Can::VIEW)?;
    Ok(Json(topics(ctx.state.features).map(SettingsTopic::from).collect()))
}
