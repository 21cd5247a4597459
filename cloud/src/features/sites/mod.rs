//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod api;
mod cache;
pub mod config;
mod model;
mod reports;
mod rules;
mod standing;
pub mod store;
mod tokens;

pub use model::{RelayBody, Site, SiteDevices, SiteSettings, SiteStanding};
pub use rules::SiteState;

use crate::{
    authz::Can,
    events::{Kind, TimelineKind},
    feature::Feature,
};

/// A site changed.
pub const CHANGED: Kind = Kind::new("site.changed", Can::View);
/// Its relay came, went or reported.
pub const RELAY_CHANGED: Kind = Kind::new("relay.changed", Can::View);
/// A connection came or went: the relay's, or through it a computer's.
pub const CONNECTION: TimelineKind = TimelineKind::new("connection", Can::View);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    kinds: &[CHANGED, RELAY_CHANGED],
    reports: Some(|_, _| reports::open()),
    standing: Some(standing::add),
    ..Feature::named("sites")
};
