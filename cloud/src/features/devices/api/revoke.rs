//! `DELETE /devices/{id}`

use super::super::{CHANGED, MANAGE_DEVICES, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    events::NewEvent,
    http::{Path, Problem},
    link::downlink,
};
use axum::http::StatusCode;
use unifyit_protocol::{ids::DeviceId, link::DownRecord};
use uuid::Uuid;

/// Revoke a device: its connection is closed and it is kept out
///
/// Nothing reaches it any more, a cancellation neither: what it runs may go on there
/// until its time limit. Cancel tasks that must end before revoking the device.
#[utoipa::path(delete, path = "/devices/{id}", tag = "devices", params(("id" = Uuid, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn revoke_device(ctx: Ctx, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_DEVICES)?;
    if device.revoked {
        return Ok(StatusCode::NO_CONTENT);
    }
    // The relay's row before the device's, as where relays' records are applied: else
    // the two would wait for each other.
    if let Some(relay) = downlink::relay_of(&mut tx, device.site()).await? {
        downlink::append(&mut tx, relay, &DownRecord::RevokeDevice(id)).await?;
    }
    store::revoke(&mut tx, id).await?;
    let target = AuditTarget::device(device.place(), id.0, format!("device {}", device.name));
    ctx.audit(&mut tx, "device.revoke", &target, "").await?;
    if let Some(item) = store::items(&mut tx, &[id]).await?.pop() {
        tx.emit(NewEvent::kept(CHANGED, device.place(), &item));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
