//! Stopping a task: signed stops for every device where it is not done.

use super::{dispatch, dispatch::Share, store, store::NewCommand};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    context::AppState,
    db::{Place, TenantTx},
    http::Problem,
    link::from_ms,
};
use std::collections::{BTreeMap, HashMap};
use unifyit_protocol::{
    command::{Action, MAX_NAMED_TARGETS, Targets},
    ids::{CommandId, DeviceId, OrganizationId, SiteId, TaskId},
};
use uuid::Uuid;

/// How long a stop is tried, in milliseconds: devices that are offline come back
/// some day, with the task in their relay's inbox.
const TRY_MS: u64 = 7 * 24 * 3600 * 1000;

/// Stops a task; `why` stands in the audit log when nobody asked, and then only those are
/// stopped to which no stop was sent.
pub(super) async fn stop(
    state: &AppState,
    tx: &mut TenantTx,
    (id, place, name): (TaskId, Place, &str),
    actor: &AuditActor,
    why: Option<&str>,
) -> Result<(), Problem> {
    let open = store::cancel(tx, id, why.is_none()).await?;
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
    let relays = store::relays(tx, &sites).await?;
    let expires_ms = state.clock.now_ms() + TRY_MS;
    let action = |share: &Share| Action::Cancel {
        command: stops.get(&share.command).copied().unwrap_or(share.command),
    };
    let signed = dispatch::sign(state, tx, BTreeMap::new(), shares, action, expires_ms).await?;
    let partners = store::partners_of(tx, &sites).await?;
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
    store::insert_commands(tx, &commands).await?;
    let without = dispatch::send(tx, &signed, &relays).await?;
    store::cancel_at(tx, id, &without).await?;
    store::stopped(tx, id, &open).await?;
    let target = AuditTarget::at(place, format!("task {name}"));
    let waiting: usize = open.iter().map(|command| command.devices.len()).sum();
    let detail = match why {
        Some(why) => format!("{why} {waiting} devices were not done"),
        None => format!("{waiting} devices were not done"),
    };
    audit::record(tx, actor, "task.cancel", &target, &detail).await?;
    store::settle(tx, id).await?;
    store::emit(tx, id, true).await?;
    Ok(())
}
