//! SQL of tasks.

mod create;
mod end;
mod read;

pub(super) use create::{
    NewCommand, NewTask, Target, insert_commands, insert_targets, insert_task, partners,
    partners_of, place_of, relays, relays_of, resolve, site_place, site_sizes,
};
pub(crate) use create::{keep_command, signing_key};
pub(super) use end::{cancel, cancel_at, close_if_done, done_but_open, expire};
pub(crate) use read::running;
pub(super) use read::{get, groups, list, of_device, output, target, targets};

use crate::{
    db::{DbError, TenantTx},
    events::{Kind, NewEvent},
};
use unifyit_protocol::ids::TaskId;

/// Said of targets that no relay answered for in time.
pub(super) const NO_ANSWER: &str =
    "It did not come online before the task expired, or its relay did not say so.";

/// Tells browsers how a task stands.
pub(super) async fn emit(tx: &mut TenantTx, task: TaskId, keep: bool) -> Result<(), DbError> {
    if let Some((body, place)) = get(tx, task).await? {
        tx.emit(match keep {
            true => NewEvent::kept(Kind::TaskChanged, place, &body),
            false => NewEvent::passing(Kind::TaskChanged, place, &body),
        });
    }
    Ok(())
}
