//! `GET /settings/{level}/{id}/{topic}`

use super::{super::model::SettingsBody, spot, topic};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
    settings,
};
use axum::Json;
use uuid::Uuid;

/// Read what is set of a topic at a place, what holds there, and why
///
/// Field by field the nearest value wins: a device's own before its site's, its
/// organization's and its partner's, unless one above locked the field.
#[utoipa::path(get, path = "/settings/{level}/{id}/{topic}", tag = "settings",
    params(("level" = String, Path, description = "`partners`, `organizations`, `sites` or `devices`"),
        ("id" = Uuid, Path), ("topic" = String, Path)),
    responses((status = 200, body = SettingsBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_settings(
    ctx: Ctx,
    Path((level, id, word)): Path<(String, Uuid, String)>,
) -> Result<Json<SettingsBody>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let spot = spot(&mut tx, &level, id).await?;
    let topic = topic(&ctx, &word, &spot)?;
    let stands = settings::stands(&mut tx, &spot, topic).await?;
    Ok(Json(SettingsBody::of(topic, &spot, &stands)))
}
