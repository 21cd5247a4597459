//! API keys: for programs, with a role and scope no wider than their maker's. They
//! belong to a person and end with what that person may.

mod api;
mod model;
mod store;

use crate::{
    authz::{Can, Role, Scopes},
    feature::Feature,
    keeping::Keeps,
};

/// Make and revoke API keys.
pub const MANAGE_API_KEYS: Can = Can::new("manage_api_keys", Role::Technician, Scopes::All);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_API_KEYS],
    keeps: Keeps::tables(&[("api_keys", "for good: made by hand, few")]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("api_keys")
};

#[cfg(test)]
mod probes;
