//! `PUT /sites/{id}/ui-pin`
//!
//! The relay gets an argon2id hash; the PIN itself is kept nowhere.

use super::{
    super::{MANAGE_SITES, rules, store, topics::LOCAL_UI},
    apply,
};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    http::{Body, Path, Problem},
};
use axum::http::StatusCode;
use serde::Deserialize;
use unifyit_protocol::ids::SiteId;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The PIN to be.
#[derive(Deserialize, ToSchema)]
pub(super) struct UiPin {
    /// 6 to 12 digits.
    #[schema(pattern = "^[0-9]{6,12}$")]
    pin: String,
}

/// Set the PIN of the site's local UI
#[utoipa::path(put, path = "/sites/{id}/ui-pin", tag = "sites", params(("id" = Uuid, Path)),
    request_body = UiPin, responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn set_ui_pin(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<UiPin>, Problem>,
) -> Result<StatusCode, Problem> {
    ctx.require(MANAGE_SITES)?;
    let Body(input) = input?;
    let (id, pin) = (SiteId(id), Zeroizing::new(input.pin));
    // Hashed before the transaction: it takes tens of milliseconds.
    let acceptable = rules::acceptable_pin(&pin);
    let hash = if acceptable { ctx.state.passwords.hash_short(pin).await? } else { String::new() };
    let mut tx = ctx.begin(MANAGE_SITES).await?;
    let (site, place) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    if !acceptable {
        return Err(Problem::invalid("The PIN must be 6 to 12 digits, not all the same."));
    }
    apply(&ctx, &mut tx, id, (&LOCAL_UI, vec![("pin", hash.into())])).await?;
    let target = AuditTarget::at(place, format!("site {}", site.name));
    ctx.audit(&mut tx, "site.ui_pin", &target, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
