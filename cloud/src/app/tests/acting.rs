//! Acting once, leaving a trace, telling others, and failing well.

use crate::{
    audit,
    context::AppState,
    db::{Db, DbOptions, Scope},
    events::{LocalBus, NewEvent},
    features,
    testing::TestApp,
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use unifyit_protocol::{
    envelope::Decoded,
    ids::SiteId,
    link::DownRecord,
    token::{TokenKind, TokenText},
};

#[tokio::test]
async fn a_repeated_or_racing_post_acts_once_and_answers_alike() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let body = json!({"organization_id": place.organization.0, "name": "Lab"});
    let (one, two) = tokio::join!(
        app.ask("POST", "/sites", &headers, Some(&body)),
        app.ask("POST", "/sites", &headers, Some(&body)),
    );
    let three = app.ask("POST", "/sites", &headers, Some(&body)).await;
    for answer in [&one, &two, &three] {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        assert_eq!(answer.body["id"], one.body["id"]);
    }
    let sites = app.by_key(&key, "GET", "/sites", None).await;
    assert_eq!(sites.body["items"].as_array().unwrap().len(), 2, "the first and this one");
    let other = json!({"organization_id": place.organization.0, "name": "Other"});
    let misuse = app.ask("POST", "/sites", &headers, Some(&other)).await;
    assert_eq!(misuse.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_refused_act_does_not_use_up_its_key() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    let wrong = json!({"organization_id": place.site.0, "name": "Lab"});
    let refused = app.ask("POST", "/sites", &headers, Some(&wrong)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let right = json!({"organization_id": place.organization.0, "name": "Lab"});
    let done = app.ask("POST", "/sites", &headers, Some(&right)).await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.body);
}

#[tokio::test]
async fn an_agents_token_leads_to_its_relay_and_a_revoked_one_is_told_to_it() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let path = format!("/sites/{}/install-tokens", place.site);
    let body = json!({"kind": "agent", "expires_in_s": 600, "uses": 5});
    let made = app.by_key(&key, "POST", &path, Some(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let text = made.body["token"].as_str().unwrap();
    assert!(made.body["command"].as_str().unwrap().contains(text));
    let claims = TokenText::parse(text).unwrap().claims().unwrap();
    assert_eq!((claims.site, claims.uses), (place.site, 5));
    let TokenKind::Agent { relay_https, ca_fingerprint } = claims.kind else {
        panic!("an agent's token was asked for")
    };
    assert_eq!((relay_https, ca_fingerprint), (vec!["10.0.0.2:8443".to_owned()], [5; 32]));
    let listed = app.by_key(&key, "GET", &path, None).await;
    assert!(!listed.body.to_string().contains(text), "a list must not show tokens");

    let mut nudges = app.state.db.nudges();
    let token = format!("/install-tokens/{}", made.body["id"].as_str().unwrap());
    assert_eq!(app.by_key(&key, "DELETE", &token, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(nudges.try_recv().unwrap().relay, place.relay);
    assert_eq!(downlink(&app, place.site).await, [DownRecord::RevokeToken(claims.id)]);
}

#[tokio::test]
async fn a_site_without_a_relay_gets_no_agents_token() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let body = json!({"organization_id": place.organization.0, "name": "Empty"});
    let site = app.by_key(&key, "POST", "/sites", Some(&body)).await.body;
    let path = format!("/sites/{}/install-tokens", site["id"].as_str().unwrap());
    let answer = app.by_key(&key, "POST", &path, Some(&json!({"kind": "agent"}))).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.body["detail"].as_str().unwrap().contains("Install the relay first"));
    let relay = app.by_key(&key, "POST", &path, Some(&json!({"kind": "relay"}))).await;
    assert_eq!(relay.status, StatusCode::CREATED, "{}", relay.body);
}

async fn downlink(app: &TestApp, site: SiteId) -> Vec<DownRecord> {
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM downlink WHERE site_id = $1 ORDER BY seq")
            .bind(site.0)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    let record = |body: Vec<u8>| match DownRecord::decode(&body).unwrap() {
        Decoded::Known(record) => record,
        Decoded::Unknown(kind) => panic!("unknown kind {kind}"),
    };
    bodies.into_iter().map(record).collect()
}

#[tokio::test]
async fn settings_and_pin_reach_the_relay_and_the_pin_is_kept_only_hashed() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let site = format!("/sites/{}", place.site);
    let settings = json!({"collect_every_s": 3, "inventory_every_s": 120});
    app.by_key(&key, "PUT", &format!("{site}/config"), Some(&settings)).await;
    let sent = downlink(&app, place.site).await;
    let [DownRecord::Config(first)] = sent.as_slice() else { panic!("settings, not {sent:?}") };
    assert_eq!(first.device.collect_every_s, 3);
    app.by_key(&key, "PUT", &format!("{site}/ui-pin"), Some(&json!({"pin": "824193"}))).await;
    let sent = downlink(&app, place.site).await;
    // The later ones take the place of those that nobody has fetched.
    let [DownRecord::Config(second)] = sent.as_slice() else { panic!("settings, not {sent:?}") };
    assert_eq!(second.device.collect_every_s, 3);
    assert!(second.revision > first.revision);
    assert!(second.ui_pin_hash.starts_with("$argon2id$"));
    assert!(!second.ui_pin_hash.contains("824193"));
}

#[tokio::test]
async fn a_revoked_device_is_out_and_stays_in_the_books() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let device = format!("/devices/{}", place.device);
    assert_eq!(app.by_key(&key, "DELETE", &device, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(downlink(&app, place.site).await, [DownRecord::RevokeDevice(place.device)]);
    let list = app.by_key(&key, "GET", "/devices", None).await.body;
    assert_eq!(list["total"], 0);
    let revoked = app.by_key(&key, "GET", "/devices?state=revoked", None).await.body;
    assert_eq!(revoked["total"], 1);
    let timeline = app.by_key(&key, "GET", &format!("{device}/timeline"), None).await.body;
    assert_eq!(timeline["items"][0]["title"], "device.revoke");
}

#[tokio::test]
async fn the_audit_chain_shows_where_it_was_tampered_with() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    for name in ["a", "b", "c"] {
        let path = format!("/sites/{}", place.site);
        app.by_key(&key, "PATCH", &path, Some(&json!({ "name": name }))).await;
    }
    let verify = async || {
        let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
        audit::verify(&mut tx).await.unwrap()
    };
    assert_eq!(verify().await, None);
    let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
    let refused = sqlx::query("DELETE FROM audit_log").execute(&mut *tx).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    drop(tx);
    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE audit_log SET detail = 'nothing happened' WHERE seq = 2")
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(verify().await, Some((place.organization.0, 2)));
    sqlx::query("DELETE FROM audit_log WHERE seq = 2").execute(&mut owner).await.unwrap();
    assert_eq!(verify().await, Some((place.organization.0, 3)));
}

#[tokio::test]
async fn events_follow_the_commit_and_never_a_rollback() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let scope = Scope::Organization(place.partner, place.organization);
    let mut live = app.state.db.bus().subscribe();
    let event = |n: u32| NewEvent::kept(features::sites::CHANGED, scope.place(), json!({ "n": n }));

    let mut tx = app.state.db.tenant(&scope).await.unwrap();
    tx.emit(event(1));
    drop(tx);
    let mut tx = app.state.db.tenant(&scope).await.unwrap();
    tx.emit(event(2));
    tx.emit(NewEvent::passing(features::devices::CHANGED, scope.place(), json!({"n": 3})));
    tx.emit(event(4));
    assert!(live.try_recv().is_err(), "nothing is told before the commit");
    tx.commit().await.unwrap();

    let mut told = Vec::new();
    while let Ok(event) = live.try_recv() {
        let wire: Value = serde_json::from_str(&event.text).unwrap();
        told.push((wire["data"]["n"].as_u64().unwrap(), event.id.is_some()));
    }
    assert_eq!(told, [(2, true), (3, false), (4, true)]);
    let mut tx = app.state.db.tenant(&scope).await.unwrap();
    let stored: Vec<Value> = sqlx::query_scalar("SELECT payload->'n' FROM events ORDER BY id")
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    assert_eq!(stored, [json!(2), json!(4)]);
}

