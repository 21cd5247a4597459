//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    open: &[("POST", "/auth/login")],
    rights: &[("manage_users", ["----", "----", "yyyy"])],
    ..Probes::NONE
};

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may("POST", "/auth/logout"),
        may_not("POST", "/auth/password").with(json!({"current": "a", "new": "b"})).of_people(),
        may("GET", "/auth/session"),
        may_not("GET", "/users"),
    ]
}
