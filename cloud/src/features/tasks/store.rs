//! SQL of tasks.

mod again;
mod begin;
mod create;
mod end;
mod read;
mod targets;

pub(super) use again::{had, send_again};
pub(super) use begin::{Begun, begin};
pub(super) use create::{NewTask, SigningKey, insert_commands, insert_task};
pub(crate) use create::{keep_command, signing_key};
pub(super) use end::{
    cancel, cancel_at, expire, lose, put_out, settle, stopped, unsettled, unstopped, without_right,
};
pub(super) use read::{
    SHOWN_BYTES, get, groups, list, of_device, output, running, target, targets,
};
pub(super) use targets::{Reach, Target, by_organization, place_of, site_sizes};

use super::{CHANGED, action::Sight};
use crate::{
    db::{DbError, TenantTx},
    events::NewEvent,
};
use unifyit_protocol::ids::TaskId;

/// Said of targets that no relay answered for in time.
pub(super) const NO_ANSWER: &str =
    "It did not come online before the task expired, or its relay did not say so.";

/// Said of scripts of which the device never said how they ended.
pub(super) const NO_END: &str =
    "It ran, and its device never said how it ended, although its time is over.";

/// Said of devices that were put out before they answered.
pub(super) const OUT_BEFORE: &str = "The device was revoked before it ran this.";
/// Said of devices that were put out while they ran it.
pub(super) const OUT_DURING: &str = "The device was revoked while it ran this. It may go on there \
until its time limit; how it ends is not known.";
/// As 0.1 said it, in rows that are kept.
const OUT_DURING_ONCE: &str =
    "The device was revoked while it ran this; how it ended is not known.";

/// Reasons of ends that are assumed here: the device's own word replaces them.
pub(super) const ASSUMED: [&str; 5] = [NO_ANSWER, NO_END, OUT_BEFORE, OUT_DURING, OUT_DURING_ONCE];

/// Tells browsers how a task stands.
pub(super) async fn emit(tx: &mut TenantTx, task: TaskId, keep: bool) -> Result<(), DbError> {
    if let Some((body, place)) = get(tx, task, Sight::Outline).await? {
        // Whoever sees only a part of it tells nobody of the whole; the ticker does.
        if tx.scope().is_some_and(|scope| !scope.sees(&place)) {
            return Ok(());
        }
        tx.emit(match keep {
            true => NewEvent::kept(CHANGED, place, body.standing()),
            false => NewEvent::passing(CHANGED, place, body.standing()),
        });
    }
    Ok(())
}
