//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};

/// All of it.
pub(super) const PROBES: Probes = Probes { routes, ..Probes::NONE };

fn routes(_: &Place) -> Vec<Probe> {
    vec![may("GET", "/relays"), may_not("DELETE", "/relays/{id}")]
}
