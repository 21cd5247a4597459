//! Reading what happened: the audit log, and the timeline that joins it with
//! connections and tasks. Writing it is [`crate::audit`]'s.

mod api;
mod store;

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature { routes: api::routes, ..Feature::named("audit") };
