//! `GET /organizations/{id}`

use super::super::{Organization, store};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
};
use axum::Json;
use uuid::Uuid;

/// Read an organization
#[utoipa::path(get, path = "/organizations/{id}", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Organization), (status = "4XX", body = Problem)))]
pub(super) async fn get_organization(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<Json<Organization>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let organization = store::organization(&mut tx, id.into()).await?;
    organization.map(Json).ok_or_else(Problem::not_found)
}