#[tokio::test]
async fn without_a_database_requests_are_told_to_come_back() {
    let app = TestApp::new().await;
    let (key, _) = app.key("admin", Scope::Platform).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = DbOptions {
        url: format!("postgres://unifyit_app@{closed}/none"),
        connections: 2,
        patience: Duration::from_millis(300),
    };
    let db = Db::new(&options, Arc::new(LocalBus::default())).unwrap();
    let state = AppState { db, ..app.state.clone() };
    let away = app.over(state);
    let answer = away.by_key(&key, "GET", "/sites", None).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.body.to_string().contains("postgres"), "internals stay inside");
    let request = |path: &str| {
        axum::http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap()
    };
    assert_eq!(away.send(request("/healthz")).await.status, StatusCode::OK);
    let back = away.over(app.state.clone());
    assert_eq!(back.by_key(&key, "GET", "/sites", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let app = TestApp::new().await;
    let (key, _) = app.key("admin", Scope::Platform).await;
    let huge = json!({"name": "x".repeat(2 * 1024 * 1024)});
    let answer = app.by_key(&key, "POST", "/partners", Some(&huge)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn pages_of_the_console_carry_a_strict_policy_and_find_their_way() {
    let app = TestApp::new().await;
    let request = |path: &str| {
        axum::http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap()
    };
    let page = app.send(request("/devices/anything")).await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert_eq!(app.send(request("/assets/none.js")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.send(request("/api/none")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_customers_new_name_reaches_its_relays() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let path = format!("/organizations/{}", place.organization);
    let renamed = app.by_key(&key, "PATCH", &path, Some(&json!({"name": "Apex"}))).await;
    assert_eq!(renamed.status.as_u16(), 200, "{}", renamed.body);
    let sent = downlink(&app, place.site).await;
    let [DownRecord::Config(config)] = sent.as_slice() else { panic!("settings, not {sent:?}") };
    assert_eq!(config.organization_name, "Apex");
}
