//! The API document: kept in the repository, and as narrow as the answers are.

use crate::{app, http::docs};
use serde_json::Value;

/// Where it is kept.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/openapi.json");
const KEPT: &str = include_str!("../../../../web/openapi.json");

#[test]
fn the_kept_document_is_the_services_own() {
    let own = docs::text(&app::openapi());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(FILE, own.trim_end().to_owned() + "\n").unwrap();
        return;
    }
    assert!(
        own.trim() == KEPT.trim(),
        "web/openapi.json is out of date: run this test with UPDATE_OPENAPI=1 (or \
         `unifyit-cloud openapi > web/openapi.json`), then `npm run generate` in web/"
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

#[test]
fn the_document_says_that_keys_outlive_a_password() {
    let document: Value = serde_json::from_str(&docs::text(&app::openapi())).unwrap();
    let change = &document["paths"]["/api/v1/auth/password"]["post"]["description"];
    let said = change.as_str().unwrap_or_default();
    assert!(said.contains("API keys") && said.contains("go on"), "{said}");
}

#[test]
fn the_document_says_how_refusals_come_and_who_may_ask() {
    let document: Value = serde_json::from_str(KEPT).unwrap();
    assert!(document["components"]["securitySchemes"]["api_key"].is_object());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else { continue };
            for (status, response) in responses.iter().filter(|(status, _)| status.starts_with('4'))
            {
                let form = &response["content"]["application/problem+json"];
                assert!(form.is_object(), "{method} {path} {status}: {response}");
            }
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(open, path.ends_with("/auth/login"), "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["name"] == "limit" {
                    assert_eq!(parameter["schema"]["maximum"], 500, "{method} {path}");
                }
            }
        }
    }
}
