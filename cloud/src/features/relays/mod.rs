//! Relays: what their records mean, and putting one out.
//!
//! [`RelayRecords`] is the features' end of the link. It checks that a relay
//! speaks only of devices of its own site, bounds and cleans every text (devices
//! are hostile), and hands each kind of record to the domain that it is of.

mod api;
mod ingest;
mod records;
mod text;
mod unsent;

pub use records::RelayRecords;
pub(crate) use text::line;

use crate::{authz::Can, events::Kind, feature::Feature};

/// A relay came, went or reported.
pub const CHANGED: Kind = Kind::new("relay.changed", Can::View);

/// What it tells of itself.
pub const FEATURE: Feature =
    Feature { routes: api::routes, kinds: &[CHANGED], ..Feature::named("relays") };

#[cfg(test)]
mod compare_bounds_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod gap_tests;
#[cfg(test)]
mod inventory_tests;
#[cfg(test)]
mod newest_tests;
#[cfg(test)]
mod put_back_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unsent_tests;
