//! `DELETE /settings/{level}/{id}/{topic}`

use super::{
    super::{MANAGE_SETTINGS, model::SettingsBody},
    spot, topic, write,
};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
    settings::{self, Document},
};
use axum::Json;
use uuid::Uuid;

/// Take away what is set of a topic at a place, locks too
///
/// What is above it holds there then.
#[utoipa::path(delete, path = "/settings/{level}/{id}/{topic}", tag = "settings",
    params(("level" = String, Path, description = "`partners`, `organizations`, `sites` or `devices`"),
        ("id" = Uuid, Path), ("topic" = String, Path)),
    responses((status = 200, body = SettingsBody), (status = "4XX", body = Problem)))]
pub(super) async fn clear_settings(
    ctx: Ctx,
    Path((level, id, word)): Path<(String, Uuid, String)>,
) -> Result<Json<SettingsBody>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let spot = spot(&mut tx, &level, id).await?;
    ctx.require(MANAGE_SETTINGS)?;
    let topic = topic(&ctx, &word, &spot)?;
    let before = settings::stands(&mut tx, &spot, topic).await?;
    let none = Document::default();
    let body = write(&ctx, &mut tx, (topic, &spot), &before, &none).await?;
    tx.commit().await?;
    Ok(Json(body))
}
