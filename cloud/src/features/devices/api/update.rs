//! `PATCH /devices/{id}`

use super::super::{CHANGED, DeviceItem, MANAGE_DEVICES, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    events::NewEvent,
    http::{Body, Path, Problem},
};
use axum::Json;
use serde::Deserialize;
use unifyit_protocol::ids::DeviceId;
use utoipa::ToSchema;
use uuid::Uuid;

const MAX_TAGS: usize = 32;
const MAX_TAG: usize = 64;

/// What to change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeDevice {
    /// Name; empty gives the host name back.
    #[serde(default)]
    #[schema(max_length = 200)]
    name: Option<String>,
    /// All its tags.
    #[serde(default)]
    #[schema(max_items = 32)]
    tags: Option<Vec<String>>,
}

/// Name or tag a device
#[utoipa::path(patch, path = "/devices/{id}", tag = "devices", params(("id" = Uuid, Path)),
    request_body = ChangeDevice,
    responses((status = 200, body = DeviceItem), (status = "4XX", body = Problem)))]
pub(super) async fn update_device(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<ChangeDevice>, Problem>,
) -> Result<Json<DeviceItem>, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_DEVICES)?;
    let Body(input) = input?;
    let name = input.name.as_deref().map(str::trim);
    if name.is_some_and(|n| n.chars().count() > 200 || n.chars().any(char::is_control)) {
        return Err(Problem::invalid("The name must have at most 200 characters on one line."));
    }
    let tags = input.tags.map(checked_tags).transpose()?;
    store::change(&mut tx, id, name, tags.as_deref()).await?;
    let item = store::items(&mut tx, &[id]).await?.pop().ok_or_else(Problem::internal)?;
    let target = AuditTarget::device(device.place(), id.0, format!("device {}", device.name));
    let detail = format!("Name {}, tags {}", item.name, item.tags.join(", "));
    ctx.audit(&mut tx, "device.update", &target, &detail).await?;
    tx.emit(NewEvent::kept(CHANGED, device.place(), &item));
    tx.commit().await?;
    Ok(Json(item))
}

fn checked_tags(tags: Vec<String>) -> Result<Vec<String>, Problem> {
    let mut tags: Vec<String> = tags.iter().map(|t| t.trim().to_lowercase()).collect();
    tags.sort();
    tags.dedup();
    let acceptable = |t: &String| {
        !t.is_empty()
            && t.chars().count() <= MAX_TAG
            && !t.chars().any(|c| c.is_control() || c == ',')
    };
    if tags.len() > MAX_TAGS || !tags.iter().all(acceptable) {
        return Err(Problem::invalid(
            "A device can have 32 tags of 1 to 64 characters each, without commas.",
        ));
    }
    Ok(tags)
}
