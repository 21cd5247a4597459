//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    rights: &[
        ("manage_partners", ["----", "----", "y---"]),
        ("manage_organizations", ["----", "----", "yyy-"]),
    ],
    ..Probes::NONE
};

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may("GET", "/organizations"),
        may_not("POST", "/organizations").with(json!({"name": "x"})),
        may("GET", "/organizations/{id}"),
        may_not("PATCH", "/organizations/{id}").with(json!({"name": "x"})),
        may_not("DELETE", "/organizations/{id}"),
        may_not("GET", "/partners"),
        may_not("POST", "/partners").with(json!({"name": "x"})),
        may("GET", "/partners/{id}"),
        may("GET", "/partners/{id}/organizations"),
    ]
}
