//! `POST /devices/{id}/separate-identity`

use super::super::{MANAGE_DEVICES, identity, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Body, Path, Problem},
    link::downlink,
};
use axum::http::StatusCode;
use serde::Deserialize;
use unifyit_protocol::{
    ids::DeviceId,
    link::{DownRecord, SeparateIdentity},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// Which computer.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SeparateComputer {
    /// Id of the computer, of those that the device names.
    computer: Uuid,
}

/// Give one of the computers that share a device's identity an identity of its own
#[utoipa::path(post, path = "/devices/{id}/separate-identity", tag = "devices",
    params(("id" = Uuid, Path)), request_body = SeparateComputer,
    responses((status = 202), (status = "4XX", body = Problem)))]
pub(super) async fn separate_identity(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<SeparateComputer>, Problem>,
) -> Result<StatusCode, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_DEVICES)?;
    let Body(input) = input?;
    let shared = identity::standing(&mut tx, id).await?.computers;
    let computers = shared.map(|c| c.0).unwrap_or_default();
    let computer = identity::leaving(&computers, input.computer).map_err(|why| {
        Problem::invalid(why.unwrap_or(
            "No such computer uses this device's identity. Reload the page: it may have started anew, or has its own already.",
        ))
    })?;
    let Some(relay) = downlink::relay_of(&mut tx, device.site()).await? else {
        return Err(Problem::invalid("The site has no relay that could tell the computer."));
    };
    let record =
        DownRecord::SeparateIdentity(SeparateIdentity { device: id, instance: input.computer });
    downlink::append(&mut tx, relay, &record).await?;
    let target = AuditTarget::device(device.place(), id.0, format!("device {}", device.name));
    ctx.audit(&mut tx, "device.separate_identity", &target, &computer.shown()).await?;
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
