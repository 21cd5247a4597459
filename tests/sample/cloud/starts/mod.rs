//! When agents started.

mod api;
mod ingest;
mod kept;
mod store;

use crate::{
    authz::Can,
    events::{Kind, TimelineKind},
    feature::Feature,
    timeline::Source,
};

/// An agent started.
pub const STARTED: Kind = Kind::new("device.started", Can::VIEW);
/// Starts in timelines.
pub const HAPPENED: TimelineKind = TimelineKind::new("start", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    reports: Some(|_, _| ingest::open()),
    kinds: &[STARTED],
    timeline: Some(Source { kind: HAPPENED, read: store::in_timeline, recent: None }),
    keeps: kept::KEEPS,
    told: |components| components.schema_from::<store::Start>(),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("starts")
};

#[cfg(test)]
mod probes;
