//! Signing in, staying signed in, and what a cookie alone cannot do.

use crate::{
    config::Config,
    db::Scope,
    features::users::bootstrap,
    testing::{Answer, TestApp},
};
use axum::http::StatusCode;
use serde_json::json;
use std::net::IpAddr;

const PASSWORD: &str = "correct horse battery";

/// Every test client comes "from" the unspecified address; trusting it as a
/// proxy lets tests choose an address by header.
fn config(logins_per_minute: u32) -> Config {
    Config {
        logins_per_minute,
        trusted_proxies: vec![IpAddr::from([0, 0, 0, 0])],
        ..Config::default()
    }
}

async fn login(app: &TestApp, from: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    app.ask("POST", "/auth/login", &[("x-forwarded-for", from)], Some(&body)).await
}

/// Cookie and CSRF token of a fresh session.
async fn session(app: &TestApp, email: &str) -> (String, String) {
    let answer = login(app, "10.0.0.1", email, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let pair = cookie.split(';').next().unwrap().to_owned();
    (pair, answer.body["csrf_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_session_lasts_until_sign_out_and_its_cookie_is_guarded() {
    let app =
        TestApp::with(Config { public_url: "https://rmm.example".into(), ..config(10) }).await;
    let place = app.place("Acme").await;
    app.user("Ann@acme.example", PASSWORD, "admin", Scope::Partner(place.partner)).await;
    let answer = login(&app, "10.0.0.1", "ann@ACME.example", PASSWORD).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{part} is missing in {cookie}");
    }
    assert!(answer.headers.contains_key("strict-transport-security"));
    assert_eq!(answer.body["user"]["scope"]["name"], "Acme");

    let (cookie, csrf) = session(&app, "ann@acme.example").await;
    let known = app.ask("GET", "/auth/session", &[("cookie", &cookie)], None).await;
    assert_eq!(known.body["csrf_token"], csrf.as_str());
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let out = app.ask("POST", "/auth/logout", &headers, None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let after = app.ask("GET", "/auth/session", &[("cookie", &cookie)], None).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_cookie_without_the_csrf_token_changes_nothing() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    app.user("ann@acme.example", PASSWORD, "admin", Scope::Partner(place.partner)).await;
    let (cookie, csrf) = session(&app, "ann@acme.example").await;
    let body = json!({"name": "New"});
    for (token, expected) in [
        (None, StatusCode::FORBIDDEN),
        (Some("wrong"), StatusCode::FORBIDDEN),
        (Some(csrf.as_str()), StatusCode::CREATED),
    ] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(token.map(|t| ("x-csrf-token", t)));
        let answer = app.ask("POST", "/organizations", &headers, Some(&body)).await;
        assert_eq!(answer.status, expected, "with token {token:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_socket_from_another_site_is_refused() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    app.user("ann@acme.example", PASSWORD, "admin", Scope::Partner(place.partner)).await;
    let (cookie, _) = session(&app, "ann@acme.example").await;
    let socket = |origin: Option<&'static str>| {
        let mut headers = vec![
            ("cookie", cookie.as_str()),
            ("host", "rmm.example"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(origin.map(|o| ("origin", o)));
        headers
    };
    for origin in
        [None, Some("https://evil.example"), Some("null"), Some("https://rmm.example.evil")]
    {
        let answer = app.ask("GET", "/events", &socket(origin), None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(answer.body["type"], "urn:unifyit:origin");
    }
    // In-process there is nothing to upgrade; what matters is that the origin passed.
    let answer = app.ask("GET", "/events", &socket(Some("https://rmm.example")), None).await;
    assert_ne!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn guessing_is_stopped_by_address_and_by_account() {
    let app = TestApp::with(config(3)).await;
    let place = app.place("Acme").await;
    for email in ["ann@acme.example", "bob@acme.example"] {
        app.user(email, PASSWORD, "viewer", Scope::Partner(place.partner)).await;
    }
    for n in 0..3 {
        let answer = login(&app, "10.0.0.1", &format!("nobody{n}@x.example"), "guess").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let by_address = login(&app, "10.0.0.1", "ann@acme.example", PASSWORD).await;
    assert_eq!(by_address.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(by_address.headers.contains_key("retry-after"));
    for n in 0..3 {
        login(&app, &format!("10.0.1.{n}"), "bob@acme.example", "guess").await;
    }
    let by_account = login(&app, "10.0.2.1", "BOB@acme.example", PASSWORD).await;
    assert_eq!(by_account.status, StatusCode::TOO_MANY_REQUESTS);
    let other = login(&app, "10.0.2.2", "ann@acme.example", PASSWORD).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_look_the_same() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    app.user("ann@acme.example", PASSWORD, "viewer", Scope::Partner(place.partner)).await;
    let mut answers = Vec::new();
    for email in ["ann@acme.example", "nobody@acme.example"] {
        let mut answer = login(&app, "10.0.0.1", email, "wrong").await;
        answer.body["request_id"] = json!(null);
        answers.push((answer.status, answer.body));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    app.user("ann@acme.example", PASSWORD, "viewer", Scope::Partner(place.partner)).await;
    let (old, _) = session(&app, "ann@acme.example").await;
    let (cookie, csrf) = session(&app, "ann@acme.example").await;
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let short = json!({"current": PASSWORD, "new": "short"});
    let answer = app.ask("POST", "/auth/password", &headers, Some(&short)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let good = json!({"current": PASSWORD, "new": "another long password"});
    let answer = app.ask("POST", "/auth/password", &headers, Some(&good)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let mine = app.ask("GET", "/auth/session", &[("cookie", &cookie)], None).await;
    assert_eq!(mine.status, StatusCode::OK);
    let other = app.ask("GET", "/auth/session", &[("cookie", &old)], None).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let app = TestApp::with(config(10)).await;
    let make = |email: &'static str| {
        let db = app.state.db.clone();
        async move { bootstrap::run(&db, email, PASSWORD.to_owned().into(), "First").await }
    };
    let (one, two) = tokio::join!(make("a@first.example"), make("b@first.example"));
    assert_ne!(one.is_ok(), two.is_ok(), "exactly one of two racing runs must win");
    let again = make("c@first.example").await.unwrap_err();
    assert!(again.to_string().contains("Nothing was changed"), "{again}");
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_refused() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (admin, admin_id) = app.key("admin", Scope::Partner(place.partner)).await;
    let body = json!({"name": "ci", "expires_in_s": 3600});
    let made = app.by_key(&admin, "POST", "/api-keys", Some(&body)).await;
    let key = made.body["key"].as_str().unwrap().to_owned();
    assert_eq!(app.by_key(&key, "GET", "/sites", None).await.status, StatusCode::OK);
    let listed = app.by_key(&admin, "GET", "/api-keys", None).await;
    assert!(!listed.body.to_string().contains(&key), "a list must not show keys");

    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE api_keys SET expires_at = now() WHERE id <> $1")
        .bind(admin_id)
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(app.by_key(&key, "GET", "/sites", None).await.status, StatusCode::UNAUTHORIZED);
    let own = format!("/api-keys/{admin_id}");
    assert_eq!(app.by_key(&admin, "DELETE", &own, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(app.by_key(&admin, "GET", "/sites", None).await.status, StatusCode::UNAUTHORIZED);
}
