//! Records about devices, sites and the relay itself.

mod cache;
mod compare;
mod identity;
mod inventory;
mod lacks;
mod order;
mod own;
mod presence;
mod site;

pub(super) use cache::cache;
pub(super) use compare::holds;
pub(super) use identity::shared;
pub(super) use inventory::inventory;
pub(super) use order::take_rows;
pub(super) use own::Own;
pub(super) use presence::{clocks, enrolled, presence};
pub(super) use site::{audit, gap, relay_changed, status, tell};
