//! `GET /partners/{id}`

use super::super::{Partner, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::Json;
use uuid::Uuid;

/// Read a partner
#[utoipa::path(get, path = "/partners/{id}", tag = "partners", params(("id" = Uuid, Path)),
    responses((status = 200, body = Partner), (status = "4XX", body = Problem)))]
pub(super) async fn get_partner(ctx: Ctx, Path(id): Path<Uuid>) -> Result<Json<Partner>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let partner = store::partner(&mut tx, id.into()).await?;
    partner.map(Json).ok_or_else(Problem::not_found)
}
