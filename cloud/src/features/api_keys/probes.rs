//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes =
    Probes { routes, rights: &[("manage_api_keys", ["----", "yyyy", "yyyy"])], ..Probes::NONE };

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may_not("GET", "/api-keys"),
        may_not("POST", "/api-keys").with(json!({"name": "x"})),
        may_not("DELETE", "/api-keys/{id}"),
    ]
}
