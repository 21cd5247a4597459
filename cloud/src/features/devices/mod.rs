//! Computers: the list that technicians live in, and one of them.

mod api;
mod compare;
mod found;
pub mod identity;
mod ingest;
pub mod jobs;
mod kept;
mod model;
mod query;
mod reports;
mod standing;
pub mod store;
mod timeline;

pub use model::{DeviceDetail, DeviceItem, Facets, Latest};
pub use query::{DeviceQuery, Sort};

use crate::{
    authz::{Can, Role, Scopes},
    events::{Kind, TIMELINE_ADDED},
    feature::Feature,
    features::sites,
    timeline::Source,
};

/// Rename, tag and revoke devices.
pub const MANAGE_DEVICES: Can = Can::new("manage_devices", Role::Technician, Scopes::All);
/// A device's list item changed.
pub const CHANGED: Kind = Kind::new("device.changed", Can::VIEW);
/// A device joined.
pub const ENROLLED: Kind = Kind::new("device.enrolled", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_DEVICES],
    jobs: jobs::JOBS,
    kinds: &[CHANGED, ENROLLED, TIMELINE_ADDED],
    reports: Some(|_, _| reports::open()),
    compares: compare::PARTS,
    standing: Some(standing::add),
    timeline: Some(Source {
        kind: sites::CONNECTION,
        read: timeline::of_device,
        recent: Some(timeline::recent),
    }),
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("devices")
};

#[cfg(test)]
mod found_tests;
#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod word_tests;
