//! Endpoints of settings.

mod clear;
mod get;
mod set;
mod topics;

use super::model::SettingsBody;
use crate::{
    audit::AuditTarget,
    context::{AppState, Ctx},
    db::TenantTx,
    http::Problem,
    settings::{self, Document, Level, Spot, Stands, Topic},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(topics::list_settings_topics)).routes(routes!(
        get::get_settings,
        set::set_settings,
        clear::clear_settings
    ))
}

/// The place that a path names.
async fn spot(tx: &mut TenantTx, level: &str, id: Uuid) -> Result<Spot, Problem> {
    let level = Level::of_path(level).ok_or_else(Problem::not_found)?;
    settings::find(tx, level, id).await?.ok_or_else(Problem::not_found)
}

/// The topic that a path names, if it has documents at that place.
fn topic(ctx: &Ctx, word: &str, spot: &Spot) -> Result<&'static Topic, Problem> {
    let topic = settings::topic(ctx.state.features, word).ok_or_else(Problem::not_found)?;
    match topic.stands_at(spot.level) {
        true => Ok(topic),
        false => Err(Problem::invalid("Relays act on this topic: it is set for sites and above.")),
    }
}

/// Writes a document as the actor, has the features do what follows from it, and tells how
/// the topic stands then.
async fn write(
    ctx: &Ctx,
    tx: &mut TenantTx,
    (topic, spot): (&'static Topic, &Spot),
    before: &Stands,
    document: &Document,
) -> Result<SettingsBody, Problem> {
    document.keeps_secrets(&before.own, topic).map_err(Problem::fields)?;
    if *document != before.own {
        if !settings::store::write(tx, spot, topic, document).await? {
            return Err(Problem::forbidden());
        }
        for follow in ctx.state.features.iter().filter_map(|feature| feature.follows) {
            follow(tx, &ctx.state, spot).await?;
        }
        let name = format!("{} {}", spot.level.as_str(), spot.name);
        let target = AuditTarget { place: spot.place, device: spot.device(), name };
        let detail = format!("{}: {}", topic.word, document.told_against(&before.own, topic));
        ctx.audit(tx, "settings.set", &target, &detail).await?;
    }
    let stands = settings::stands(tx, spot, topic).await?;
    Ok(SettingsBody::of(topic, spot, &stands))
}
