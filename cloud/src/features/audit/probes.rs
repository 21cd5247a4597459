//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may_not};

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    rights: &[("read_audit", ["----", "yyyy", "yyyy"])],
    kinds: &[("audit.added", "read_audit")],
    timeline: Some("audit"),
    settings: &["audit_days"],
    ..Probes::NONE
};

fn routes(_: &Place) -> Vec<Probe> {
    vec![may_not("GET", "/audit"), may_not("GET", "/devices/{id}/audit")]
}
