//! The first page: how everything stands, what needs somebody, what happened.

mod api;
mod model;

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("overview")
};

#[cfg(test)]
mod probes;
