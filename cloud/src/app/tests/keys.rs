//! What API keys may, and when they end.

use crate::{
    authz::Sender,
    config::Config,
    db::Scope,
    testing::{Answer, Place, TestApp},
};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures::stream::pending;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

async fn works(app: &TestApp, key: &str) -> bool {
    match app.by_key(key, "GET", "/sites", None).await.status {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    }
}

/// Changes something as the owner of the schema.
async fn change(app: &TestApp, statement: &str, id: Uuid) {
    let mut owner = app.test.owner().await;
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::query(statement).bind(id).execute(&mut owner).await.unwrap();
}

async fn make(app: &TestApp, by: &str, body: serde_json::Value) -> Answer {
    let made = app.by_key(by, "POST", "/api-keys", Some(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made
}

fn text(answer: &Answer, field: &str) -> String {
    answer.body[field].as_str().unwrap().to_owned()
}

async fn admin(app: &TestApp) -> (Place, Uuid, String) {
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let ann = app.user("ann@acme.example", "correct horse battery", "admin", scope).await;
    let (key, _) = app.key_of(ann, "admin", scope).await;
    (place, ann, key)
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_refused() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (admin, admin_id) = app.key("admin", Scope::Partner(place.partner)).await;
    let made = make(&app, &admin, json!({"name": "ci", "expires_in_s": 3600})).await;
    let key = text(&made, "key");
    assert!(works(&app, &key).await);
    let listed = app.by_key(&admin, "GET", "/api-keys", None).await;
    assert!(!listed.body.to_string().contains(&key), "a list must not show keys");

    change(&app, "UPDATE api_keys SET expires_at = now() WHERE id <> $1", admin_id).await;
    assert!(!works(&app, &key).await);
    let own = format!("/api-keys/{admin_id}");
    assert_eq!(app.by_key(&admin, "DELETE", &own, None).await.status, StatusCode::NO_CONTENT);
    assert!(!works(&app, &admin).await);
}

#[tokio::test]
async fn a_key_ends_with_its_person_and_with_what_they_may() {
    let app = TestApp::new().await;
    let (place, ann, key) = admin(&app).await;
    let minted = text(&make(&app, &key, json!({"name": "of a key"})).await, "key");
    for (end, back) in [
        (
            "UPDATE users SET disabled_at = now() WHERE id = $1",
            "UPDATE users SET disabled_at = NULL WHERE id = $1",
        ),
        (
            "UPDATE memberships SET role = 'technician' WHERE user_id = $1",
            "UPDATE memberships SET role = 'admin' WHERE user_id = $1",
        ),
        (
            "UPDATE memberships SET scope = 'organization', organization_id = \
             (SELECT id FROM organizations LIMIT 1) WHERE user_id = $1",
            "UPDATE memberships SET scope = 'partner', organization_id = NULL WHERE user_id = $1",
        ),
    ] {
        assert!(works(&app, &key).await && works(&app, &minted).await, "before {end}");
        change(&app, end, ann).await;
        assert!(!works(&app, &key).await, "{end}");
        assert!(!works(&app, &minted).await, "of a key: {end}");
        change(&app, back, ann).await;
    }
    let inside = json!({"name": "inside", "organization_id": place.organization.0});
    let inside = text(&make(&app, &key, inside).await, "key");
    assert!(works(&app, &inside).await);
    let gone = "UPDATE organizations SET deleted_at = now() WHERE id = $1";
    change(&app, gone, place.organization.0).await;
    assert!(!works(&app, &inside).await);
    assert!(works(&app, &key).await);
}

#[tokio::test]
async fn a_key_makes_none_that_may_more_or_lasts_longer_and_takes_its_own_along() {
    let app = TestApp::new().await;
    let (place, _, admin) = admin(&app).await;
    let short = json!({"name": "short", "expires_in_s": 60, "role": "technician"});
    let short = make(&app, &admin, short).await;
    assert_eq!(short.body["role"], "technician");
    let (parent, parent_id) = (text(&short, "key"), text(&short, "id"));
    for wish in [json!({"name": "child"}), json!({"name": "child", "expires_in_s": 3600})] {
        let child = make(&app, &parent, wish).await;
        assert_eq!(child.body["expires_at"], short.body["expires_at"]);
        assert_eq!(child.body["role"], "technician");
        assert_eq!(child.body["created_by"], "ann@acme.example", "the person is named");
        assert_eq!(child.body["parent_id"], parent_id.as_str());
    }
    let higher = json!({"name": "higher", "role": "admin"});
    let answer = app.by_key(&parent, "POST", "/api-keys", Some(&higher)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let site = json!({"name": "site", "site_id": place.site.0});
    let site = text(&make(&app, &parent, site).await, "key");
    let wider = json!({"name": "wider", "partner_id": place.partner.0});
    let wider = make(&app, &site, wider).await;
    assert_eq!(wider.body["scope"], "site", "naming the partner widens nothing");
    assert!(works(&app, &site).await);
    let path = format!("/api-keys/{parent_id}");
    assert_eq!(app.by_key(&admin, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert!(!works(&app, &site).await && !works(&app, &text(&wider, "key")).await);
}

#[tokio::test]
async fn a_technician_revokes_own_and_lesser_keys_only() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let (_, admins) = app.key("admin", scope).await;
    let (_, viewers) = app.key("viewer", scope).await;
    let (technician, own) = app.key("technician", scope).await;
    let revoke = async |id: Uuid| {
        app.by_key(&technician, "DELETE", &format!("/api-keys/{id}"), None).await.status
    };
    assert_eq!(revoke(admins).await, StatusCode::FORBIDDEN);
    assert_eq!(revoke(viewers).await, StatusCode::NO_CONTENT);
    assert_eq!(revoke(own).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn requests_of_one_person_wait_behind_their_own_and_hold_up_nobody_else() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let ann = app.user("ann@acme.example", "correct horse battery", "viewer", scope).await;
    let ((busy, _), (other, _)) =
        (app.key_of(ann, "viewer", scope).await, app.key("viewer", scope).await);
    let at_work = app.state.shares.take(Sender { person: ann, by_key: false }).await.unwrap();
    let mut asked = std::pin::pin!(app.by_key(&busy, "GET", "/sites", None));
    while app.state.shares.waiting() == 0 {
        tokio::select! {
            _ = &mut asked => panic!("a second request at once was worked on"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(works(&app, &other).await);
    drop(at_work);
    assert_eq!(asked.await.status, StatusCode::OK);
}

#[tokio::test]
async fn keys_of_one_person_share_what_the_person_may() {
    let app = TestApp::with(Config { requests_per_second: 1, ..Config::default() }).await;
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let ann = app.user("ann@acme.example", "correct horse battery", "viewer", scope).await;
    let (other, _) = app.key("viewer", scope).await;
    while app.state.limits.request(Sender { person: ann, by_key: true }).is_ok() {}
    let mut refused = false;
    for _ in 0..5 {
        let (key, _) = app.key_of(ann, "viewer", scope).await;
        let answer = app.by_key(&key, "GET", "/sites", None).await;
        refused |= answer.status == StatusCode::TOO_MANY_REQUESTS;
    }
    assert!(refused, "a fresh key is no fresh allowance");
    assert!(works(&app, &other).await);
}

#[tokio::test]
async fn a_key_that_asks_much_and_dribbles_is_revoked_by_its_person() {
    let app = TestApp::with(Config { requests_per_second: 2, ..Config::default() }).await;
    let place = app.place("Acme").await;
    let (email, password) = ("ann@acme.example", "correct horse battery");
    let scope = Scope::Partner(place.partner);
    let ann = app.user(email, password, "admin", scope).await;
    let (key, id) = app.key_of(ann, "viewer", scope).await;
    let body = json!({"email": email, "password": password});
    let signed_in = app.ask("POST", "/auth/login", &[], Some(&body)).await;
    let cookies = signed_in.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap());
    let cookie = cookies.into_iter().find(|c| c.contains("_session=")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let csrf = text(&signed_in, "csrf_token");

    let mut dribbling = JoinSet::new();
    for _ in 0..5 {
        let request = Request::post(format!("{}/tasks", crate::app::API))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Body::from_stream(pending::<std::io::Result<String>>()))
            .unwrap();
        dribbling.spawn(crate::app::router(app.state.clone()).oneshot(request));
    }
    while app.state.shares.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(works(&app, &key).await, "no share is held while a body comes");
    while app.state.limits.request(Sender { person: ann, by_key: true }).is_ok() {}
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let revoked = app.ask("DELETE", &format!("/api-keys/{id}"), &headers, None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.body);
    assert!(!works(&app, &key).await);
}
