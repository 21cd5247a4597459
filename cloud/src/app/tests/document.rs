//! The API document: kept in the repository, and as narrow as the answers are.

use crate::{app, http::docs};
use serde_json::Value;

const KEPT: &str = include_str!("../../../../web/openapi.json");

#[test]
fn the_kept_document_is_the_services_own() {
    let own = docs::text(&app::openapi());
    assert!(
        own.trim() == KEPT.trim(),
        "web/openapi.json is out of date: run `unifyit-cloud openapi > web/openapi.json`, \
         then `npm run generate` in web/"
    );
}

#[test]
fn answers_name_every_field_and_requests_may_leave_out_what_has_a_default() {
    let document: Value = serde_json::from_str(KEPT).unwrap();
    let required = |schema: &str, field: &str| {
        let schema = &document["components"]["schemas"][schema];
        assert!(schema["properties"][field].is_object(), "{schema}");
        schema["required"].as_array().into_iter().flatten().any(|name| name == field)
    };
    assert!(required("DeviceItem", "last_seen"), "null is told, not left out");
    assert!(required("TargetEvent", "exit_code"));
    assert!(required("TaskInput", "targets"));
    assert!(!required("TaskInput", "name"));
    assert!(!required("ScriptInput", "env"));
}
