//! `DELETE /devices/{id}/computers/{computer}`

use super::super::{MANAGE_DEVICES, identity, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
    link::downlink,
};
use axum::http::StatusCode;
use unifyit_protocol::{
    ids::DeviceId,
    link::{DownRecord, ForgetComputer},
};
use uuid::Uuid;

/// Wait no longer for one of the computers that share a device's identity: it is gone
#[utoipa::path(delete, path = "/devices/{id}/computers/{computer}", tag = "devices",
    params(("id" = Uuid, Path), ("computer" = Uuid, Path)),
    responses((status = 202), (status = "4XX", body = Problem)))]
pub(super) async fn forget_computer(
    ctx: Ctx,
    Path((id, computer)): Path<(Uuid, Uuid)>,
) -> Result<StatusCode, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_DEVICES)?;
    let shared = identity::standing(&mut tx, id).await?.computers;
    let computers = shared.map(|c| c.0).unwrap_or_default();
    let gone = identity::leaving(&computers, computer)
        .map_err(|why| why.map_or_else(Problem::not_found, Problem::invalid))?;
    let Some(relay) = downlink::relay_of(&mut tx, device.site()).await? else {
        return Err(Problem::invalid("The site has no relay that could forget the computer."));
    };
    let record = DownRecord::ForgetComputer(ForgetComputer { device: id, instance: computer });
    downlink::append(&mut tx, relay, &record).await?;
    let target = AuditTarget::device(device.place(), id.0, format!("device {}", device.name));
    ctx.audit(&mut tx, "device.forget_computer", &target, &gone.shown()).await?;
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
