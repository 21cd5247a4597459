//! `GET /devices/{id}/audit`

use super::super::store::{self, AuditFilter};
use crate::{
    audit::{AuditEntry, READ_AUDIT},
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// Read a device's audit log, latest first
#[utoipa::path(get, path = "/devices/{id}/audit", tag = "devices", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<AuditEntry>), (status = "4XX", body = Problem)))]
pub(super) async fn list_device_audit(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    devices::store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(READ_AUDIT)?;
    let wanted = AuditFilter { device: Some(id), ..AuditFilter::default() };
    Ok(Json(store::audit(&mut tx, &wanted, &page).await?))
}
