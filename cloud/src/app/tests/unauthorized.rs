//! Every route of the API document, asked by nobody, by a stranger, and by
//! somebody of the wrong role. Each feature says how its own are probed; a route without a probe fails the test.

use crate::{
    app::{self, FEATURES},
    context::AppState,
    db::Scope,
    feature::Feature,
    testing::{Place, Probe, TestApp, may},
};
use axum::http::StatusCode;
use serde_json::json;
use unifyit_protocol::ids::DeviceId;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Those of all features, and the spine's own.
fn probes(place: &Place) -> Vec<Probe> {
    let features = FEATURES.iter().flat_map(|feature| (feature.probes.routes)(place));
    features.chain([may("GET", EVENTS)]).collect()
}

/// The spine's own route.
const EVENTS: &str = "/events";

/// Routes before sign-in, tested by themselves.
fn open() -> Vec<(&'static str, &'static str)> {
    FEATURES.iter().flat_map(|feature| feature.probes.open).copied().collect()
}

/// Every route of a document, in the same form as the probes.
fn routes_of(document: &OpenApi) -> Vec<(String, String)> {
    let document = serde_json::to_value(document).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                let path = path.strip_prefix(app::API).unwrap_or(path);
                routes.push((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    routes
}

/// Every route of the service.
fn routes() -> Vec<(String, String)> {
    routes_of(&app::openapi())
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
        .replace("{level}", "sites")
        .replace("{topic}", "collection")
        .replace("{computer}", &uuid::Uuid::nil().to_string())
}

#[tokio::test]
async fn every_route_has_a_probe() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let mut probed = vec![("GET".to_owned(), EVENTS.to_owned())];
    for Feature { name, routes, public_routes, probes, .. } in FEATURES {
        let of = |router: OpenApiRouter<AppState>| routes_of(router.get_openapi());
        let mut theirs = of(routes());
        theirs.sort();
        let own = (probes.routes)(&place);
        let mut own: Vec<_> =
            own.iter().map(|p| (p.method.to_owned(), p.path.to_owned())).collect();
        own.sort();
        assert_eq!(
            theirs, own,
            "features/{name}/probes.rs probes each of its routes, and no other"
        );
        let open = of(public_routes());
        let tested: Vec<_> =
            probes.open.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
        assert_eq!(open, tested, "routes of {name} before sign-in");
        probed.extend(own.into_iter().chain(open));
    }
    let mut all = routes();
    all.sort();
    probed.sort();
    assert_eq!(all, probed);
}

#[tokio::test]
async fn nobody_gets_anything() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (bodies, open) = (probes(&place), open());
    for (method, path) in routes() {
        if open.contains(&(method.as_str(), path.as_str())) {
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
    for Probe { method, path, body, viewer, of_nothing, .. } in probes(&place) {
        let exists = served.iter().any(|(m, p)| m == method && p == path);
        if !exists {
            continue;
        }
        let filled = filled(path, &place, key_id);
        let answer = app.by_key(&key, method, &filled, body.as_ref()).await;
        let allowed = answer.status != StatusCode::FORBIDDEN;
        // Unknown tokens and tasks are 404 before anything else.
        let unknown = of_nothing && answer.status == StatusCode::NOT_FOUND;
        assert!(
            unknown || allowed == viewer,
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
    for Probe { method, path, body, viewer: may, of_people, .. } in probes(&place) {
        if body.is_none() || may || of_people {
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
