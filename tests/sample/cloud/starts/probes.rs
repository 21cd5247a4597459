//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may};

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    kinds: &[("device.started", "view")],
    timeline: Some("start"),
    ..Probes::NONE
};

fn routes(_: &Place) -> Vec<Probe> {
    vec![may("GET", "/devices/{id}/starts")]
}
