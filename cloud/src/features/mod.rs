//! One folder a domain, which describes itself in its `FEATURE`; [`crate::app`] lists
//! them. A feature reaches another by a named function, never by its SQL.

pub mod api_keys;
pub mod audit;
pub mod devices;
pub mod gaps;
pub mod inventory;
pub mod metrics;
pub mod overview;
pub mod relays;
pub mod retention;
pub mod sites;
pub mod tasks;
pub mod tenants;
pub mod terminal;
pub mod users;

use crate::{db::Db, events::Watches, link::Records};
use std::sync::Arc;

/// What relays' records mean to the features, and the ticker of tasks that must
/// run beside it.
#[must_use]
pub fn records(db: &Db, watches: &Watches) -> (Arc<dyn Records>, tasks::TaskTicker) {
    let (tasks, ticker) = tasks::TasksIngest::new(db, watches);
    (Arc::new(relays::RelayRecords::new(db, watches, tasks)), ticker)
}
