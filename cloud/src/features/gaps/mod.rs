//! What was lost, of every lane (G6): readable where the data would be.
//!
//! Relays state losses as records; the link adds what it had to skip. Charts show
//! those of measurements themselves; timelines, a task's devices and the two lists
//! here show all of them.

mod api;
mod ingest;
mod kept;
mod model;
mod store;

pub use model::{GapItem, GapLane};

use crate::{authz::Can, events::TimelineKind, feature::Feature, timeline::Source};

/// Data was lost.
pub const HAPPENED: TimelineKind = TimelineKind::new("gap", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    reports: Some(|_, _| ingest::open()),
    timeline: Some(Source { kind: HAPPENED, read: store::in_timeline, recent: None }),
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("gaps")
};

#[cfg(test)]
mod probes;
