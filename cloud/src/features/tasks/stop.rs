//! Stopping a task: signed stops for every device where it is not done.

use super::{dispatch, dispatch::Share, store};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    context::AppState,
    db::{Place, TenantTx},
    http::Problem,
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    command::Action,
    ids::{CommandId, DeviceId, TaskId},
};

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
    let mut shares = Vec::with_capacity(open.len());
    for command in &open {
        let devices: Vec<DeviceId> = command.devices.iter().copied().map(DeviceId).collect();
        let action = Action::Cancel { command: CommandId(command.command_id) };
        shares.extend(Share::naming(command.at, &devices, &action));
    }
    let expires_ms = state.clock.now_ms() + TRY_MS;
    let orders = dispatch::sign(state, tx, BTreeMap::new(), "cancel", shares, expires_ms).await?;
    store::insert_commands(tx, id, &orders).await?;
    let without = dispatch::send(tx, orders).await?;
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
