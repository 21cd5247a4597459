//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may_not};

/// All of it.
pub(super) const PROBES: Probes =
    Probes { routes, rights: &[("open_terminal", ["----", "yyyy", "yyyy"])], ..Probes::NONE };

fn routes(_: &Place) -> Vec<Probe> {
    vec![may_not("GET", "/devices/{id}/terminal")]
}
