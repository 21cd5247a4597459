//! What somebody who only looks is not shown, and what nobody is.

use crate::{
    app::FEATURES,
    audit,
    authz::Role,
    db::Scope,
    feature::{self, Feature},
    testing::TestApp,
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SECRET: &str = "hunter2-of-the-database";
const BODY: &str = "mysql -pTOPSECRET";

#[tokio::test]
async fn a_viewer_reads_neither_audit_nor_scripts_and_nobody_reads_an_environment() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let scope = Scope::Partner(place.partner);
    let (technician, _) = app.key("technician", scope).await;
    let (viewer, _) = app.key("viewer", scope).await;
    let device = place.device.0;
    let mut live = app.state.db.bus().subscribe();
    let task = json!({"targets": {"device_ids": [device]}, "action": {"kind": "script",
        "interpreter": "sh", "body": BODY, "args": ["an-argument"], "env": {"DB_PASSWORD": SECRET}}});
    let made = app.by_key(&technician, "POST", "/tasks", Some(&task)).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    let rename = json!({"name": "renamed"});
    app.by_key(&technician, "PATCH", &format!("/devices/{device}"), Some(&rename)).await;

    let id = made.body["id"].as_str().unwrap();
    let pages = [
        format!("/tasks/{id}"),
        "/tasks".into(),
        format!("/devices/{device}/tasks"),
        "/overview".into(),
        format!("/devices/{device}/timeline"),
    ];
    for path in &pages {
        let seen = app.by_key(&viewer, "GET", path, None).await;
        assert_eq!(seen.status, StatusCode::OK, "{path}: {}", seen.body);
        let seen = seen.body.to_string();
        for hidden in ["TOPSECRET", "an-argument", "DB_PASSWORD", SECRET, "device.update"] {
            assert!(!seen.contains(hidden), "a viewer is shown {hidden} on {path}: {seen}");
        }
        let seen = app.by_key(&technician, "GET", path, None).await.body.to_string();
        assert!(!seen.contains(SECRET), "the environment is shown on {path}");
    }
    let whole = app.by_key(&technician, "GET", &pages[0], None).await.body;
    assert_eq!(whole["action"]["body"], BODY);
    assert_eq!(whole["action"]["env_names"], json!(["DB_PASSWORD"]));
    let overview = app.by_key(&technician, "GET", "/overview", None).await.body.to_string();
    assert!(overview.contains("device.update"), "{overview}");

    let mut told = 0;
    while let Ok(event) = live.try_recv() {
        let to_viewers = event.needs.by(Role::Viewer, &scope);
        assert!(!event.text.contains(SECRET), "{}", event.text);
        let audit = event.text.contains("device.update") || event.text.contains("task.create");
        assert_eq!(audit, event.needs == audit::READ_AUDIT, "{}", event.text);
        assert!(!(to_viewers && event.text.contains("TOPSECRET")), "{}", event.text);
        told += usize::from(audit);
    }
    assert!(told >= 3, "audit and timeline are told to who may read them");
}

#[tokio::test]
async fn an_environment_is_kept_in_the_signed_command_alone() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let task = json!({"targets": {"device_ids": [place.device.0]}, "action": {"kind": "script",
        "interpreter": "sh", "body": "true", "env": {"TOKEN": SECRET}}});
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let made = app.ask("POST", "/tasks", &headers, Some(&task)).await;
    assert_eq!(made.status, StatusCode::ACCEPTED);
    let mut owner = app.test.owner().await;
    for table in ["tasks", "events", "audit_log", "idempotency_keys", "task_targets"] {
        let text: Vec<Value> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT to_jsonb(t) FROM {table} t")))
                .fetch_all(&mut owner)
                .await
                .unwrap();
        assert!(!text.is_empty(), "{table} is empty");
        assert!(!json!(text).to_string().contains(SECRET), "{table} holds the secret");
    }
}

#[test]
fn every_kind_is_read_back_as_itself_by_whoever_may() {
    let mut words = BTreeSet::new();
    for Feature { name, kinds, probes, .. } in FEATURES {
        let own: Vec<_> = kinds.iter().map(|kind| (kind.as_str(), kind.needs().as_str())).collect();
        assert_eq!(own, probes.kinds, "features/{name}/probes.rs says who hears of its events");
        for (word, needs) in own {
            let kind = feature::kind(FEATURES, word);
            assert_eq!(
                kind.map(|kind| (kind.as_str(), kind.needs().as_str())),
                Some((word, needs))
            );
            assert!(words.insert(word), "{word} is one feature's");
        }
    }
    assert_eq!(feature::kind(FEATURES, "of.tomorrow"), None);
}
