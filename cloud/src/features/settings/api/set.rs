//! `PUT /settings/{level}/{id}/{topic}`
//!
//! A secret is hashed before the transaction, and kept and told nowhere.

use super::{
    super::{
        MANAGE_SETTINGS,
        model::{SettingsBody, SettingsDocument},
    },
    spot, topic, write,
};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Body, Path, Problem},
    settings::{self, Mark, Refused, Topic, set_already},
};
use axum::Json;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Set a topic at a place
///
/// The document replaces the one that stands there. Who set a value that stays, and when,
/// stays with it.
#[utoipa::path(put, path = "/settings/{level}/{id}/{topic}", tag = "settings",
    params(("level" = String, Path, description = "`partners`, `organizations`, `sites` or `devices`"),
        ("id" = Uuid, Path), ("topic" = String, Path)),
    request_body = SettingsDocument,
    responses((status = 200, body = SettingsBody), (status = "4XX", body = Problem)))]
pub(super) async fn set_settings(
    ctx: Ctx,
    Path((level, id, word)): Path<(String, Uuid, String)>,
    input: Result<Body<SettingsDocument>, Problem>,
) -> Result<Json<SettingsBody>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let place = spot(&mut tx, &level, id).await?;
    ctx.require(MANAGE_SETTINGS)?;
    let topic = topic(&ctx, &word, &place)?;
    let Body(mut input) = input?;
    // Nothing is held while it is hashed: it takes tens of milliseconds.
    drop(tx);
    hash_secrets(&ctx, topic, &mut input).await?;
    let mut tx = ctx.begin(MANAGE_SETTINGS).await?;
    let spot = spot(&mut tx, &level, id).await?;
    let before = settings::stands(&mut tx, &spot, topic).await?;
    let mark = Mark { by: ctx.audit_actor().name, at: ctx.now() };
    let document = before.own.changed(topic, input.into(), &before.above, &mark);
    let document = document.map_err(Problem::fields)?;
    let body = write(&ctx, &mut tx, (topic, &spot), &before, &document).await?;
    tx.commit().await?;
    Ok(Json(body))
}

/// Puts hashes in the place of secrets.
async fn hash_secrets(
    ctx: &Ctx,
    topic: &Topic,
    input: &mut SettingsDocument,
) -> Result<(), Problem> {
    for field in topic.fields.iter().filter(|field| field.secret) {
        let Some(value) = input.fields.get_mut(field.word).filter(|v| **v != set_already()) else {
            continue;
        };
        let refused = |why| Problem::fields(Refused::from([(field.word.to_owned(), why)]));
        let checked = (field.check)(value).map_err(refused)?;
        let secret = Zeroizing::new(checked.as_str().unwrap_or_default().to_owned());
        *value = ctx.state.passwords.hash_short(secret).await?.into();
    }
    Ok(())
}
