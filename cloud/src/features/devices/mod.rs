//! Computers: the list that technicians live in, and one of them.

mod api;
mod found;
pub mod identity;
pub mod jobs;
mod model;
mod query;
pub mod store;

pub use model::{DeviceDetail, DeviceItem, Facets, Latest};
pub use query::{DeviceQuery, Sort};

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature =
    Feature { routes: api::routes, jobs: jobs::JOBS, ..Feature::named("devices") };

#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod word_tests;
