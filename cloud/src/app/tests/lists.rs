//! Lists: every row once, in order, whatever the order; filters and counts agree.

use crate::{config::Config, db::Scope, testing::TestApp};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use unifyit_protocol::ids::DeviceId;

/// 23 devices, many alike, so that ties must be broken by id.
async fn fleet(app: &TestApp) -> (String, usize) {
    let place = app.place("Acme").await;
    for n in 0..22 {
        app.device(&place, DeviceId::generate(), &format!("pc-{}", n % 5)).await;
    }
    let mut owner = app.test.owner().await;
    sqlx::query(
        "UPDATE devices SET cpu_pct = (ascii(right(hostname, 1)) % 3) * 48, online = right(hostname, 1) <> '2', \
         tags = CASE WHEN right(hostname, 1) = '3' THEN ARRAY['lab'] ELSE '{}' END \
         WHERE hostname LIKE 'pc-%'",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    (app.key("viewer", Scope::Partner(place.partner)).await.0, 23)
}

#[tokio::test]
async fn pages_give_every_device_once_under_every_order() {
    let app = TestApp::new().await;
    let (key, total) = fleet(&app).await;
    for field in [
        "name",
        "hostname",
        "last_seen",
        "state",
        "os_name",
        "site_name",
        "organization_name",
        "cpu_pct",
        "memory_pct",
        "disk_pct",
        "agent_version",
        "address",
        "arch",
        "enrolled_at",
    ] {
        for sign in ["", "-"] {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/devices?limit=4&sort={sign}{field}&cursor={cursor}");
                let answer = app.by_key(&key, "GET", &path, None).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
                assert_eq!(answer.body["total"], total);
                seen.extend(answer.body["items"].as_array().unwrap().clone());
                match answer.body["next_cursor"].as_str() {
                    Some(next) => cursor = next.to_owned(),
                    None => break,
                }
                assert!(seen.len() <= total, "{sign}{field} repeats rows");
            }
            let ids: BTreeSet<&str> = seen.iter().map(|d| d["id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), total, "{sign}{field} loses rows");
            assert_eq!(seen.len(), total, "{sign}{field} repeats rows");
            if field == "cpu_pct" {
                let values: Vec<f64> =
                    seen.iter().map(|d| d["cpu_pct"].as_f64().unwrap_or(-1.0)).collect();
                let sorted = if sign.is_empty() {
                    values.is_sorted()
                } else {
                    values.iter().rev().is_sorted()
                };
                assert!(sorted, "{sign}{field}: {values:?}");
            }
        }
    }
}

/// All pages of a list, one after the other; each says the same total.
async fn walk(app: &TestApp, key: &str, query: &str) -> (Vec<Value>, i64) {
    let (mut seen, mut cursor, mut totals) = (Vec::new(), String::new(), BTreeSet::new());
    loop {
        let path = format!("/devices?limit=2&{query}&cursor={cursor}");
        let answer = app.by_key(key, "GET", &path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        totals.insert(answer.body["total"].as_i64().unwrap());
        seen.extend(answer.body["items"].as_array().unwrap().clone());
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(totals.len(), 1, "{query}: {totals:?}");
    (seen, totals.pop_first().unwrap())
}

/// Few matches and many are found in different ways; neither shows in the answer.
#[tokio::test]
async fn a_filtered_list_is_the_whole_list_without_the_rest() {
    let app = TestApp::with(Config { requests_per_second: 1_000, ..Config::default() }).await;
    let (key, _) = fleet(&app).await;
    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE devices SET revoked_at = now() WHERE hostname = 'pc-3'")
        .execute(&mut owner)
        .await
        .unwrap();
    let everything = "state=online,offline,unreachable,revoked";
    for relays in ["true", "false"] {
        let set = format!("UPDATE relays SET online = {relays}");
        sqlx::query(sqlx::AssertSqlSafe(set)).execute(&mut owner).await.unwrap();
        for sort in
            ["name", "-name", "-cpu_pct", "state", "-state", "site_name", "-organization_name"]
        {
            let (all, _) = walk(&app, &key, &format!("{everything}&sort={sort}")).await;
            assert!(all.len() > 8, "{}", all.len());
            for states in [
                "online",
                "offline",
                "unreachable",
                "revoked",
                "online,offline",
                "online,unreachable",
                "offline,unreachable",
                "online,revoked",
                "offline,unreachable,revoked",
            ] {
                let query = format!("state={states}&sort={sort}");
                let (found, total) = walk(&app, &key, &query).await;
                let expected: Vec<&Value> = all
                    .iter()
                    .filter(|d| states.split(',').any(|state| d["state"] == state))
                    .collect();
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}, relays {relays}");
                assert_eq!(total, i64::try_from(expected.len()).unwrap(), "{query}");
            }
            for (word, query) in [
                ("pc-1", "q=pc-1"),
                ("pc-4", "q=pc-4"),
                ("debian", "q=debian"),
                ("debian", "os=Debian"),
                ("pc-1", "q=pc-1&os=Debian"),
            ] {
                // Without a word about states, all but what was put out.
                for (states, revoked) in [(everything, true), ("state=", false)] {
                    let query = format!("{query}&{states}&sort={sort}");
                    let (found, _) = walk(&app, &key, &query).await;
                    let holds = |d: &&Value| {
                        d.to_string().to_lowercase().contains(word)
                            && (revoked || d["state"] != "revoked")
                    };
                    let expected: Vec<&Value> = all.iter().filter(holds).collect();
                    assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
                }
            }
        }
    }
}

#[tokio::test]
async fn filters_totals_and_facets_agree() {
    let app = TestApp::new().await;
    let (key, total) = fleet(&app).await;
    let facets = app.by_key(&key, "GET", "/devices/facets", None).await.body;
    let offline = facets["state"]["offline"].as_i64().unwrap();
    assert!(offline > 0);
    let answer = app.by_key(&key, "GET", "/devices?state=offline", None).await.body;
    assert_eq!(answer["total"], offline);
    assert!(answer["items"].as_array().unwrap().iter().all(|d| d["state"] == "offline"));
    // A facet leaves out its own filter and keeps the others.
    let again = app.by_key(&key, "GET", "/devices/facets?state=offline", None).await.body;
    assert_eq!(again["state"], facets["state"]);
    assert_eq!(again["os"]["Debian"], offline);

    let by_tag = app.by_key(&key, "GET", "/devices?tag=lab", None).await.body["total"].clone();
    let by_word = app.by_key(&key, "GET", "/devices?q=LAB", None).await.body["total"].clone();
    assert_eq!(by_tag, by_word);
    let words = app.by_key(&key, "GET", "/devices?q=pc-1%20debian", None).await.body;
    assert!(words["items"].as_array().unwrap().iter().all(|d| d["name"] == "pc-1"));

    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE relays SET online = false").execute(&mut owner).await.unwrap();
    let away = app.by_key(&key, "GET", "/devices/facets", None).await.body;
    assert_eq!(away["state"]["unreachable"], total, "behind an absent relay nothing is known");
}

#[tokio::test]
async fn what_is_no_page_or_filter_is_refused_with_a_sentence() {
    let app = TestApp::new().await;
    let (key, _) = fleet(&app).await;
    for (path, status) in [
        ("/devices?cursor=%21%21", StatusCode::BAD_REQUEST),
        ("/devices?cursor=AAAA", StatusCode::BAD_REQUEST),
        ("/devices?sort=password_hash", StatusCode::UNPROCESSABLE_ENTITY),
        ("/devices?state=gone", StatusCode::UNPROCESSABLE_ENTITY),
        ("/devices?limit=many", StatusCode::BAD_REQUEST),
        ("/sites?cursor=AAAA", StatusCode::BAD_REQUEST),
        ("/devices/not-an-id", StatusCode::NOT_FOUND),
    ] {
        let answer = app.by_key(&key, "GET", path, None).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().len() > 10, "{path}");
    }
    // A cursor of another order holds a key of another type: refused, not failed.
    let by_name = app.by_key(&key, "GET", "/devices?limit=1&sort=name", None).await.body;
    let path = format!("/devices?sort=cpu_pct&cursor={}", by_name["next_cursor"].as_str().unwrap());
    let answer = app.by_key(&key, "GET", &path, None).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
}

#[tokio::test]
async fn tasks_are_found_by_words_state_and_part() {
    let app = TestApp::new().await;
    let (acme, other) = (app.place("Acme").await, app.place("Other").await);
    let (key, _) = app.key("admin", Scope::Platform).await;
    for (name, device) in [
        ("Clear the spooler", acme.device),
        ("Free space", acme.device),
        ("Clear caches", other.device),
    ] {
        let script = json!({"name": name, "targets": {"device_ids": [device.0]},
            "action": {"kind": "script", "interpreter": "bash", "body": "true"}});
        let made = app.by_key(&key, "POST", "/tasks", Some(&script)).await;
        assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    }
    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE tasks SET finished_at = now() WHERE name = 'Free space'")
        .execute(&mut owner)
        .await
        .unwrap();
    let site = format!("?site_id={}", acme.site);
    for (query, found) in [
        ("", vec!["Clear caches", "Free space", "Clear the spooler"]),
        ("?q=clear", vec!["Clear caches", "Clear the spooler"]),
        ("?q=SPOOL%20bash", vec!["Clear the spooler"]),
        ("?status=done", vec!["Free space"]),
        ("?status=running&q=caches", vec!["Clear caches"]),
        ("?status=cancelled", vec![]),
        (site.as_str(), vec!["Free space", "Clear the spooler"]),
    ] {
        let answer = app.by_key(&key, "GET", &format!("/tasks{query}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        let names = answer.body["items"].as_array().unwrap().iter().map(|t| t["name"].as_str());
        assert_eq!(names.flatten().collect::<Vec<_>>(), found, "{query}");
    }
    let wrong = app.by_key(&key, "GET", "/tasks?status=lost", None).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_new_task_is_told_as_it_reads() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let mut live = app.state.db.bus().subscribe();
    let script = json!({"targets": {"site_ids": [place.site.0]}, "expires_in_s": 60,
        "action": {"kind": "script", "interpreter": "sh", "body": "true"}});
    let made = app.by_key(&key, "POST", "/tasks", Some(&script)).await;
    let path = format!("/tasks/{}", made.body["id"].as_str().unwrap());
    let mut told = None;
    while let Ok(event) = live.try_recv() {
        let wire: Value = serde_json::from_str(&event.text).unwrap();
        if wire["kind"] == "task.changed" {
            told = Some(wire["data"].clone());
        }
    }
    let mut read = app.by_key(&key, "GET", &path, None).await.body;
    let read_fields = read.as_object_mut().unwrap();
    read_fields.remove("targets");
    assert!(read_fields.remove("action").is_some(), "what it does is read, not told");
    assert_eq!(told, Some(read));
}

#[tokio::test]
async fn values_that_an_earlier_version_stored_are_shown_until_there_are_newer_ones() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("viewer", Scope::Partner(place.partner)).await;
    let mut owner = app.test.owner().await;
    sqlx::query(
        "INSERT INTO metric_latest (device_id, partner_id, organization_id, site_id, at, readings) \
         VALUES ($1, $2, $3, $4, now(), '[{\"name\":\"cpu.busy\",\"unit\":\"percent\",\"value\":7.5}]')",
    )
    .bind(place.device.0)
    .bind(place.partner.0)
    .bind(place.organization.0)
    .bind(place.site.0)
    .execute(&mut owner)
    .await
    .unwrap();
    let device = app.by_key(&key, "GET", &format!("/devices/{}", place.device), None).await.body;
    assert_eq!(device["latest"][0]["name"], "cpu.busy", "{device}");
    assert_eq!(device["latest"][0]["value"], 7.5);
}
