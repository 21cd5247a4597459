//! `DELETE /relays/{id}`

use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    db::Place,
    events::NewEvent,
    features::{relays::unsent, sites},
    http::{Path, Problem},
    link::sisters,
};
use axum::http::StatusCode;
use unifyit_protocol::ids::{OrganizationId, PartnerId, RelayId, SiteId};
use uuid::Uuid;

/// Revoke a relay: its connection is closed within seconds and it is kept out
#[utoipa::path(delete, path = "/relays/{id}", tag = "sites", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn revoke_relay(ctx: Ctx, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let found: Option<(Uuid, Uuid, Uuid, String, bool)> = sqlx::query_as(
        "SELECT partner_id, organization_id, site_id, hostname, revoked_at IS NOT NULL \
         FROM relays WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let (partner, organization, site, hostname, revoked) = found.ok_or_else(Problem::not_found)?;
    ctx.require(sites::MANAGE_SITES)?;
    if revoked {
        return Ok(StatusCode::NO_CONTENT);
    }
    let site = SiteId(site);
    let place = Place::site(PartnerId(partner), OrganizationId(organization), site);
    // While it still counts: its sisters are to let it go.
    sisters::nudge(&mut tx, RelayId(id)).await?;
    unsent::note(&mut tx, &place, RelayId(id)).await?;
    sqlx::query(
        "UPDATE relays SET revoked_at = now(), online = false, state_since = now() WHERE id = $1",
    )
    .bind(id)
    .execute(&mut *tx)
    .await?;
    let target = AuditTarget::at(place, format!("relay {hostname}"));
    ctx.audit(&mut tx, "relay.revoke", &target, "").await?;
    // Its session finds itself revoked and ends.
    tx.nudge_relay(RelayId(id));
    if let Some((site, place)) = sites::store::get(&mut tx, site).await? {
        tx.emit(NewEvent::kept(sites::CHANGED, place, &site));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
