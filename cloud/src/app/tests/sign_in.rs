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
        trusted_proxies: [IpAddr::from([0, 0, 0, 0])].into_iter().collect(),
        ..Config::default()
    }
}

async fn login(app: &TestApp, from: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    app.ask("POST", "/auth/login", &[("x-forwarded-for", from)], Some(&body)).await
}

/// The cookie of a name that an answer sets.
fn set_cookie(answer: &Answer, name: &str) -> String {
    let set = answer.headers.get_all("set-cookie").iter().filter_map(|c| c.to_str().ok());
    set.into_iter().find(|c| c.contains(name)).expect("a cookie").to_owned()
}

/// Cookie and CSRF token of a fresh session.
async fn session(app: &TestApp, email: &str) -> (String, String) {
    let answer = login(app, "10.0.0.1", email, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let pair = set_cookie(&answer, "_session=").split(';').next().unwrap().to_owned();
    (pair, answer.body["csrf_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_session_lasts_until_sign_out_and_its_cookie_is_guarded() {
    let app =
        TestApp::with(Config { public_url: "https://rmm.example".into(), ..config(10) }).await;
    let place = app.place("Acme").await;
    app.user("Ann@acme.example", PASSWORD, "admin", Scope::Partner(place.partner)).await;
    let answer = login(&app, "10.0.0.1", "ann@ACME.example", PASSWORD).await;
    let cookie = set_cookie(&answer, "_session=");
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{part} is missing in {cookie}");
    }
    assert!(answer.headers.contains_key("strict-transport-security"));
    assert_eq!(answer.body["user"]["scope"]["name"], "Acme");

    assert!(cookie.starts_with("__Host-unifyit_session="), "a sibling host could plant {cookie}");
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
    let url = "https://rmm.example".to_owned();
    let app = TestApp::with(Config { public_url: url, ..config(10) }).await;
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
    for origin in [None, Some("https://evil.example"), Some("null"), Some("http://rmm.example")] {
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
    let after = by_address.headers["retry-after"].to_str().unwrap();
    assert!(after != "0" && after.parse::<u64>().unwrap() <= 60, "{after}");
    let said = by_address.body["detail"].as_str().unwrap();
    assert!(said.contains(&format!("Wait {after} seconds")), "{said}");
    // One address alone never uses up what an account allows.
    for n in 0..15 {
        let answer = login(&app, &format!("10.0.1.{n}"), "bob@acme.example", "guess").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "attempt {n}");
    }
    // Where guesses take long, some of them are regained meanwhile.
    let mut refused = false;
    for n in 0..50 {
        let (guesses, owns) = (format!("10.0.2.{n}"), format!("10.0.3.{n}"));
        login(&app, &guesses, "bob@acme.example", "guess").await;
        let by_account = login(&app, &owns, "BOB@acme.example", PASSWORD).await;
        refused = by_account.status == StatusCode::TOO_MANY_REQUESTS;
        if refused {
            break;
        }
    }
    assert!(refused, "who guesses from many addresses is never stopped");
    let other = login(&app, "10.0.4.1", "ann@acme.example", PASSWORD).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stranger_who_guesses_locks_nobody_out_who_signed_in_before() {
    let app = TestApp::with(config(3)).await;
    let place = app.place("Acme").await;
    for email in ["ann@acme.example", "bob@acme.example"] {
        app.user(email, PASSWORD, "viewer", Scope::Partner(place.partner)).await;
    }
    let proof =
        |answer: &Answer| set_cookie(answer, "_browser=").split(';').next().unwrap().to_owned();
    let ann = proof(&login(&app, "10.0.0.1", "ann@acme.example", PASSWORD).await);
    for n in 0..20 {
        login(&app, &format!("10.0.1.{n}"), "ann@acme.example", "guess").await;
    }
    let again = async |from: &str, cookie: &str| {
        let body = json!({"email": "ann@acme.example", "password": PASSWORD});
        let headers = [("x-forwarded-for", from), ("cookie", cookie)];
        app.ask("POST", "/auth/login", &headers, Some(&body)).await.status
    };
    assert_eq!(again("10.0.0.7", "a=b").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(again("10.0.0.7", &ann).await, StatusCode::OK);
    let bob = proof(&login(&app, "10.0.0.2", "bob@acme.example", PASSWORD).await);
    assert_eq!(again("10.0.0.8", &bob).await, StatusCode::TOO_MANY_REQUESTS, "another account's");
}

#[tokio::test]
async fn trying_one_password_at_everybody_from_everywhere_is_bounded() {
    let app = TestApp::with(config(1)).await;
    let mut let_through = 0;
    for n in 0..60 {
        let email = format!("somebody{n}@acme.example");
        let answer = login(&app, &format!("10.0.1.{n}"), &email, "Winter2026!").await;
        let_through += u32::from(answer.status == StatusCode::UNAUTHORIZED);
    }
    assert!((20..=40).contains(&let_through), "{let_through} of 60 were tried");
}

#[tokio::test]
async fn a_refused_sign_in_does_not_wait_for_its_audit_row() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    app.user("ann@acme.example", PASSWORD, "viewer", Scope::Partner(place.partner)).await;
    let mut owner = app.test.owner().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE audit_log IN EXCLUSIVE MODE")
        .execute(&mut owner)
        .await
        .unwrap();
    let answer = login(&app, "10.0.0.1", "ann@acme.example", "wrong");
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await;
    assert_eq!(answer.expect("no waiting for the log").status, StatusCode::UNAUTHORIZED);
    sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let written: i64 =
            sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = 'user.login_failed'")
                .fetch_one(&mut owner)
                .await
                .unwrap();
        if written == 1 {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the refusal was never written");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
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
async fn a_changed_password_ends_the_other_sessions_and_no_key() {
    let app = TestApp::with(config(10)).await;
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let ann = app.user("ann@acme.example", PASSWORD, "viewer", scope).await;
    let (key, _) = app.key_of(ann, "viewer", scope).await;
    let (old, _) = session(&app, "ann@acme.example").await;
    let (cookie, csrf) = session(&app, "ann@acme.example").await;
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let short = json!({"current": PASSWORD, "new": "short"});
    let answer = app.ask("POST", "/auth/password", &headers, Some(&short)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    for (new, why) in [("password12", "easy to guess"), (PASSWORD, "present one")] {
        let body = json!({"current": PASSWORD, "new": new});
        let answer = app.ask("POST", "/auth/password", &headers, Some(&body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{new}");
        assert!(answer.body["detail"].as_str().unwrap().contains(why), "{}", answer.body);
    }
    let good = json!({"current": PASSWORD, "new": "another long password"});
    let answer = app.ask("POST", "/auth/password", &headers, Some(&good)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let mine = app.ask("GET", "/auth/session", &[("cookie", &cookie)], None).await;
    assert_eq!(mine.status, StatusCode::OK);
    let other = app.ask("GET", "/auth/session", &[("cookie", &old)], None).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    // As the API's document says.
    assert_eq!(app.by_key(&key, "GET", "/sites", None).await.status, StatusCode::OK);
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
