//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes =
    Probes { routes, rights: &[("manage_settings", ["----", "yyyy", "yyyy"])], ..Probes::NONE };

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may_not("DELETE", "/settings/{level}/{id}/{topic}"),
        may("GET", "/settings/topics"),
        may("GET", "/settings/{level}/{id}/{topic}"),
        may_not("PUT", "/settings/{level}/{id}/{topic}").with(json!({"fields": {}})),
    ]
}
