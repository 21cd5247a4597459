//! `GET /devices/{id}/inventory/{section}`

use super::super::{SectionBody, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Path, Problem},
};
use axum::Json;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

const SECTIONS: [&str; 5] = ["system", "interfaces", "disks", "packages", "services"];

/// Read a section of a device's inventory
#[utoipa::path(get, path = "/devices/{id}/inventory/{section}", tag = "devices",
    params(("id" = Uuid, Path),
        ("section" = String, Path, description = "system, interfaces, disks, packages or services")),
    responses((status = 200, body = SectionBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_inventory(
    ctx: Ctx,
    Path((id, section)): Path<(Uuid, String)>,
) -> Result<Json<SectionBody>, Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device =
        devices::store::find(&mut tx, DeviceId(id)).await?.ok_or_else(Problem::not_found)?;
    if !SECTIONS.contains(&section.as_str()) {
        return Err(Problem::not_found());
    }
    Ok(Json(store::section(&mut tx, &device, &section).await?))
}
