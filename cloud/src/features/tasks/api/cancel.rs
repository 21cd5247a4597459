//! `POST /tasks/{id}/cancel`

use super::super::{TaskBody, dispatch, dispatch::Share, store, store::NewCommand};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Path, Problem},
    link::from_ms,
};
use axum::{Json, http::StatusCode};
use std::collections::HashMap;
use unifyit_protocol::{
    command::{Action, MAX_NAMED_TARGETS, Targets},
    ids::{CommandId, DeviceId, OrganizationId, SiteId, TaskId},
};
use uuid::Uuid;

/// How long a stop is tried, in milliseconds: devices that are offline come back
/// some day, with the task in their relay's inbox.
const TRY_MS: u64 = 7 * 24 * 3600 * 1000;

/// Stop a task on every device where it is not done
///
/// Running scripts are killed; waiting ones are not started. Each device's state
/// changes when the device or its relay says so.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 202, body = TaskBody), (status = "4XX", body = Problem)))]
pub(super) async fn cancel_task(
    ctx: Ctx,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<TaskBody>), Problem> {
    let (mut tx, task, place) = super::find(&ctx, id).await?;
    ctx.require(Can::RunTasks)?;
    let id = TaskId(id);
    if task.status != "running" {
        return Err(Problem::conflict("The task has ended; there is nothing left to stop."));
    }
    let open = store::cancel(&mut tx, id).await?;
    let mut stops: HashMap<CommandId, CommandId> = HashMap::new();
    let mut shares = Vec::with_capacity(open.len());
    for command in &open {
        let (organization, site) =
            (OrganizationId(command.organization_id), SiteId(command.site_id));
        for devices in command.devices.chunks(MAX_NAMED_TARGETS) {
            let devices: Vec<DeviceId> = devices.iter().copied().map(DeviceId).collect();
            let stop = CommandId::generate();
            stops.insert(stop, CommandId(command.command_id));
            let targets = Targets::Devices(devices.clone());
            shares.push(Share { command: stop, organization, site, targets, devices });
        }
    }
    let sites: Vec<Uuid> = open.iter().map(|command| command.site_id).collect();
    let relays = store::relays(&mut tx, &sites).await?;
    let expires_ms = ctx.state.clock.now_ms() + TRY_MS;
    let action = |share: &Share| Action::Cancel {
        command: stops.get(&share.command).copied().unwrap_or(share.command),
    };
    let signed = dispatch::sign(&ctx, &mut tx, shares, action, expires_ms).await?;
    let partners = store::partners_of(&mut tx, &sites).await?;
    let commands: Vec<NewCommand<'_>> = signed
        .iter()
        .filter_map(|share| {
            let site = share.share.site;
            Some(NewCommand {
                id: share.share.command.0,
                place: store::site_place(*partners.get(&site)?, share.share.organization, site),
                task: Some(id),
                kind: "cancel",
                signed: &share.bytes,
                expires_at: from_ms(share.expires_ms),
            })
        })
        .collect();
    store::insert_commands(&mut tx, &commands).await?;
    let without = dispatch::send(&mut tx, &signed, &relays).await?;
    store::cancel_at(&mut tx, id, &without).await?;
    let target = AuditTarget::at(place, format!("task {}", task.name));
    let waiting: usize = open.iter().map(|command| command.devices.len()).sum();
    ctx.audit(&mut tx, "task.cancel", &target, &format!("{waiting} devices were not done")).await?;
    store::close_if_done(&mut tx, id).await?;
    store::emit(&mut tx, id, true).await?;
    let (task, _) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(task)))
}
