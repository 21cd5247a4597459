//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    rights: &[("manage_devices", ["----", "yyyy", "yyyy"])],
    kinds: &[("device.changed", "view"), ("device.enrolled", "view"), ("timeline.added", "view")],
    timeline: Some("connection"),
    jobs: &[("tallies", 60)],
    ..Probes::NONE
};

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may("GET", "/devices"),
        may("GET", "/devices/facets"),
        may("GET", "/devices/{id}"),
        may_not("PATCH", "/devices/{id}").with(json!({"name": "x"})),
        may_not("DELETE", "/devices/{id}"),
        may_not("POST", "/devices/{id}/allow-reenrolment"),
        may_not("DELETE", "/devices/{id}/computers/{computer}"),
        may_not("POST", "/devices/{id}/separate-identity")
            .with(json!({"computer": uuid::Uuid::nil()})),
        may("GET", "/devices/{id}/timeline"),
        may("GET", "/sites/{id}/devices"),
    ]
}
