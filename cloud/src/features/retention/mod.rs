//! How long things are kept: what a partner has set, and the hourly sweep.
//!
//! What that is, each feature says ([`crate::keeping`]); every table has a stated end (a
//! test demands it of each that is added). What a partner has set is in the table
//! `retention`; features delete in small pieces, so that nobody waits behind them, and
//! say what they deleted.

mod api;
mod jobs;
mod store;

use crate::{feature::Feature, keeping::Keeps};

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    jobs: jobs::JOBS,
    keeps: Keeps::tables(&[("retention", "for good: one row a partner")]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("retention")
};

#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
