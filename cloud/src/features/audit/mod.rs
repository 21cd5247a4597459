//! Reading what somebody did: the audit log, and its part of timelines. Writing it is
//! [`crate::audit`]'s.

mod api;
mod kept;
mod store;

use crate::{
    audit::{ADDED, HAPPENED, READ_AUDIT},
    feature::Feature,
    timeline::Source,
};

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[READ_AUDIT],
    kinds: &[ADDED],
    timeline: Some(Source { kind: HAPPENED, read: store::of_device, recent: Some(store::recent) }),
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("audit")
};

#[cfg(test)]
mod probes;
