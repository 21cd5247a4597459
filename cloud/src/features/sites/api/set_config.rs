//! `PUT /sites/{id}/config`

use super::{
    super::{MANAGE_SITES, Site, SiteSettings, store, topics::COLLECTION},
    apply, changed,
};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Body, Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// Set how often a site's devices measure
#[utoipa::path(put, path = "/sites/{id}/config", tag = "sites", params(("id" = Uuid, Path)),
    request_body = SiteSettings,
    responses((status = 200, body = Site), (status = "4XX", body = Problem)))]
pub(super) async fn set_site_config(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<SiteSettings>, Problem>,
) -> Result<Json<Site>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (before, place) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_SITES)?;
    let Body(input) = input?;
    if !(1..=3600).contains(&input.collect_every_s)
        || !(60..=86_400).contains(&input.inventory_every_s)
    {
        return Err(Problem::invalid(
            "collect_every_s must be 1 to 3600 and inventory_every_s 60 to 86400 seconds.",
        ));
    }
    let values = vec![
        ("collect_every_s", input.collect_every_s.into()),
        ("inventory_every_s", input.inventory_every_s.into()),
    ];
    apply(&ctx, &mut tx, id, (&COLLECTION, values)).await?;
    let target = AuditTarget::at(place, format!("site {}", before.name));
    let detail = format!(
        "Collects every {} s (was {}), inventory every {} s (was {})",
        input.collect_every_s,
        before.config.collect_every_s,
        input.inventory_every_s,
        before.config.inventory_every_s
    );
    ctx.audit(&mut tx, "site.config", &target, &detail).await?;
    let site = changed(&mut tx, id, place).await?;
    tx.commit().await?;
    Ok(Json(site))
}
