//! API keys: for programs, with a role and scope no wider than their maker's. They
//! belong to a person and end with what that person may.

mod api;
mod model;
mod store;

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature { routes: api::routes, ..Feature::named("api_keys") };
