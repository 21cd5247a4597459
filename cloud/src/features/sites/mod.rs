//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod adopt;
mod api;
mod cache;
mod compare;
pub mod config;
mod jobs;
mod kept;
mod model;
mod reports;
mod rules;
mod standing;
pub mod store;
mod tokens;
mod topics;

pub use config::acknowledged;
pub use model::{RelayBody, Site, SiteDevices, SiteSettings, SiteStanding};
pub use rules::SiteState;

use crate::{
    authz::{Can, Role, Scopes},
    events::{Kind, TimelineKind},
    feature::Feature,
};

/// Make and change sites, their settings and relays.
pub const MANAGE_SITES: Can = Can::new("manage_sites", Role::Technician, Scopes::All);
/// Make and revoke install tokens.
pub const INSTALL: Can = Can::new("install", Role::Technician, Scopes::All);
/// A site changed.
pub const CHANGED: Kind = Kind::new("site.changed", Can::VIEW);
/// Its relay came, went or reported.
pub const RELAY_CHANGED: Kind = Kind::new("relay.changed", Can::VIEW);
/// A connection came or went: the relay's, or through it a computer's.
pub const CONNECTION: TimelineKind = TimelineKind::new("connection", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_SITES, INSTALL],
    kinds: &[CHANGED, RELAY_CHANGED],
    reports: Some(|_, _| reports::open()),
    compares: &[compare::PART],
    standing: Some(standing::add),
    keeps: kept::KEEPS,
    topics: topics::TOPICS,
    follows: Some(|tx, state, spot| Box::pin(config::follow(tx, state, spot))),
    jobs: jobs::JOBS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("sites")
};

#[cfg(test)]
mod probes;
