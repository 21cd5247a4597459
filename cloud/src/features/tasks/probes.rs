//! What tests demand of the feature: how its routes are probed, and its words on the wire.

use crate::testing::{Place, Probe, Probes, may, may_not};
use serde_json::json;

/// All of it.
pub(super) const PROBES: Probes = Probes {
    routes,
    rights: &[("run_tasks", ["----", "yyyy", "yyyy"])],
    kinds: &[("task.changed", "view"), ("task.target", "view"), ("task.output", "view")],
    timeline: Some("task"),
    settings: &["tasks_days", "output_days"],
    jobs: &[("tasks", 5), ("tasks' rights", 4)],
    ..Probes::NONE
};

fn routes(place: &Place) -> Vec<Probe> {
    let script = json!({"targets": {"device_ids": [place.device.0]}, "expires_in_s": 60,
        "action": {"kind": "script", "interpreter": "sh", "body": "true"}});
    vec![
        may("GET", "/devices/{id}/tasks"),
        may("GET", "/tasks"),
        may_not("POST", "/tasks").with(script),
        may("GET", "/tasks/{id}").of_nothing(),
        may_not("POST", "/tasks/{id}/cancel").of_nothing(),
        may("GET", "/tasks/{id}/groups").of_nothing(),
        may("GET", "/tasks/{id}/targets").of_nothing(),
        may("GET", "/tasks/{id}/targets/{device_id}/output").of_nothing(),
    ]
}
