//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod api;
mod cache;
pub mod config;
mod model;
mod rules;
mod standing;
pub mod store;
mod tokens;

pub(crate) use cache::report as cache_report;
pub use model::{RelayBody, Site, SiteDevices, SiteSettings, SiteStanding};
pub use rules::SiteState;

use crate::{authz::Can, events::Kind, feature::Feature};

/// A site changed.
pub const CHANGED: Kind = Kind::new("site.changed", Can::View);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    kinds: &[CHANGED],
    standing: Some(standing::add),
    ..Feature::named("sites")
};
