//! Endpoints of sites and install tokens.

mod cache_savings;
mod create;
mod create_token;
mod delete;
mod get;
mod get_cache;
mod list;
mod list_of_organization;
mod list_tokens;
mod revoke_token;
mod set_cache;
mod set_config;
mod set_pin;
mod update;

pub(super) use create_token::Kind as TokenKindBody;

use super::{
    CHANGED, Site,
    config::{self, SetError},
    store,
};
use crate::{
    context::{AppState, Ctx},
    db::{Place, TenantTx},
    events::NewEvent,
    http::Problem,
    settings::{Mark, Topic},
};
use serde_json::Value;
use unifyit_protocol::ids::SiteId;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_sites, create::create_site))
        .routes(routes!(get::get_site, update::update_site, delete::delete_site))
        .routes(routes!(list_of_organization::list_organization_sites))
        .routes(routes!(set_config::set_site_config))
        .routes(routes!(set_pin::set_ui_pin))
        .routes(routes!(get_cache::get_package_cache, set_cache::set_package_cache))
        .routes(routes!(cache_savings::read_cache_savings))
        .routes(routes!(list_tokens::list_install_tokens, create_token::create_install_token))
        .routes(routes!(revoke_token::revoke_install_token))
}

/// Values of a topic.
type Values<'a> = (&'a Topic, Vec<(&'static str, Value)>);

/// Sets values of a topic at a site, as the actor.
async fn set_values(
    ctx: &Ctx,
    tx: &mut TenantTx,
    id: SiteId,
    (topic, values): Values<'_>,
) -> Result<(), Problem> {
    let mark = Mark { by: ctx.audit_actor().name, at: ctx.now() };
    config::set(tx, id, topic, values, &mark).await.map_err(|error| match error {
        SetError::Gone => Problem::not_found(),
        SetError::Refused(errors) => Problem::fields(errors),
        SetError::Db(error) => error.into(),
    })
}

/// Does so, and sends what comes of it to the relay.
async fn apply(
    ctx: &Ctx,
    tx: &mut TenantTx,
    id: SiteId,
    values: Values<'_>,
) -> Result<(), Problem> {
    set_values(ctx, tx, id, values).await?;
    if config::settle(tx, id).await? {
        config::send(tx, id).await?;
    }
    Ok(())
}

/// The site as it stands after a change, told to browsers after the commit.
async fn changed(tx: &mut TenantTx, id: SiteId, place: Place) -> Result<Site, Problem> {
    let (site, _) = store::get(tx, id).await?.ok_or_else(Problem::not_found)?;
    tx.emit(NewEvent::kept(CHANGED, place, &site));
    Ok(site)
}
