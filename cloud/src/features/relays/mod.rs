//! Relays: how they fare, what happened at their sites, and putting one out.

mod api;
mod ingest;
mod reports;
mod unsent;

use crate::{feature::Feature, keeping::Keeps};

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    reports: Some(|_, _| reports::open()),
    keeps: Keeps::tables(&[("relays", "for good: one active a site")]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("relays")
};

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod compare_bounds_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod gap_tests;
#[cfg(test)]
mod newest_tests;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod put_back_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unsent_tests;
