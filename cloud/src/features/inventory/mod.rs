//! What computers are made of and what is on them, as last reported.

mod api;
mod compare;
mod ingest;
mod kept;
mod model;
pub mod store;

pub use model::{SectionBody, SoftwareItem};

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    reports: Some(|_, _| ingest::open()),
    compares: &[compare::PART],
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("inventory")
};

#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
