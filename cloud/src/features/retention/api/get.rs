//! `GET /partners/{id}/retention`

use super::super::store;
use crate::{
    authz::Can,
    context::Ctx,
    features::tenants,
    http::{Path, Problem},
    keeping::{Kept, settings},
};
use axum::Json;
use unifyit_protocol::ids::PartnerId;
use uuid::Uuid;

/// Tell how long a partner's data are kept
#[utoipa::path(get, path = "/partners/{id}/retention", tag = "partners", params(("id" = Uuid, Path)),
    responses((status = 200, body = Kept), (status = "4XX", body = Problem)))]
pub(super) async fn get_retention(ctx: Ctx, Path(id): Path<Uuid>) -> Result<Json<Kept>, Problem> {
    let id = PartnerId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    tenants::store::partner(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::get(&mut tx, &settings(ctx.state.features), id).await?))
}
