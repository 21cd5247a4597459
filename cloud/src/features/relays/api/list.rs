//! `GET /relays`

use crate::{
    authz::Can,
    context::{Ctx, ScopeQuery},
    features::sites::{self, Site},
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which relays.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this partner.
    partner_id: Option<Uuid>,
    /// Only of this organization.
    organization_id: Option<Uuid>,
    /// Only of this site.
    site_id: Option<Uuid>,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A relay, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RelayItem {
    /// The relay, with the figures of its last report.
    #[serde(flatten)]
    relay: sites::RelayBody,
    /// Its site.
    site_id: Uuid,
    /// Name of its site.
    site_name: String,
    /// Its organization.
    organization_id: Uuid,
    /// Name of its organization.
    organization_name: String,
    /// How its site fares.
    state: sites::SiteState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    state_since: time::OffsetDateTime,
}

fn item(site: Site) -> Option<RelayItem> {
    Some(RelayItem {
        relay: site.relay?,
        site_id: site.id,
        site_name: site.name,
        organization_id: site.organization_id,
        organization_name: site.organization_name,
        state: site.state,
        state_since: site.state_since,
    })
}

/// List relays that are not revoked, by their sites' names
#[utoipa::path(get, path = "/relays", tag = "sites", params(Filter),
    responses((status = 200, body = Page<RelayItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_relays(
    ctx: Ctx,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<RelayItem>>, Problem> {
    let Filter { partner_id, organization_id, site_id, limit, cursor } = filter;
    let part = ScopeQuery { partner_id, organization_id, site_id };
    let mut tx = ctx.begin_within(Can::VIEW, &part).await?;
    let page = PageQuery { limit, cursor };
    let Page { items, next_cursor } = sites::store::with_relay(&mut tx, &page).await?;
    Ok(Json(Page { items: items.into_iter().filter_map(item).collect(), next_cursor }))
}
