//! Documents of settings, read and written: any topic, at any place that has a page of its
//! own. What they mean is in [`crate::settings`], and what they are about in the features
//! that contribute them.

mod api;
mod model;

use crate::{
    authz::{Can, Role, Scopes},
    feature::Feature,
    keeping::Keeps,
};

/// Set and lock settings at a place that one may write at.
pub const MANAGE_SETTINGS: Can = Can::new("manage_settings", Role::Technician, Scopes::All);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_SETTINGS],
    keeps: Keeps::tables(&[("settings", "for good: a row a topic and place where it is set")]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("settings")
};

#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
