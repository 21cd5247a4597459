//! A part of the hierarchy looked at alone; relays in a list; secrets told once;
//! timelines as they grow.

use crate::{db::Scope, testing::TestApp};
use axum::http::StatusCode;
use serde_json::{Value, json};
use unifyit_protocol::ids::DeviceId;

/// A second site of a place's organization, without a relay.
async fn second_site(app: &TestApp, key: &str, organization: uuid::Uuid) -> String {
    let body = json!({"organization_id": organization, "name": "Depot"});
    let made = app.by_key(key, "POST", "/sites", Some(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_overview_of_a_part_counts_that_part_alone() {
    let app = TestApp::new().await;
    let (acme, other) = (app.place("Acme").await, app.place("Other").await);
    let (key, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    let depot = second_site(&app, &key, acme.organization.0).await;
    let counts = async |query: String| {
        let answer = app.by_key(&key, "GET", &format!("/overview{query}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        (answer.body["devices"]["total"].clone(), answer.body["sites"]["total"].clone())
    };
    assert_eq!(counts(String::new()).await, (json!(1), json!(2)));
    assert_eq!(
        counts(format!("?organization_id={}", acme.organization)).await,
        (json!(1), json!(2))
    );
    assert_eq!(counts(format!("?site_id={}", acme.site)).await, (json!(1), json!(1)));
    assert_eq!(counts(format!("?site_id={depot}")).await, (json!(0), json!(1)));
    for hidden in
        [format!("site_id={}", other.site), format!("organization_id={}", other.organization)]
    {
        let answer = app.by_key(&key, "GET", &format!("/overview?{hidden}"), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{hidden}");
    }
}

#[tokio::test]
async fn the_overview_tells_what_each_feature_finds_in_need_the_worst_first() {
    let app = TestApp::new().await;
    let acme = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    for change in [
        "UPDATE relays SET online = false",
        "UPDATE devices SET clock_ahead_ms = 7200000, computers_since = now(), computers = \
             (SELECT jsonb_agg(jsonb_build_object('id', gen_random_uuid(), 'hostname', n, 'address', '', \
                 'first', n = 'a', 'last_seen', '2026-01-01T00:00:00Z')) FROM unnest('{a,b}'::text[]) n)",
    ] {
        sqlx::query(change).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let action = json!({"kind": "script", "interpreter": "sh", "body": "true"});
    let task = json!({"targets": {"all": true}, "action": action});
    let made = app.by_key(&key, "POST", "/tasks", Some(&task)).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    let overview = app.by_key(&key, "GET", "/overview", None).await.body;
    let points = overview["attention"].as_array().unwrap();
    let told: Vec<_> = points.iter().map(|p| (p["severity"].clone(), p["kind"].clone())).collect();
    let point = |severity: &str, kind: &str| (json!(severity), json!(kind));
    let expected = [
        point("critical", "site_unreachable"),
        point("critical", "identity_shared"),
        point("warning", "clock_wrong"),
    ];
    assert_eq!(told, expected);
    let document = serde_json::to_value(crate::app::openapi()).unwrap();
    let kinds =
        &document["components"]["schemas"]["Attention"]["properties"]["kind"]["description"];
    for (_, kind) in told {
        let named = format!("`{}`", kind.as_str().unwrap());
        assert!(kinds.as_str().unwrap().contains(&named), "{named} stands in no document: {kinds}");
    }
    assert_eq!(overview["tasks_running"], 1);
    assert_eq!(overview["sites"]["unreachable"], 1);
    assert_eq!(overview["devices"]["unreachable"], 1);
}

#[tokio::test]
async fn naming_ones_partner_does_not_widen_ones_scope() {
    let app = TestApp::new().await;
    let acme = app.place("Acme").await;
    let (admin, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    second_site(&app, &admin, acme.organization.0).await;
    let (narrow, _) =
        app.key("admin", Scope::Site(acme.partner, acme.organization, acme.site)).await;
    let path = format!("/overview?partner_id={}", acme.partner);
    let answer = app.by_key(&narrow, "GET", &path, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["sites"]["total"], 1);
}

#[tokio::test]
async fn the_audit_log_of_a_part_shows_what_was_done_there() {
    let app = TestApp::new().await;
    let acme = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    let depot = second_site(&app, &key, acme.organization.0).await;
    let rename = json!({"name": "Depot 2"});
    app.by_key(&key, "PATCH", &format!("/sites/{depot}"), Some(&rename)).await;
    let actions = async |query: String| {
        let answer = app.by_key(&key, "GET", &format!("/audit?{query}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let items = answer.body["items"].as_array().unwrap().clone();
        items.iter().map(|i| i["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(actions(format!("site_id={depot}")).await.contains(&"site.update".to_owned()));
    assert!(actions(format!("site_id={}", acme.site)).await.is_empty());
}

#[tokio::test]
async fn relays_are_listed_with_their_site_until_they_are_revoked() {
    let app = TestApp::new().await;
    let acme = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    second_site(&app, &key, acme.organization.0).await;
    let listed = app.by_key(&key, "GET", "/relays", None).await;
    let items = listed.body["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{}", listed.body);
    assert_eq!(items[0]["id"], json!(acme.relay));
    assert_eq!(items[0]["site_id"], json!(acme.site));
    assert_eq!(items[0]["state"], "healthy");
    assert!(items[0]["backlog_records"].is_u64());
    app.by_key(&key, "DELETE", &format!("/relays/{}", acme.relay), None).await;
    let listed = app.by_key(&key, "GET", "/relays", None).await;
    assert_eq!(listed.body["items"], json!([]));
}

#[tokio::test]
async fn a_tokens_text_is_told_once_and_stored_nowhere() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "line")];
    let path = format!("/sites/{}/install-tokens", place.site);
    let body = json!({"kind": "agent"});
    let made = app.ask("POST", &path, &headers, Some(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let text = made.body["token"].as_str().unwrap();
    let again = app.ask("POST", &path, &headers, Some(&body)).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body["detail"].as_str().unwrap().contains("told only once"), "{}", again.body);
    assert!(!again.body["request_id"].as_str().unwrap().is_empty(), "{}", again.body);
    let mut owner = app.test.owner().await;
    let kept: Vec<Option<Value>> = sqlx::query_scalar("SELECT body FROM idempotency_keys")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert!(kept.iter().flatten().all(|body| !body.to_string().contains(text)));
    let listed = app.by_key(&key, "GET", &path, None).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1, "it was made once");
}

#[tokio::test]
async fn what_joins_a_timeline_is_told_as_it_stands_there() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let mut live = app.state.db.bus().subscribe();
    let script = json!({"targets": {"device_ids": [place.device.0]}, "expires_in_s": 60, "name": "Say hi",
        "action": {"kind": "script", "interpreter": "sh", "body": "echo hi"}});
    let made = app.by_key(&key, "POST", "/tasks", Some(&script)).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    let renamed = json!({"name": "front desk"});
    app.by_key(&key, "PATCH", &format!("/devices/{}", place.device), Some(&renamed)).await;
    let mut told = Vec::new();
    while let Ok(event) = live.try_recv() {
        let wire: Value = serde_json::from_str(&event.text).unwrap();
        if wire["kind"] == "timeline.added" {
            told.push(wire["data"].clone());
        }
    }
    let overview = app.by_key(&key, "GET", "/overview", None).await.body;
    let mut recent: Vec<Value> = overview["recent"].as_array().unwrap().clone();
    recent.reverse();
    assert_eq!(told.len(), 2, "{told:?}");
    for (event, item) in told.iter().zip(&recent) {
        for field in ["kind", "title", "detail", "ref"] {
            assert_eq!(event[field], item[field], "{field} of {event}");
        }
    }
    assert_eq!(told[0]["detail"], "1 device");
}

#[tokio::test]
async fn a_timeline_in_pages_has_each_item_once_at_its_own_time() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let mut owner = app.test.owner().await;
    // Written in this order; some of one moment, some told long after they happened.
    for (n, minutes) in [30, 5, 5, 20, 5, 40, 1].into_iter().enumerate() {
        let actor = if minutes == 5 { "x" } else { "relay" };
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO audit_log (id, partner_id, organization_id, site_id, device_id, at, actor, action, target, \
                 chain_id, seq, prev_hash, hash) \
             VALUES ('{}', '{}', '{}', '{}', '{}', date_trunc('hour', now()) - interval '{minutes} minutes', '{actor}', \
                 'n{n}', 'x', gen_random_uuid(), 0, '', '')",
            uuid::Uuid::now_v7(), place.partner, place.organization, place.site, place.device
        )))
        .execute(&mut owner)
        .await
        .unwrap();
    }
    sqlx::query(
        "INSERT INTO presence_log (partner_id, organization_id, site_id, device_id, online, at) \
         SELECT partner_id, organization_id, site_id, device_id, true, at FROM audit_log WHERE action = 'n1'",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let walk = async |limit: usize| {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/devices/{}/timeline?limit={limit}&cursor={cursor}", place.device);
            let page = app.by_key(&key, "GET", &path, None).await.body;
            items.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) if items.len() < 20 => cursor = next.to_owned(),
                _ => return items,
            }
        }
    };
    let all = walk(100).await;
    let titles: Vec<&str> = all.iter().map(|i| i["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["n6", "Connected", "n4", "n2", "n1", "n3", "n0", "n5"]);
    for limit in [1, 2, 3] {
        assert_eq!(walk(limit).await, all, "in pages of {limit}");
    }
}

#[tokio::test]
async fn computers_that_come_or_join_together_are_one_item() {
    let app = TestApp::new().await;
    let acme = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(acme.partner)).await;
    let mut owner = app.test.owner().await;
    let id = |till: u128| DeviceId(uuid::Uuid::from_u128(till));
    for till in 1..=5 {
        app.device(&acme, id(till), &format!("till-{till}")).await;
    }
    // One comes alone; four go in one stretch of ten minutes, one of them twice.
    for (till, online, at) in [
        (1, true, "00:00:30"),
        (2, false, "00:11:00"),
        (3, false, "00:12:00"),
        (4, false, "00:13:00"),
        (5, false, "00:14:00"),
        (2, false, "00:15:00"),
    ] {
        sqlx::query(
            "INSERT INTO presence_log (partner_id, organization_id, site_id, device_id, online, address, at) \
             VALUES ($1, $2, $3, $4, $5, '10.0.0.7', \
                 date_bin('10 minutes', now() - interval '2 hours', 'epoch') + $6::text::interval)",
        )
        .bind(acme.partner.0)
        .bind(acme.organization.0)
        .bind(acme.site.0)
        .bind(id(till).0)
        .bind(online)
        .bind(at)
        .execute(&mut owner)
        .await
        .unwrap();
    }
    for till in 1..=5 {
        sqlx::query(
            "INSERT INTO audit_log (id, partner_id, organization_id, site_id, device_id, at, actor, action, \
                 target, chain_id, seq, prev_hash, hash) \
             VALUES ($1, $2, $3, $4, $5, now() - interval '1 day', 'relay', 'device.enroll', \
                 'device till-' || $6, $1, 1, '', '')",
        )
        .bind(uuid::Uuid::now_v7())
        .bind(acme.partner.0)
        .bind(acme.organization.0)
        .bind(acme.site.0)
        .bind(id(till).0)
        .bind(till.to_string())
        .execute(&mut owner)
        .await
        .unwrap();
    }
    let overview = app.by_key(&key, "GET", "/overview", None).await.body;
    let told: Vec<_> = overview["recent"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["kind"] == "connection" || item["title"] == "device.enroll")
        .map(|item| [&item["title"], &item["detail"], &item["ref"]["kind"]].map(Value::clone))
        .collect();
    let expected = [
        ["Disconnected", "4 devices: till-2, till-3, till-4, …", "site"],
        ["Connected", "From 10.0.0.7", "device"],
        ["device.enroll", "5 devices: till-1, till-2, till-3, …", "site"],
    ];
    assert_eq!(told, expected.map(|texts| texts.map(Value::from)));
}
