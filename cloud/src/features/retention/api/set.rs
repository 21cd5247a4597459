//! `PUT /partners/{id}/retention`

use super::super::store;
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    db::Scope,
    features::tenants,
    http::{Body, Path, Problem},
    keeping::{Asked, Kept, settings},
};
use axum::Json;
use unifyit_protocol::ids::PartnerId;
use uuid::Uuid;

/// Set how long a partner's data are kept
///
/// What is older is deleted within a day, and does not come back.
#[utoipa::path(put, path = "/partners/{id}/retention", tag = "partners", params(("id" = Uuid, Path)),
    request_body = Kept,
    responses((status = 200, body = Kept), (status = "4XX", body = Problem)))]
pub(super) async fn set_retention(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<Asked>, Problem>,
) -> Result<Json<Kept>, Problem> {
    let id = PartnerId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let partner = tenants::store::partner(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(tenants::MANAGE_ORGANIZATIONS)?;
    // It holds for all of the partner's organizations: not for one of them to say.
    if !matches!(ctx.actor.scope, Scope::Platform | Scope::Partner(_)) {
        return Err(Problem::forbidden());
    }
    let Body(input) = input?;
    let settings = settings(ctx.state.features);
    let input = Kept::read(&settings, &input).map_err(Problem::invalid)?;
    let before = store::get(&mut tx, &settings, id).await?;
    store::set(&mut tx, id, &input).await?;
    let target = AuditTarget::at(Scope::Partner(id).place(), format!("partner {}", partner.name));
    ctx.audit(&mut tx, "partner.retention", &target, &input.told_against(&before)).await?;
    tx.commit().await?;
    Ok(Json(input))
}
