//! Every route of the API document, asked by nobody, by a stranger, and by
//! somebody of the wrong role. A route without a probe fails the test.

use crate::{
    app,
    db::Scope,
    keeping::{Kept, settings},
    testing::{Place, TestApp},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use unifyit_protocol::ids::DeviceId;

/// How a route is probed.
struct Probe {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// What a viewer of the very place is answered.
    viewer: Viewer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Viewer {
    May,
    MayNot,
}
use Viewer::{May, MayNot};

fn probe(method: &'static str, path: &'static str, body: Option<Value>, viewer: Viewer) -> Probe {
    Probe { method, path, body, viewer }
}

fn probes(place: &Place) -> Vec<Probe> {
    let script = json!({"targets": {"device_ids": [place.device.0]}, "expires_in_s": 60,
        "action": {"kind": "script", "interpreter": "sh", "body": "true"}});
    vec![
        probe("GET", "/api-keys", None, MayNot),
        probe("POST", "/api-keys", Some(json!({"name": "x"})), MayNot),
        probe("DELETE", "/api-keys/{id}", None, MayNot),
        probe("GET", "/audit", None, MayNot),
        probe("POST", "/auth/logout", None, May),
        probe("POST", "/auth/password", Some(json!({"current": "a", "new": "b"})), MayNot),
        probe("GET", "/auth/session", None, May),
        probe("GET", "/devices", None, May),
        probe("GET", "/devices/facets", None, May),
        probe("GET", "/devices/{id}", None, May),
        probe("PATCH", "/devices/{id}", Some(json!({"name": "x"})), MayNot),
        probe("DELETE", "/devices/{id}", None, MayNot),
        probe("POST", "/devices/{id}/allow-reenrolment", None, MayNot),
        probe("GET", "/devices/{id}/audit", None, MayNot),
        probe("DELETE", "/devices/{id}/computers/{computer}", None, MayNot),
        probe("GET", "/devices/{id}/gaps", None, May),
        probe("GET", "/devices/{id}/inventory/{section}", None, May),
        probe("GET", "/devices/{id}/metrics", None, May),
        probe(
            "POST",
            "/devices/{id}/separate-identity",
            Some(json!({"computer": uuid::Uuid::nil()})),
            MayNot,
        ),
        probe("GET", "/devices/{id}/software", None, May),
        probe("GET", "/devices/{id}/tasks", None, May),
        probe("GET", "/devices/{id}/terminal", None, MayNot),
        probe("GET", "/devices/{id}/timeline", None, May),
        probe("GET", "/events", None, May),
        probe("DELETE", "/install-tokens/{id}", None, MayNot),
        probe("GET", "/organizations", None, May),
        probe("POST", "/organizations", Some(json!({"name": "x"})), MayNot),
        probe("GET", "/organizations/{id}", None, May),
        probe("PATCH", "/organizations/{id}", Some(json!({"name": "x"})), MayNot),
        probe("DELETE", "/organizations/{id}", None, MayNot),
        probe("GET", "/organizations/{id}/sites", None, May),
        probe("GET", "/overview", None, May),
        probe("GET", "/partners", None, MayNot),
        probe("POST", "/partners", Some(json!({"name": "x"})), MayNot),
        probe("GET", "/partners/{id}", None, May),
        probe("GET", "/partners/{id}/organizations", None, May),
        probe("GET", "/partners/{id}/retention", None, May),
        probe(
            "PUT",
            "/partners/{id}/retention",
            Some(json!(Kept::usual(&settings(app::FEATURES)))),
            MayNot,
        ),
        probe("GET", "/relays", None, May),
        probe("DELETE", "/relays/{id}", None, MayNot),
        probe("GET", "/sites", None, May),
        probe(
            "POST",
            "/sites",
            Some(json!({"organization_id": place.organization.0, "name": "x"})),
            MayNot,
        ),
        probe("GET", "/sites/{id}", None, May),
        probe("GET", "/sites/{id}/gaps", None, May),
        probe("PATCH", "/sites/{id}", Some(json!({"name": "x"})), MayNot),
        probe("DELETE", "/sites/{id}", None, MayNot),
        probe(
            "PUT",
            "/sites/{id}/config",
            Some(json!({"collect_every_s": 5, "inventory_every_s": 60})),
            MayNot,
        ),
        probe("GET", "/sites/{id}/devices", None, May),
        probe("GET", "/sites/{id}/install-tokens", None, MayNot),
        probe("POST", "/sites/{id}/install-tokens", Some(json!({"kind": "relay"})), MayNot),
        probe("GET", "/sites/{id}/package-cache", None, May),
        probe("PUT", "/sites/{id}/package-cache", Some(json!({"hosts": ["x.org"]})), MayNot),
        probe("GET", "/sites/{id}/package-cache/savings", None, May),
        probe("PUT", "/sites/{id}/ui-pin", Some(json!({"pin": "123456"})), MayNot),
        probe("GET", "/tasks", None, May),
        probe("POST", "/tasks", Some(script), MayNot),
        probe("GET", "/tasks/{id}", None, May),
        probe("POST", "/tasks/{id}/cancel", None, MayNot),
        probe("GET", "/tasks/{id}/groups", None, May),
        probe("GET", "/tasks/{id}/targets", None, May),
        probe("GET", "/tasks/{id}/targets/{device_id}/output", None, May),
        probe("GET", "/users", None, MayNot),
    ]
}

/// Routes before sign-in, tested by themselves.
const PUBLIC: [(&str, &str); 1] = [("POST", "/auth/login")];

/// Every route of the document, in the same form as the probes.
fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(app::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                let path = path.strip_prefix(app::API).unwrap();
                routes.push((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    routes
}

/// The path with the ids of a place's own things.
fn filled(path: &str, place: &Place, key: uuid::Uuid) -> String {
    let id = match path.split('/').nth(1).unwrap() {
        "partners" => place.partner.0,
        "organizations" => place.organization.0,
        "sites" => place.site.0,
        "relays" => place.relay.0,
        "devices" => place.device.0,
        "api-keys" => key,
        // Neither tokens nor tasks exist here: unknown is 404 like hidden.
        _ => place.site.0,
    };
    path.replace("{id}", &id.to_string())
        .replace("{device_id}", &place.device.to_string())
        .replace("{section}", "packages")
        .replace("{computer}", &uuid::Uuid::nil().to_string())
}

#[tokio::test]
async fn every_route_has_a_probe() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let known = probes(&place);
    for (method, path) in routes() {
        let probed = known.iter().any(|p| p.method == method && p.path == path)
            || PUBLIC.contains(&(method.as_str(), path.as_str()));
        assert!(probed, "{method} {path} has no probe; add one to probes()");
    }
}

#[tokio::test]
async fn nobody_gets_anything() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let bodies = probes(&place);
    for (method, path) in routes() {
        if PUBLIC.contains(&(method.as_str(), path.as_str())) {
            continue;
        }
        let body = bodies
            .iter()
            .find(|p| p.method == method && p.path == path)
            .and_then(|p| p.body.as_ref());
        let path = filled(&path, &place, place.site.0);
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("authorization", "Bearer uak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
            &[("authorization", "Basic YTpi")],
            &[("cookie", "unifyit_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        ];
        for headers in cases {
            let answer = app.ask(&method, &path, headers, body).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {headers:?}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(
                answer.body["request_id"],
                answer.headers["x-request-id"].to_str().unwrap(),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_stranger_is_told_that_there_is_nothing() {
    let app = TestApp::new().await;
    let (victim, stranger) = (app.place("Victim").await, app.place("Stranger").await);
    let (_, victim_key) = app.key("admin", Scope::Partner(victim.partner)).await;
    for scope in [
        Scope::Partner(stranger.partner),
        Scope::Organization(stranger.partner, stranger.organization),
        Scope::Site(stranger.partner, stranger.organization, stranger.site),
    ] {
        let (key, _) = app.key("admin", scope).await;
        for Probe { method, path, body, .. } in probes(&victim) {
            // Sockets answer to an upgrade only; they have their own tests.
            if path.ends_with("/terminal") || path == "/events" {
                continue;
            }
            let path = filled(path, &victim, victim_key);
            let answer = app.by_key(&key, method, &path, body.as_ref()).await;
            if path.contains(&victim.site.to_string())
                || path.contains(&victim.device.to_string())
                || path.contains(&victim.partner.to_string())
                || path.contains(&victim.organization.to_string())
                || path.contains(&victim.relay.to_string())
                || path.contains(&victim_key.to_string())
            {
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path} {}", answer.body);
            }
            let text = answer.body.to_string();
            assert!(!text.contains("Victim"), "{method} {path} leaks: {text}");
        }
    }
    // What was probed with DELETE and PATCH is all still there, as it was.
    let (owner, _) = app.key("admin", Scope::Partner(victim.partner)).await;
    let device = format!("/devices/{}", DeviceId(victim.device.0));
    let answer = app.by_key(&owner, "GET", &device, None).await;
    assert_eq!(answer.body["state"], "online");
    assert_eq!(answer.body["name"], "Victim-1");
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, key_id) = app.key("viewer", Scope::Partner(place.partner)).await;
    let served = routes();
    for Probe { method, path, body, viewer } in probes(&place) {
        let exists = served.iter().any(|(m, p)| m == method && p == path);
        if !exists || path.ends_with("/terminal") || path == "/events" {
            continue;
        }
        let filled = filled(path, &place, key_id);
        let answer = app.by_key(&key, method, &filled, body.as_ref()).await;
        let allowed = answer.status != StatusCode::FORBIDDEN;
        // Unknown tokens and tasks are 404 before anything else.
        let unknown = path.starts_with("/tasks/{id}") && answer.status == StatusCode::NOT_FOUND;
        assert!(
            unknown || allowed == (viewer == May),
            "{method} {path} answered {} {}",
            answer.status,
            answer.body
        );
    }
}

#[tokio::test]
async fn a_viewer_is_told_that_they_may_not_before_how_to_write_it() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (viewer, id) = app.key("viewer", Scope::Partner(place.partner)).await;
    for Probe { method, path, body, viewer: answer } in probes(&place) {
        if body.is_none() || answer == May || path == "/auth/password" {
            continue;
        }
        let path = filled(path, &place, id);
        for wrong in [json!([]), json!({"name": 7, "hosts": 7, "pin": 7}), json!({"name": ""})] {
            let said = app.by_key(&viewer, method, &path, Some(&wrong)).await;
            let hidden = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&said.status);
            assert!(hidden, "{method} {path} {wrong}: {} {}", said.status, said.body);
        }
    }
    // Nor others who lack that right alone.
    let own = Scope::Organization(place.partner, place.organization);
    let (own, _) = app.key("admin", own).await;
    let (technician, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let retention = format!("/partners/{}/retention", place.partner);
    for (key, method, path) in [
        (&own, "PUT", retention.as_str()),
        (&own, "POST", "/organizations"),
        (&technician, "POST", "/organizations"),
        (&technician, "POST", "/partners"),
    ] {
        let said = app.by_key(key, method, path, Some(&json!({"name": 7}))).await;
        assert_eq!(said.status, StatusCode::FORBIDDEN, "{method} {path}: {}", said.body);
    }
    let (admin, _) = app.key("admin", Scope::Partner(place.partner)).await;
    for (method, path, array) in [
        ("POST", "/organizations".to_owned(), json!(["n"])),
        ("PATCH", format!("/devices/{}", place.device), json!([null, null])),
        ("PUT", format!("/sites/{}/config", place.site), json!([10, 900])),
    ] {
        let said = app.by_key(&admin, method, &path, Some(&array)).await;
        assert_eq!(said.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: an array is no object");
    }
    let said = app.by_key(&admin, "GET", "/devices?limit=501", None).await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST);
    assert!(said.body["detail"].as_str().unwrap().contains("1 to 500"), "{}", said.body);
}
