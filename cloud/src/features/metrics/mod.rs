//! Measurements of devices.
//!
//! ```text
//! relay: Series, Metrics ─► ingest ─► metric_recent (rollups as they came)
//!                              └────► metric_latest, devices.*_pct
//! metric_recent ─ jobs::compact ─► metric_blocks (a block a device and day)
//! metric_blocks ─ jobs::age ─► the same in quarters of an hour, then in hours
//! both ─► read ─► GET /devices/{id}/metrics, once catch_up had the relay send what it
//!                 still gathers of the device
//! relay: newest loads, each minute ─► devices.*_pct
//! relay: live samples ─► live ─► sockets that watch the device
//! ```
//!
//! No row is ever written per sample. Of two rollups of one device, table and
//! minute, the one that arrived later holds: a relay replaces a minute whose
//! samples came late.

mod aging;
mod api;
mod asked;
mod catch_up;
mod coarse;
mod ingest;
pub mod jobs;
mod kept;
mod live;
mod losses;
mod model;
mod packed;
mod read;
mod reports;
mod rules;
mod store;

pub(crate) use kept::HOURS;
pub use model::{MetricsBody, SampleEvent, SampleValue};

#[cfg(test)]
pub(super) use api::measured_for_test;

use crate::{authz::Can, events::Kind, feature::Feature, reports::Reporter};
use ingest::MetricsIngest;
#[cfg(test)]
use read::stops_when_unwanted;

/// A raw sample of a watched device.
pub const SAMPLE: Kind = Kind::new("device.sample", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    jobs: jobs::JOBS,
    told: |components| components.schema_from::<SampleEvent>().schema_from::<SampleValue>(),
    kinds: &[SAMPLE],
    reports: Some(|db, watches| Reporter::new(MetricsIngest::new(db, watches))),
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("metrics")
};

#[cfg(test)]
mod probes;
