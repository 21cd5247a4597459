//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod api;
mod cache;
pub mod config;
mod model;
mod rules;
pub mod store;
mod tokens;

pub(crate) use cache::report as cache_report;
pub use model::{RelayBody, Site, SiteDevices, SiteSettings, SiteStanding};
pub use rules::SiteState;

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature { routes: api::routes, ..Feature::named("sites") };
