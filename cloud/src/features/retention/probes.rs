//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::{
    app::FEATURES,
    keeping::{Kept, settings},
    testing::{Place, Probe, Probes, may, may_not},
};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes { routes, jobs: &[("retention", 3600)], ..Probes::NONE };

fn routes(_: &Place) -> Vec<Probe> {
    vec![
        may("GET", "/partners/{id}/retention"),
        may_not("PUT", "/partners/{id}/retention").with(json!(Kept::usual(&settings(FEATURES)))),
    ]
}
