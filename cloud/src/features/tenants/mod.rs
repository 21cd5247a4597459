//! Partners and their organizations. An organization is born with its authority
//! key (G7): without one nothing could ever be signed for it.

mod api;
mod model;
pub mod store;

pub use api::checked_name;
pub use model::{Organization, Partner};

use crate::{
    authz::{Can, Role, Scopes},
    feature::Feature,
    keeping::Keeps,
};

/// Make and change partners: platform operators only.
pub const MANAGE_PARTNERS: Can = Can::new("manage_partners", Role::Admin, Scopes::Platform);
/// Make and change organizations.
pub const MANAGE_ORGANIZATIONS: Can =
    Can::new("manage_organizations", Role::Admin, Scopes::AboveSites);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_PARTNERS, MANAGE_ORGANIZATIONS],
    keeps: Keeps::tables(&[
        ("organization_keys", "for good: one row an organization"),
        ("organizations", "for good: made by hand"),
        ("partners", "for good: made by hand"),
    ]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("tenants")
};

#[cfg(test)]
mod probes;
