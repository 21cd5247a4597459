//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    rights: &[("manage_sites", ["----", "yyyy", "yyyy"]), ("install", ["----", "yyyy", "yyyy"])],
    kinds: &[("site.changed", "view"), ("relay.changed", "view")],
    jobs: &[("settings", 60)],
    ..Probes::NONE
};

fn routes(place: &Place) -> Vec<Probe> {
    vec![
        may_not("DELETE", "/install-tokens/{id}"),
        may("GET", "/organizations/{id}/sites"),
        may("GET", "/sites"),
        may_not("POST", "/sites")
            .with(json!({"organization_id": place.organization.0, "name": "x"})),
        may("GET", "/sites/{id}"),
        may_not("PATCH", "/sites/{id}").with(json!({"name": "x"})),
        may_not("DELETE", "/sites/{id}"),
        may_not("PUT", "/sites/{id}/config")
            .with(json!({"collect_every_s": 5, "inventory_every_s": 60})),
        may_not("GET", "/sites/{id}/install-tokens"),
        may_not("POST", "/sites/{id}/install-tokens").with(json!({"kind": "relay"})),
        may("GET", "/sites/{id}/package-cache"),
        may_not("PUT", "/sites/{id}/package-cache").with(json!({"hosts": ["x.org"]})),
        may("GET", "/sites/{id}/package-cache/savings"),
        may_not("PUT", "/sites/{id}/ui-pin").with(json!({"pin": "123456"})),
    ]
}
