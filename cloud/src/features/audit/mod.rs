//! Reading what happened: the audit log, and the timeline that joins it with
//! connections and tasks. Writing it is [`crate::audit`]'s.

mod api;
mod store;

use crate::{audit::ADDED, events::TIMELINE_ADDED, feature::Feature};

/// What it tells of itself.
pub const FEATURE: Feature =
    Feature { routes: api::routes, kinds: &[ADDED, TIMELINE_ADDED], ..Feature::named("audit") };
